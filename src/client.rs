//! Outbound HTTP: trusted roots, addresses that are looked up off the request path, and buffered exchanges with bounds.

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{Builder, Client as Pool};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How often a name that is known is looked up again.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);
/// How often a name that is not known is looked up.
const LOOKUP_RETRY: Duration = Duration::from_secs(1);

/// Why an exchange brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No connection: nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke; the request may have been carried out.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// A connection that had been kept was closed before any byte of an answer came.
    #[error("a kept connection was closed")]
    Closed,
    /// No complete answer in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The answer is larger than this number of bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file with authorities cannot be read or holds none.
    #[error("{path}: {reason}")]
    Authorities {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The TLS library refuses its settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// An answer as a whole.
#[derive(Debug)]
pub struct Exchange {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What stood behind the body.
    pub trailers: Option<HeaderMap>,
}

/// The version of HTTP that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS by prior knowledge.
    Http2,
}

/// The addresses of a host. They are looked up in the background; the last good ones stay.
#[derive(Debug)]
pub struct Addresses {
    host: String,
    port: u16,
    known: ArcSwap<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

impl Addresses {
    /// The addresses of `host`, which are known at once where it is an address itself.
    pub fn new(host: &str, port: u16) -> Arc<Addresses> {
        let known = host.parse().map(|ip| vec![SocketAddr::new(ip, port)]).unwrap_or_default();
        Arc::new(Addresses {
            host: host.to_owned(),
            port,
            known: ArcSwap::from_pointee(known),
            turn: AtomicUsize::new(0),
        })
    }

    /// Whether any address is known.
    pub fn are_known(&self) -> bool {
        !self.known.load().is_empty()
    }

    /// The next address in turn, none where the name could not be looked up yet.
    pub fn pick(&self) -> Option<SocketAddr> {
        let known = self.known.load();
        let place = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(known.len())?;
        known.get(place).copied()
    }

    /// Looks the name up once.
    pub async fn look_up(&self) -> io::Result<()> {
        if self.host.parse::<std::net::IpAddr>().is_err() {
            self.renew(tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect());
        }
        Ok(())
    }

    /// Looks the name up, again and again, for as long as anybody else holds the addresses.
    pub async fn keep_current(self: Arc<Addresses>) {
        if self.host.parse::<std::net::IpAddr>().is_ok() {
            return;
        }
        let mut failing = false;
        while Arc::strong_count(&self) > 1 {
            let pause = match self.look_up().await {
                Ok(()) => LOOKUP_INTERVAL,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let known = self.known.load().len();
                        tracing::warn!(host = self.host, %error, known, "the name cannot be looked up");
                    }
                    LOOKUP_RETRY
                }
            };
            failing &= pause == LOOKUP_RETRY;
            tokio::time::sleep(pause).await;
        }
    }

    fn renew(&self, mut found: Vec<SocketAddr>) {
        found.sort_unstable();
        found.dedup();
        if !found.is_empty() && **self.known.load() != found {
            if self.are_known() {
                tracing::info!(host = self.host, addresses = found.len(), "the name has new addresses");
            }
            self.known.store(Arc::new(found));
        }
    }
}

/// Hands the connector the addresses that are known.
#[derive(Clone)]
struct Known(Arc<Addresses>);

impl tower_service::Service<Name> for Known {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let known = self.0.known.load();
        let found = if known.is_empty() {
            Err(io::Error::new(io::ErrorKind::NotFound, "the name is not known yet"))
        } else {
            Ok(known.as_ref().clone().into_iter())
        };
        Box::pin(std::future::ready(found))
    }
}

/// The certificates of a PEM file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let fault = |reason: String| ClientError::Authorities { path: path.display().to_string(), reason };
    let all = CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| fault(error.to_string()))?;
    if all.is_empty() { Err(fault("holds no certificate".into())) } else { Ok(all) }
}

/// The authorities of a file, or the system's where there is no file.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => certificates(path)?.into_iter().try_for_each(|certificate| roots.add(certificate))?,
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(roots)
}

/// A client with kept connections. Certificates are always verified, redirects never followed.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector<Known>>, Full<Bytes>>,
}

impl Client {
    /// A client for the host of `addresses`, which trusts the authorities of `ca_file`, or the system's where there is none.
    pub fn new(
        addresses: Arc<Addresses>,
        ca_file: Option<&Path>,
        connect: Duration,
        keepalive: Duration,
        protocol: Protocol,
    ) -> Result<Client, ClientError> {
        let mut tcp = HttpConnector::new_with_resolver(Known(addresses));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let mut builder = Builder::new(TokioExecutor::new());
        builder.pool_idle_timeout(keepalive).pool_timer(TokioTimer::new());
        let connector = match protocol {
            Protocol::Http1 => connector.enable_http1().wrap_connector(tcp),
            Protocol::Http2 => {
                builder.http2_only(true).timer(TokioTimer::new()).http2_keep_alive_interval(keepalive);
                connector.enable_http2().wrap_connector(tcp)
            }
        };
        Ok(Client { pool: builder.build(connector) })
    }

    /// Sends a request and reads the whole answer, all within `within` and at most `most` bytes.
    pub async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
        within: Duration,
    ) -> Result<Exchange, ExchangeError> {
        let deadline = Instant::now() + within;
        let timed_out = |_| ExchangeError::Timeout(within);
        let response =
            tokio::time::timeout_at(deadline, self.pool.request(request)).await.map_err(timed_out)?.map_err(failure)?;
        let (head, body) = response.into_parts();
        if head.status.is_informational() {
            return Err(ExchangeError::Broken(format!("the answer is {}", head.status)));
        }
        let body = tokio::time::timeout_at(deadline, Limited::new(body, most).collect()).await.map_err(timed_out)?;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => ExchangeError::TooLarge(most),
            None => ExchangeError::Broken(error.to_string()),
        })?;
        let trailers = body.trailers().cloned();
        Ok(Exchange { status: head.status, headers: head.headers, body: body.to_bytes(), trailers })
    }
}

fn failure(error: hyper_util::client::legacy::Error) -> ExchangeError {
    let mut reasons = Vec::new();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    let mut closed = false;
    while let Some(reason) = source {
        closed |= reason.downcast_ref::<hyper::Error>().is_some_and(|e| e.is_incomplete_message() || e.is_canceled());
        reasons.push(reason.to_string());
        source = reason.source();
    }
    let reason = reasons.join(": ");
    if error.is_connect() {
        ExchangeError::Connect(reason)
    } else if closed {
        ExchangeError::Closed
    } else {
        ExchangeError::Broken(reason)
    }
}
