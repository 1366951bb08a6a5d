//! What is known of a request while it is on its way.

use super::connection;
use super::declared::Declared;
use super::head::requested_id;
use super::pulse::Pulse;
use crate::gateway::{Outcome, Upstream};
use crate::runtime::Runtime;
use crate::upstream::{Origin, Provider, Slot};
use crate::wire::trace::Trace;
use http::HeaderValue;
use http::header::HOST;
use pingora::prelude::Session;
use std::sync::Arc;
use std::time::Instant;

/// Counts a request for as long as it lives, however it ends.
pub(super) struct InFlight(Arc<Runtime>);

impl InFlight {
    pub fn new(runtime: &Arc<Runtime>) -> InFlight {
        runtime.metrics.in_flight.inc();
        InFlight(runtime.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}

/// What is known of a request so far.
pub(super) struct Context {
    /// What holds for the request: what held when it began.
    pub runtime: Arc<Runtime>,
    pub started: Instant,
    pub id: HeaderValue,
    pub trace: Trace,
    pub outcome: Outcome,
    /// The upstream that the request is passed to.
    pub upstream: Option<Arc<Upstream>>,
    /// Whether the gateway has verified the caller.
    pub verified: bool,
    /// What a passed request holds while it is in flight at the provider.
    pub slot: Option<Slot>,
    pub tries: usize,
    /// Its body, where the head says how long it is.
    pub declared: Option<Declared>,
    /// Whether anything of the provider's response has come, an informational one included: from then on nothing is sent again.
    pub begun: bool,
    /// What the connection is doing, or the stream.
    pub pulse: Option<Arc<Pulse>>,
    _in_flight: InFlight,
}

impl Context {
    /// A request whose head has just come.
    pub fn new(runtime: Arc<Runtime>) -> Context {
        let pulse = connection::pulse();
        if let Some(pulse) = &pulse {
            pulse.head_is_here();
        }
        Context {
            started: Instant::now(),
            id: HeaderValue::from_static("-"),
            trace: Trace::default(),
            outcome: Outcome::default(),
            upstream: None,
            verified: false,
            slot: None,
            tries: 0,
            declared: None,
            begun: false,
            pulse,
            _in_flight: InFlight::new(&runtime),
            runtime,
        }
    }

    /// The way to the request's upstream.
    pub fn provider(&self) -> Option<&Arc<Provider>> {
        self.upstream.as_ref().and_then(|upstream| self.runtime.provider(upstream))
    }

    /// What the request is called: by a trusted peer, or else by the gateway.
    pub fn name(&mut self, session: &Session) {
        let peer = session.client_addr().and_then(|address| address.as_inet());
        let trusted = peer.is_some_and(|peer| self.runtime.trusts(peer.ip()));
        let named = if trusted { requested_id(&session.req_header().headers) } else { None };
        self.id = named.cloned().unwrap_or_else(|| self.runtime.request_id());
        self.trace = Trace::of(&session.req_header().headers).unwrap_or_else(|| self.runtime.new_trace());
    }

    /// A part of the request's body is here.
    pub fn body_came(&self, http2: bool, bytes: usize, last: bool) {
        let Some(pulse) = &self.pulse else {
            return;
        };
        // The connection counts what comes over HTTP/1.
        if http2 {
            pulse.received(bytes);
        }
        if last {
            pulse.body_is_here();
        }
    }

    /// The name of the listener that the request came in at.
    pub fn listener(&self) -> Arc<str> {
        self.pulse.as_ref().map_or_else(|| "".into(), |pulse| pulse.arrival.listener.clone())
    }

    /// Where the request comes from, as the provider is told.
    pub fn origin(&self, session: &Session) -> Origin {
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        let header = session.req_header();
        let authority = header.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let trusted = peer.is_some_and(|peer| self.runtime.trusts(peer));
        let tls = self.pulse.as_ref().is_some_and(|pulse| pulse.arrival.tls);
        let host = header.headers.get(HOST).cloned().or(authority);
        Origin { peer, host, tls, trusted, trace: self.trace.clone() }
    }
}
