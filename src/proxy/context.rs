//! The state of a request, from its head to its access log line.

use super::declared_length::Declared;
use super::head::requested_id;
use super::reported_address::{drop_unwritten, reported};
use crate::client::Attempts;
use crate::config::Ratio;
use crate::dialect::Route;
use crate::edge::{
    self, BodyBytes, ClientTiming, MemoryShare, OutOfMemory, RequestDecision, RequestPermit, UnreadBytes,
};
use crate::gateway::{Credential, MatchedCredential, Outcome, Upstream};
use crate::memory::Level;
use crate::metrics::Counted;
use crate::model::{Operation, PeerIdentity, Rejection};
use crate::provider::{ExchangeRecord, Origin, Provider, Slot};
use crate::runtime::Runtime;
use crate::serve::{ObservedExchange, clock};
use crate::telemetry::{Decision, Shed};
use crate::wire::http1::HeadLimits;
use crate::wire::trace::Trace;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How much a request may hold before it is counted, in bytes: a part of what every request is counted with.
const FREE: usize = 8 << 10;
/// How much of a body Pingora keeps for a retry, in bytes.
pub(super) const KEPT_BODY: usize = 64 << 10;

/// The state of a request.
pub(super) struct Context {
    /// The configuration that was current when the request began.
    pub runtime: Arc<Runtime>,
    pub started: Instant,
    pub id: HeaderValue,
    /// Unset if the request starts a trace, until the provider or the log needs it: a cache hit needs none.
    trace: OnceLock<Trace>,
    pub method: Method,
    /// The address of the client, or of the last proxy that has sent a request of its own: as a PROXY header says,
    /// otherwise that of the connection.
    pub client: Option<IpAddr>,
    /// Whether the request comes from a trusted peer.
    pub is_trusted: bool,
    /// The address of the client as a trusted proxy reports it, for the access log.
    pub reported: Option<IpAddr>,
    /// The client's software, for the access log.
    pub user_agent: Option<HeaderValue>,
    /// Whether a pass-through request only reads: its method is safe and not overridden, and it is no logout.
    pub is_plain_read: bool,
    /// Whether the response to a call says that it failed, although the status is a success.
    pub has_failed_call: bool,
    pub outcome: Outcome,
    /// The record of the last request to the provider.
    pub record: Option<ExchangeRecord>,
    /// Counts a request that Pingora sends, until the head of its response comes.
    pub observed: Option<ObservedExchange>,
    /// The upstream of the request.
    pub upstream: Option<Arc<Upstream>>,
    /// The slot of a pass-through request, while it is in flight at the provider.
    pub slot: Option<Slot>,
    /// How often the request was sent to the provider.
    pub tries: usize,
    /// The addresses that were tried, and the next one.
    pub attempts: Option<Box<(Attempts, Option<SocketAddr>)>>,
    /// The body of an HTTP/2 request with a declared length.
    pub declared: Option<Declared>,
    /// Whether the request goes to the provider over HTTP/2.
    pub over_http2: bool,
    /// [`Provider::pool_generation`] when the request got its connection.
    pub pool_generation: u64,
    /// How much of the response may be buffered unread, in bytes: the flow-control window of the provider's stream.
    pub ahead: usize,
    /// Whether a part of a response has come, even of an informational one: then the request is not retried.
    pub begun: bool,
    /// Whether the gateway times the provider's silence, not Pingora.
    pub is_timed: bool,
    /// Whether the whole request is here, and goes to the provider or has gone there.
    pub is_whole: bool,
    /// The timing of the connection (HTTP/1) or the stream (HTTP/2).
    pub timing: Option<Arc<ClientTiming>>,
    /// The status of the response; 0 if there is none.
    pub status: u16,
    /// Bytes of the response that were written without Pingora.
    pub written: usize,
    /// Whether the request is in the access log and the metrics.
    pub is_accounted_for: bool,
    /// Whether the request ended because the memory budget was used up.
    pub is_short: bool,
    /// The permit of an HTTP/1 request. HTTP/2 streams get theirs before.
    permit: Option<RequestPermit>,
    body: Option<BodyBytes>,
    body_bytes: usize,
    response: Option<UnreadBytes>,
    response_bytes: usize,
    in_flight: Option<Counted>,
}

impl Context {
    /// The state of a request whose head has just arrived.
    pub fn new(runtime: Arc<Runtime>) -> Context {
        let timing = edge::client_timing();
        if let Some(timing) = &timing {
            timing.head_complete();
        }
        let addresses = timing.as_ref().map(|timing| &timing.connection.addresses);
        let client = addresses.and_then(|addresses| addresses.client).map(|client| client.ip());
        let is_unnamed = addresses.is_some_and(|addresses| addresses.is_unnamed);
        Context {
            started: Instant::now(),
            id: HeaderValue::from_static("-"),
            trace: OnceLock::from(Trace::default()),
            method: Method::default(),
            client,
            is_trusted: !is_unnamed && client.is_some_and(|ip| runtime.trusts(ip)),
            reported: None,
            user_agent: None,
            is_plain_read: false,
            has_failed_call: false,
            outcome: Outcome::default(),
            record: None,
            observed: None,
            upstream: None,
            slot: None,
            tries: 0,
            attempts: None,
            declared: None,
            over_http2: false,
            pool_generation: 0,
            ahead: 0,
            begun: false,
            is_timed: false,
            is_whole: false,
            timing,
            status: 0,
            written: 0,
            is_accounted_for: false,
            is_short: false,
            permit: None,
            body: None,
            body_bytes: 0,
            response: None,
            response_bytes: 0,
            in_flight: Some(runtime.metrics.begin_request()),
            runtime,
        }
    }

    /// The request matches this row of governed operations, if any.
    pub fn matches(&mut self, route: Option<&'static Route>) {
        self.outcome.route = route;
        self.outcome.operation = route.map_or(Operation::Other, |route| route.operation);
    }

    /// Finds the grant of the caller with this credential. The access log names both.
    pub fn matched(&mut self, upstream: &Upstream, credential: Credential) -> Result<MatchedCredential, Rejection> {
        self.outcome.caller = credential.verified().cloned();
        let matched = upstream.matched(credential, self.identity().unwrap_or(&PeerIdentity::default()))?;
        if self.has_expired_certificate() {
            upstream.check_expired_certificate()?;
        }
        self.outcome.grant = matched.grant_name();
        Ok(matched)
    }

    /// What the connection proves of who opened it.
    fn identity(&self) -> Option<&PeerIdentity> {
        self.timing.as_ref().and_then(|timing| timing.connection.identity.get()).map(|identity| &**identity)
    }

    /// Whether the client certificate of the connection has expired since the handshake, or cannot be read.
    pub fn has_expired_certificate(&self) -> bool {
        let certificate = self.identity().and_then(|identity| identity.certificate.as_ref());
        certificate.is_some_and(|names| names.not_after < clock::seconds())
    }

    /// Whether the gateway has verified the caller.
    pub fn is_verified(&self) -> bool {
        self.outcome.caller.is_some()
    }

    /// The request is forwarded to an upstream as pass-through.
    pub fn passes(&mut self, upstream: &Upstream, operation: Operation) {
        self.outcome.upstream = Some(upstream.index);
        self.outcome.operation = operation;
        self.outcome.decision = Decision::PassedThrough;
    }

    /// The provider of the request's upstream.
    pub fn provider(&self) -> Option<&Arc<Provider>> {
        self.upstream.as_ref().and_then(|upstream| self.runtime.provider(upstream))
    }

    /// The request is sent to the provider by Pingora, or sent again. Further addresses belong to the same attempt.
    pub fn sending(&mut self) {
        let Some(upstream) = self.upstream.as_ref().filter(|_| self.attempts.is_none()) else {
            return;
        };
        let record = self.record.get_or_insert_default();
        self.observed.get_or_insert_with(|| {
            ObservedExchange::streamed(&self.runtime.metrics, upstream, self.outcome.operation, record)
        });
        record.sending();
    }

    /// The next address of the provider to connect to; `None` if all were tried.
    pub fn next_address(&mut self) -> Option<SocketAddr> {
        let provider = self.provider()?.clone();
        let begin = || Box::new((Attempts::within(provider.connect_timeout()), None));
        let attempts = self.attempts.get_or_insert_with(begin);
        attempts.1.take().or_else(|| provider.addresses().next(&mut attempts.0))
    }

    /// A connection to this address failed. Whether there is a next address.
    pub fn goes_on_from(&mut self, address: SocketAddr, is_dead: bool) -> bool {
        if let Some(provider) = self.provider().filter(|_| is_dead) {
            provider.addresses().failed(address);
        }
        let next = self.next_address();
        self.attempts.as_mut().is_some_and(|attempts| {
            attempts.1 = next;
            next.is_some()
        })
    }

    /// The request has got a connection to this address.
    pub fn is_connected(&mut self, address: SocketAddr) {
        self.attempts = None;
        if let Some(provider) = self.provider() {
            provider.addresses().mark_working(address);
        }
    }

    /// Gives the request its ID, a trusted peer's or a new one, and its trace.
    pub fn assign_ids(&mut self, header: &mut RequestHeader) {
        if self.is_trusted {
            drop_unwritten(header, self.runtime.forwarding_headers());
        }
        let headers = &header.headers;
        let named = if self.is_trusted { requested_id(headers) } else { None };
        self.id = named.cloned().unwrap_or_else(|| self.runtime.request_id());
        // HTTP/2 does not index it then. No other response has it, and each would be compared with all indexed ones.
        self.id.set_sensitive(true);
        self.method = header.method.clone();
        self.trace = Trace::from_headers(headers).map_or_else(OnceLock::new, OnceLock::from);
        if self.runtime.access_log.is_some() {
            self.reported = if self.is_trusted { reported(&self.runtime, headers) } else { None };
            self.user_agent = headers.get(USER_AGENT).cloned();
        }
    }

    /// A part of the request body has arrived; over HTTP/2, this much of it has been read.
    pub fn body_came(&self, read: Option<u64>, last: bool) {
        let Some(timing) = &self.timing else {
            return;
        };
        // A part may come here again when it is retried.
        if let Some(read) = read {
            timing.set_body_read(read);
        }
        if last {
            timing.body_complete();
        }
    }

    /// Whether successful reads may be left out of the access log.
    pub fn samples(&self) -> bool {
        self.runtime.access_log.is_some_and(|log| log.sample < Ratio::ONE)
    }

    /// The whole body of a pass-through request was sent to the provider.
    pub fn body_sent(&self) {
        if let Some(record) = self.record.as_ref().filter(|_| self.body_bytes > 0) {
            record.body_sent();
        }
    }

    /// The memory share of the request's connection.
    pub fn share(&self) -> Option<&Arc<MemoryShare>> {
        share_of(&self.timing)
    }

    /// The request lost something because the memory budget was used up.
    pub fn shed(&self, what: Shed) {
        self.share().into_iter().for_each(|share| share.count_shed(what));
    }

    /// The request has ended. Its connection may stay for a while, so that the client can read the response.
    pub fn end(&mut self) {
        (self.permit, self.body, self.response, self.in_flight) = (None, None, None, None);
    }

    /// Takes a permit for an HTTP/1 request, unless the memory budget is used up.
    pub fn admit(&mut self) -> Result<(), OutOfMemory> {
        self.permit = match self.share().map(|share| share.try_serve(0)) {
            Some(RequestDecision::Serve(permit)) => Some(permit),
            Some(RequestDecision::Queue | RequestDecision::Reject) => return Err(OutOfMemory),
            None => None,
        };
        Ok(())
    }

    /// Counts the bytes of the request body that are held. Fails from this level of memory use on.
    pub fn holds_body(&mut self, bytes: usize, level: Level) -> Result<(), OutOfMemory> {
        let Some(share) = share_of(&self.timing) else {
            return Ok(());
        };
        if self.body.is_none() && bytes <= FREE {
            return Ok(());
        }
        let held = self.body.get_or_insert_with(|| share.body()).set(share, bytes, level);
        self.is_short |= held.is_err();
        held
    }

    /// Counts a part of a pass-through request body. Pingora keeps what it may have to send again.
    pub fn body_passes(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        self.body_bytes += bytes;
        self.holds_body(self.body_bytes.min(KEPT_BODY) + bytes, Level::Exceeded)
    }

    /// Counts the bytes of a response that wait for the client.
    pub fn holds_response(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let Some(share) = share_of(&self.timing) else {
            return Ok(());
        };
        if self.response.is_none() && bytes <= FREE {
            return Ok(());
        }
        let held = self.response.get_or_insert_with(|| share.response()).set(bytes);
        self.is_short |= held.is_err();
        held
    }

    /// Counts a part of a pass-through response; `written` bytes went to the client so far. Pingora holds as much again
    /// as the gateway, and the HTTP/2 library may hold what was written to a stream whose client does not read.
    pub fn response_passes(&mut self, bytes: usize, written: usize, http2: bool) -> Result<(), OutOfMemory> {
        self.response_bytes += bytes;
        let blocked = self.share().is_some_and(|share| share.is_blocked());
        let queued = if http2 && blocked { written.min(edge::SEND_BUFFER) } else { 0 };
        let unwritten = self.response_bytes.saturating_sub(written);
        // If the client is slower than the provider, the provider's window fills up.
        let ahead = if blocked && unwritten > bytes { self.ahead } else { 0 };
        self.holds_response(unwritten * 2 + queued + ahead)
    }

    /// How many bytes of the response went to the client.
    pub fn bytes_sent(&self) -> usize {
        self.response_bytes + self.written
    }

    /// The timeout that the provider of a pass-through request exceeded, if that ended the request.
    pub fn late(&self) -> Option<Duration> {
        self.timing.as_ref().and_then(|timing| timing.response_timeout())
    }

    /// The name of the listener that accepted the request.
    pub fn listener(&self) -> Arc<str> {
        self.timing.as_ref().map_or_else(|| "".into(), |timing| timing.connection.listener.clone())
    }

    /// The limits of request heads on this connection.
    pub fn head_limits(&self) -> HeadLimits {
        self.timing.as_ref().map(|timing| timing.connection.head_limits).unwrap_or_default()
    }

    /// Whether the request came over a Unix socket.
    pub fn is_over_socket(&self) -> bool {
        self.timing.as_ref().is_some_and(|timing| timing.connection.unix_socket)
    }

    /// The address of the connection's other end, which may be a proxy that has sent a PROXY header.
    pub fn peer(&self) -> Option<IpAddr> {
        self.timing.as_ref().and_then(|timing| timing.connection.addresses.peer).map(|peer| peer.ip())
    }

    /// The request's trace.
    pub fn trace(&self) -> &Trace {
        self.trace.get_or_init(|| self.runtime.new_trace())
    }

    /// Where the request comes from, for the headers that the provider gets.
    pub fn origin(&self, header: &RequestHeader) -> Origin {
        let authority = header.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let tls = self.timing.as_ref().is_some_and(|timing| timing.connection.tls);
        let host = header.headers.get(HOST).cloned().or(authority);
        // The client: a proxy that only forwards connections is no hop of a request.
        Origin { peer: self.client, host, tls, trusted: self.is_trusted, trace: self.trace().clone() }
    }
}

/// The memory share of the connection with this timing.
fn share_of(timing: &Option<Arc<ClientTiming>>) -> Option<&Arc<MemoryShare>> {
    timing.as_ref().map(|timing| &timing.connection.share)
}
