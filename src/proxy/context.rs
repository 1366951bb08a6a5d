//! What is known of a request while it is on its way.

use super::declared::Declared;
use super::head::{is_http2, requested_id};
use crate::client::Attempts;
use crate::edge::{self, Body, ClientTiming, MemoryShare, MemoryShort, RequestAdmission, RequestPermit, UnreadBytes};
use crate::gateway::{Outcome, Upstream};
use crate::memory::Level;
use crate::metrics::InFlight;
use crate::model::Operation;
use crate::provider::{Origin, Provider, Slot};
use crate::runtime::Runtime;
use crate::telemetry::{Decision, Shed};
use crate::wire::trace::Trace;
use http::header::HOST;
use http::{HeaderValue, Method};
use pingora::prelude::Session;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a request holds without being counted for it: it is a part of what each request counts for.
const FREE: usize = 8 << 10;
/// How much of a body Pingora keeps until the request is over.
pub(super) const KEPT_BODY: usize = 64 << 10;

/// What is known of a request so far.
pub(super) struct Context {
    /// What holds for the request: what held when it began.
    pub runtime: Arc<Runtime>,
    pub started: Instant,
    pub id: HeaderValue,
    pub trace: Trace,
    pub method: Method,
    /// The address of the other end of the connection.
    pub client: Option<IpAddr>,
    pub outcome: Outcome,
    /// The upstream that the request is passed to.
    pub upstream: Option<Arc<Upstream>>,
    /// Whether the gateway has verified the caller.
    pub verified: bool,
    /// What a pass-through request holds while it is in flight at the provider.
    pub slot: Option<Slot>,
    /// How often it was sent to the provider.
    pub tries: usize,
    /// What was tried to get a connection to the provider, and the address that comes next.
    pub attempts: Option<Box<(Attempts, Option<SocketAddr>)>>,
    /// Its body, where the head says how long it is.
    pub declared: Option<Declared>,
    /// Whether it goes to its provider over HTTP/2.
    pub over_http2: bool,
    /// How often the provider's connections had been left when the request got its own.
    pub left: u64,
    /// How much of the provider's response may be held unread behind what was passed on: the window of its stream.
    pub ahead: usize,
    /// Whether anything of the provider's response has come, an informational one included: from then on nothing is
    /// sent again.
    pub begun: bool,
    /// Whether the provider's silence is timed by the gateway, and not by Pingora.
    pub is_timed: bool,
    /// Whether all of the request goes to the provider, or went there.
    pub is_whole: bool,
    /// What the connection is doing, or the stream.
    pub timing: Option<Arc<ClientTiming>>,
    /// The status of the response; 0 while there is none.
    pub status: u16,
    /// How much of the response was written beside what Pingora counts.
    pub written: usize,
    /// Whether the request is in the log and in the metrics.
    pub is_accounted_for: bool,
    /// Whether memory was too short for the request to go on.
    pub is_short: bool,
    /// What the request takes of the connection's share: of HTTP/1, since streams are admitted before.
    authorized: Option<RequestPermit>,
    body: Option<Body>,
    body_bytes: usize,
    response: Option<UnreadBytes>,
    response_bytes: usize,
    _in_flight: InFlight,
}

impl Context {
    /// A request whose head has just come.
    pub fn new(runtime: Arc<Runtime>) -> Context {
        let timing = edge::client_timing();
        if let Some(timing) = &timing {
            timing.head_is_here();
        }
        Context {
            started: Instant::now(),
            id: HeaderValue::from_static("-"),
            trace: Trace::default(),
            method: Method::default(),
            client: None,
            outcome: Outcome::default(),
            upstream: None,
            verified: false,
            slot: None,
            tries: 0,
            attempts: None,
            declared: None,
            over_http2: false,
            left: 0,
            ahead: 0,
            begun: false,
            is_timed: false,
            is_whole: false,
            timing,
            status: 0,
            written: 0,
            is_accounted_for: false,
            is_short: false,
            authorized: None,
            body: None,
            body_bytes: 0,
            response: None,
            response_bytes: 0,
            _in_flight: runtime.metrics.begin_request(),
            runtime,
        }
    }

    /// The request is passed through to an upstream, as this operation.
    pub fn passes(&mut self, upstream: &Upstream, operation: Operation) {
        self.outcome.upstream = Some(upstream.index);
        self.outcome.operation = operation;
        self.outcome.decision = Decision::PassedThrough;
    }

    /// The way to the request's upstream.
    pub fn provider(&self) -> Option<&Arc<Provider>> {
        self.upstream.as_ref().and_then(|upstream| self.runtime.provider(upstream))
    }

    /// The next address of the provider to connect to; none where all were tried.
    pub fn next_address(&mut self) -> Option<SocketAddr> {
        let provider = self.provider()?.clone();
        let begin = || Box::new((Attempts::within(provider.connect_timeout()), None));
        let attempts = self.attempts.get_or_insert_with(begin);
        attempts.1.take().or_else(|| provider.addresses().next(&mut attempts.0))
    }

    /// It could not be connected to this address. Whether there is another one, which comes next.
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

    /// The request has a connection to this address.
    pub fn is_connected(&mut self, address: SocketAddr) {
        self.attempts = None;
        if let Some(provider) = self.provider() {
            provider.addresses().worked(address);
        }
    }

    /// What the request is called: by a trusted peer, or else by the gateway.
    pub fn name(&mut self, session: &Session) {
        let named = if self.is_trusted(session) { requested_id(&session.req_header().headers) } else { None };
        self.id = named.cloned().unwrap_or_else(|| self.runtime.request_id());
        self.method = session.req_header().method.clone();
        self.client = peer(session);
        self.trace = Trace::of(&session.req_header().headers).unwrap_or_else(|| self.runtime.new_trace());
    }

    /// A part of the request's body is here.
    pub fn body_came(&self, session: &Session, last: bool) {
        let Some(timing) = &self.timing else {
            return;
        };
        // The connection counts what comes over HTTP/1. A part may be shown a second time, when it is sent again.
        if is_http2(session) {
            timing.has_read(session.body_bytes_read() as u64);
        }
        if last {
            timing.body_is_here();
        }
    }

    /// What the connection of the request holds.
    pub fn share(&self) -> Option<&Arc<MemoryShare>> {
        share_of(&self.timing)
    }

    /// Something of the request was given up to save memory.
    pub fn shed(&self, what: Shed) {
        self.share().into_iter().for_each(|share| share.shed(what));
    }

    /// Takes the request of a connection of HTTP/1 on, unless memory is too short for it.
    pub fn admit(&mut self) -> Result<(), MemoryShort> {
        self.authorized = match self.share().map(|share| share.admit(0)) {
            Some(RequestAdmission::Now(authorized)) => Some(authorized),
            Some(RequestAdmission::Later | RequestAdmission::Never) => return Err(MemoryShort),
            None => None,
        };
        Ok(())
    }

    /// So much of the request's body is held, beyond what every request may hold; no more from this level on.
    pub fn holds_body(&mut self, bytes: usize, level: Level) -> Result<(), MemoryShort> {
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

    /// A part of the body of a request that is passed through: what may have to be sent again is kept.
    pub fn body_passes(&mut self, bytes: usize) -> Result<(), MemoryShort> {
        self.body_bytes += bytes;
        self.holds_body(self.body_bytes.min(KEPT_BODY) + bytes, Level::Over)
    }

    /// So much of a response waits to be read, beyond what every request may hold.
    pub fn holds_response(&mut self, bytes: usize) -> Result<(), MemoryShort> {
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

    /// A part of a response that is passed through, when so much of it has been written. As much as the gateway holds
    /// of it, Pingora holds behind it; and what was written to a stream, the library for HTTP/2 may, where its client
    /// does not read.
    pub fn response_passes(&mut self, bytes: usize, written: usize, http2: bool) -> Result<(), MemoryShort> {
        self.response_bytes += bytes;
        let blocked = self.share().is_some_and(|share| share.blocks());
        let queued = if http2 && blocked { written.min(edge::HELD) } else { 0 };
        let unwritten = self.response_bytes.saturating_sub(written);
        // Where the client is slower than the provider, the provider's window fills up.
        let ahead = if blocked && unwritten > bytes { self.ahead } else { 0 };
        self.holds_response(unwritten * 2 + queued + ahead)
    }

    /// How much of the response went to the client: what was passed through, and what was written beside it.
    pub fn passed(&self) -> usize {
        self.response_bytes + self.written
    }

    /// How long the provider of a pass-through request was waited for in vain, where that is why it ends.
    pub fn late(&self) -> Option<Duration> {
        self.timing.as_ref().and_then(|timing| timing.was_late())
    }

    /// The name of the listener that the request came in at.
    pub fn listener(&self) -> Arc<str> {
        self.timing.as_ref().map_or_else(|| "".into(), |timing| timing.arrival.listener.clone())
    }

    /// Whether the request comes over a socket in the file system.
    pub fn is_over_socket(&self) -> bool {
        self.timing.as_ref().is_some_and(|timing| timing.arrival.over_socket)
    }

    /// Whether the request comes from a peer that may speak for others.
    pub fn is_trusted(&self, session: &Session) -> bool {
        peer(session).is_some_and(|peer| self.runtime.trusts(peer))
    }

    /// Where the request comes from, as the provider is told.
    pub fn origin(&self, session: &Session) -> Origin {
        let (peer, trusted) = (peer(session), self.is_trusted(session));
        let header = session.req_header();
        let authority = header.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let tls = self.timing.as_ref().is_some_and(|timing| timing.arrival.tls);
        let host = header.headers.get(HOST).cloned().or(authority);
        Origin { peer, host, tls, trusted, trace: self.trace.clone() }
    }
}

fn peer(session: &Session) -> Option<IpAddr> {
    session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip())
}

/// What the connection holds of a request that does this.
fn share_of(timing: &Option<Arc<ClientTiming>>) -> Option<&Arc<MemoryShare>> {
    timing.as_ref().map(|timing| &timing.arrival.share)
}
