//! Bounded, buffered fetches from a provider, for governed requests. A fetch does not depend on the client that
//! requested it.

mod exchange_record;
mod forward;
mod headers;
pub mod heads;
mod slots;
mod trial;

pub use exchange_record::ExchangeRecord;
pub use headers::{Origin, RequestHeaders, RequestKind, condition_in, without_deadline};
pub use slots::{Slot, SlotUsage, Slots};

use crate::client::{Addresses, Client, ConnectError, ConnectOptions, Exchange, ExchangeError, Resolver, Tunnel};
use crate::descriptors;
use crate::gateway::{Protocol, ProviderResponse, Target, Upstream};
use crate::memory::Memory;
use crate::model::{Quota, Rejection};
use crate::wire::coding;
use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use parking_lot::Mutex;
use ring::digest;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The largest response to a governed request, in bytes.
pub const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// A fetch without a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The rejection to respond with.
    pub rejection: Rejection,
    /// Whether the provider may have processed the request.
    pub sent: bool,
    /// The status of a response that was too large.
    pub status: Option<StatusCode>,
}

/// The client of a provider.
pub struct Provider {
    upstream: Arc<Upstream>,
    addresses: Arc<Addresses>,
    tunnel: Option<Arc<Tunnel>>,
    client: Client,
    /// For gRPC, which needs HTTP/2.
    calls: Option<Client>,
    /// The same for responses that are streamed to clients.
    forward: Client,
    forward_calls: Option<Client>,
    headers: Arc<RequestHeaders>,
    trust: u64,
    failing: AtomicBool,
    /// What it last reported of its request limit, and when.
    quota: Mutex<Option<(Quota, Instant)>>,
    /// How often its shared connections were abandoned.
    pool_generation: AtomicU64,
}

/// A request to a provider.
#[derive(Debug)]
pub struct Fetch {
    /// The method.
    pub method: Method,
    /// The path at the provider.
    pub path: String,
    /// The headers: see [`RequestHeaders`].
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Bytes>,
    /// Whether it requires HTTP/2.
    pub http2: bool,
    /// Whether it is a read, which may be sent again.
    pub reads: bool,
    /// The record of what happens to it.
    pub record: ExchangeRecord,
}

impl Provider {
    /// The client of an upstream's provider.
    pub fn new(
        upstream: &Arc<Upstream>,
        resolver: &Arc<Resolver>,
        memory: &Arc<Memory>,
    ) -> Result<Provider, rustls::Error> {
        let target = &upstream.target;
        let (host, port) = target.connects_to();
        let addresses = Addresses::new(resolver, &host, port);
        let tunnel = target.proxy.as_ref().map(|proxy| Tunnel::new(proxy, &target.host, target.port)).transpose()?;
        let options = connect_options(target, &addresses, tunnel.clone(), Some(memory.clone()));
        let client = Client::new(&options)?;
        let calls = match (upstream.dialect.has_grpc, target.protocol) {
            (false, _) => None,
            (true, Protocol::Http2) => Some(client.clone()),
            (true, Protocol::Http1 | Protocol::Auto) => {
                Some(Client::new(&ConnectOptions { protocol: Protocol::Http2, ..options.clone() })?)
            }
        };
        Ok(Provider {
            upstream: upstream.clone(),
            addresses: options.addresses,
            tunnel,
            forward: client.for_streaming(),
            forward_calls: calls.as_ref().map(Client::for_streaming),
            client,
            calls,
            headers: Arc::new(RequestHeaders::new(upstream)),
            trust: trust(target),
            failing: AtomicBool::new(false),
            quota: Mutex::default(),
            pool_generation: AtomicU64::new(0),
        })
    }

    /// Whether it can be reused for this upstream: the settings are equal, including the contents of files.
    pub fn serves(&self, upstream: &Upstream, resolver: &Arc<Resolver>) -> bool {
        let Upstream { name, dialect, target, preserve_host, .. } = &*self.upstream;
        (name, dialect.name, target, preserve_host)
            == (&upstream.name, upstream.dialect.name, &upstream.target, &upstream.preserve_host)
            && self.addresses.uses_resolver(resolver)
    }

    /// The addresses to connect to: the provider's, or those of the forward proxy.
    pub fn addresses(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// How to get through the forward proxy, if there is one.
    pub fn tunnel(&self) -> Option<&Arc<Tunnel>> {
        self.tunnel.as_ref()
    }

    /// The header rules of requests to it.
    pub fn headers(&self) -> &Arc<RequestHeaders> {
        &self.headers
    }

    /// The timeout of a connection attempt to one address.
    pub fn connect_timeout(&self) -> Duration {
        self.upstream.target.timeouts.connect
    }

    /// A hash of the trusted CAs, the client certificate and the forward proxy: Pingora must not reuse connections with
    /// other ones.
    pub fn trust(&self) -> u64 {
        self.trust
    }

    /// Fetches. A read is retried once if a kept connection turns out closed; any request is, if the provider says that
    /// it has not processed it.
    pub async fn fetch(&self, fetch: Fetch) -> Result<ProviderResponse, Failure> {
        let again = fetch.reads;
        match self.once(&fetch).await {
            Err(ExchangeError::Closed) if again => self.once(&fetch).await,
            Err(ExchangeError::Refused(_)) => self.once(&fetch).await,
            result => result,
        }
        .map(|exchange| {
            self.note(None);
            self.responded(&fetch.record, exchange.status, &exchange.headers, exchange.head_at);
            response(exchange)
        })
        .map_err(|error| self.failure(error, &fetch.record))
    }

    async fn once(&self, fetch: &Fetch) -> Result<Exchange, ExchangeError> {
        fetch.record.sending();
        let client = self.calls.as_ref().filter(|_| fetch.http2).unwrap_or(&self.client);
        let within = self.upstream.target.timeouts.first_byte;
        let exchange = client.exchange(self.request(fetch)?, MAX_RESPONSE, within, fetch.reads).await?;
        let trailers = exchange.trailers.as_ref().filter(|trailers| !heads::are_bounded(trailers));
        match heads::fault(&exchange.headers).or(trailers.map(|_| "the response has too many trailers")) {
            Some(fault) => Err(ExchangeError::Broken(fault.into())),
            None => Ok(exchange),
        }
    }

    fn request(&self, fetch: &Fetch) -> Result<Request<Bytes>, ExchangeError> {
        // Nothing was sent.
        let wrong = |error: http::Error| ConnectError::Unreachable(error.to_string());
        let scheme = if self.upstream.target.tls { "https" } else { "http" };
        let authority = self.headers.authority().to_str().unwrap_or_default();
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(fetch.path.as_str());
        let body = fetch.body.clone().unwrap_or_default();
        let mut request =
            Request::builder().method(&fetch.method).uri(uri.build().map_err(wrong)?).body(body).map_err(wrong)?;
        *request.headers_mut() = fetch.headers.clone();
        Ok(request)
    }

    /// Whether the last request brought no response.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Records the result of a request, and logs a change: `None` for a response, or the failure.
    pub fn note(&self, error: Option<&str>) {
        let failing = error.is_some();
        // Usually nothing has changed.
        if self.failing.load(Ordering::Relaxed) == failing || self.failing.swap(failing, Ordering::Relaxed) == failing {
            return;
        }
        match error {
            Some(error) => tracing::warn!(upstream = self.upstream.name, error, "requests to the provider fail"),
            None => tracing::info!(upstream = self.upstream.name, "requests to the provider succeed again"),
        }
    }

    /// Records the head of a response, which arrived at this time.
    pub fn responded(&self, record: &ExchangeRecord, status: StatusCode, headers: &HeaderMap, at: Instant) {
        let quota = self.upstream.dialect.headers.quota.as_ref().map(|names| names.read(headers)).unwrap_or_default();
        if quota != Quota::default() {
            *self.quota.lock() = Some((quota, at));
        }
        record.responded(status, quota, at);
    }

    /// What the provider last reported of its request limit, and how long ago.
    pub fn quota(&self) -> Option<(Quota, Duration)> {
        self.quota.lock().map(|(quota, at)| (quota, at.elapsed()))
    }

    fn failure(&self, error: ExchangeError, record: &ExchangeRecord) -> Failure {
        record.failed();
        let text = error.to_string();
        let sent = !matches!(error, ExchangeError::Connect(_) | ExchangeError::Refused(_));
        let status = if let ExchangeError::TooLarge(_, status) = error { Some(status) } else { None };
        let rejection = match error {
            ExchangeError::Connect(_) if descriptors::are_exhausted() => Rejection::UpstreamBusy,
            ExchangeError::Connect(_) if !self.addresses.are_known() => Rejection::Unavailable,
            ExchangeError::Connect(_)
            | ExchangeError::Refused(_)
            | ExchangeError::Broken(_)
            | ExchangeError::Closed => Rejection::UpstreamFailed,
            ExchangeError::Timeout(limit) => Rejection::UpstreamTimeout(limit),
            ExchangeError::TooLarge(limit, _) => Rejection::ResponseTooLarge(limit),
            ExchangeError::OutOfMemory => Rejection::Overloaded,
        };
        if rejection.is_provider_failure() {
            self.note(Some(&text));
        }
        Failure { rejection, sent, status }
    }
}

/// How to connect to a target at these addresses.
fn connect_options(
    target: &Target,
    addresses: &Arc<Addresses>,
    tunnel: Option<Arc<Tunnel>>,
    memory: Option<Arc<Memory>>,
) -> ConnectOptions {
    ConnectOptions {
        addresses: addresses.clone(),
        tunnel,
        authorities: target.authorities.clone(),
        identity: target.identity.clone(),
        protocol: target.protocol,
        connect: target.timeouts.connect,
        keepalive: target.timeouts.keepalive,
        may_use_reserve: false,
        memory,
    }
}

/// A hash of everything that a connection to a target depends on, besides its address and name.
fn trust(target: &Target) -> u64 {
    let mut context = digest::Context::new(&digest::SHA256);
    let chain = target.identity.as_ref().map(|identity| &identity.chain);
    let of_proxy = target.proxy.as_ref().and_then(|proxy| proxy.authorities.as_ref());
    for certificates in [target.authorities.as_ref(), chain, of_proxy] {
        // No list differs from an empty list.
        context.update(&[u8::from(certificates.is_some())]);
        for certificate in certificates.into_iter().flat_map(|all| all.iter()) {
            context.update(&(certificate.len() as u64).to_be_bytes());
            context.update(certificate);
        }
        context.update(&[0xff; 8]);
    }
    if let Some(proxy) = &target.proxy {
        // Pingora connects to the proxy's address, and does not know to which provider the tunnel leads.
        let authorization = proxy.authorization.as_ref().map_or("", |authorization| authorization.expose());
        let scheme = if proxy.tls { "https" } else { "http" };
        for part in [scheme, &proxy.authority(), authorization, &target.tunnel_authority()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    context.finish().as_ref().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

fn response(exchange: Exchange) -> ProviderResponse {
    let mut headers = exchange.headers;
    heads::of_connection(&headers).iter().for_each(|name| drop(headers.remove(name)));
    headers.remove(TRANSFER_ENCODING);
    headers.remove(http::header::CONTENT_LENGTH);
    let body = coding::decode(&mut headers, exchange.body, MAX_RESPONSE);
    ProviderResponse::new(exchange.status, headers, body, exchange.trailers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Files;
    use crate::config::{EmptyEnvironment, compile};

    const CONFIG: &str = "upstreams: { a: { url: 'http://127.0.0.1:1', dialect: auth0, auth: forward } }";

    #[tokio::test]
    async fn only_failures_of_the_provider_count_against_it() {
        let gateway = compile("c", CONFIG, &EmptyEnvironment, [7; 32]).unwrap().config.gateway;
        let resolver = Resolver::new(Vec::new(), Files::default());
        let provider = Provider::new(&gateway.upstreams()[0], &resolver, &Memory::new(None, 0)).unwrap();
        let failure = provider.failure(ExchangeError::OutOfMemory, &ExchangeRecord::default());
        assert_eq!((failure.rejection, provider.is_failing()), (Rejection::Overloaded, false));
        let failure = provider.failure(ExchangeError::Closed, &ExchangeRecord::default());
        assert_eq!((failure.rejection, provider.is_failing()), (Rejection::UpstreamFailed, true));
    }
}
