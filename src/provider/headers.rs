//! The headers of requests to a provider, for requests of every kind.

use super::heads::HOP_BY_HOP;
use crate::gateway::Upstream;
use crate::wire::carrier::Carrier;
use crate::wire::http1::connection_options;
use crate::wire::trace::{TRACEPARENT, Trace};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, COOKIE, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE, TE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::sync::Arc;

/// Request headers that the gateway sets itself. Responses are read, so they should not be compressed.
const SET_BY_GATEWAY: [&str; 7] = [
    "host",
    "content-length",
    "expect",
    "accept-encoding",
    "grpc-accept-encoding",
    "connect-accept-encoding",
    "x-request-id",
];

/// Further request headers that belong to one connection, or that the gateway writes itself.
const NOT_RELAYED: [&str; 5] = ["host", "content-length", "expect", "proxy-authorization", "http2-settings"];

/// Headers by which proxies describe the client or change a request's target. A client's own copies never reach a
/// provider, nor does any header that begins with `x-forwarded`.
const TRUSTED: [&str; 13] = [
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
];

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: [HeaderName; 3] = [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST];

/// Headers that would make the response to a read specific to one client.
const CONDITIONS: [HeaderName; 6] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

/// The first header of a request that makes it conditional, or about a part: a provider's response would answer whether
/// the condition holds.
pub fn condition_in(headers: &HeaderMap) -> Option<&'static str> {
    let names = ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"];
    names.into_iter().find(|name| headers.contains_key(*name))
}

/// Headers of reads whose responses are shared, beside the credential: host, trace, headers that only logs use, and
/// headers that the gateway writes.
const SHARED: [&str; 7] = ["host", "te", "accept-encoding", "traceparent", "tracestate", "user-agent", "x-request-id"];

/// Further headers that calls need.
const CALLS: [&str; 2] = ["connect-protocol-version", "x-grpc-web"];

/// The origin of a request.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The client's address.
    pub peer: Option<IpAddr>,
    /// The host that the client requested.
    pub host: Option<HeaderValue>,
    /// Whether it arrived over TLS.
    pub tls: bool,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
    /// The request's trace context.
    pub trace: Trace,
}

/// The kinds of requests, as far as their headers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A governed request: the gateway reads the response.
    Governed(Carrier),
    /// A pass-through request that the gateway sends itself.
    Relayed {
        /// Whether it is a gRPC call.
        grpc: bool,
    },
    /// A pass-through request that is streamed. What belongs to the connection has been taken out.
    Streamed,
}

/// The rules for the headers of requests to one upstream.
#[derive(Debug)]
pub struct RequestHeaders {
    upstream: Arc<Upstream>,
    authority: HeaderValue,
}

/// Removes a deadline of the caller's, for a request whose outcome others depend on.
pub fn without_deadline(headers: &mut HeaderMap) {
    Carrier::DEADLINE_HEADERS.iter().for_each(|name| drop(headers.remove(*name)));
}

impl RequestHeaders {
    /// The rules of an upstream.
    pub fn new(upstream: &Arc<Upstream>) -> RequestHeaders {
        let authority = HeaderValue::from_str(&upstream.target.authority()).unwrap_or(HeaderValue::from_static(""));
        RequestHeaders { upstream: upstream.clone(), authority }
    }

    /// The `Host` header that the provider expects.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// The names of the client's headers that do not reach the provider.
    pub fn removed(&self, from: &HeaderMap, origin: &Origin, kind: RequestKind) -> Vec<HeaderName> {
        let own: &[&str] = match kind {
            RequestKind::Governed(_) => &SET_BY_GATEWAY,
            RequestKind::Relayed { .. } => &NOT_RELAYED,
            RequestKind::Streamed => {
                return from.keys().filter(|name| self.keeps_out(name, origin)).cloned().collect();
            }
        };
        let connection_options = connection_options(from);
        let removed = |name: &&HeaderName| {
            HOP_BY_HOP.contains(name)
                || own.contains(&name.as_str())
                || self.keeps_out(name, origin)
                || connection_options.iter().any(|own| own.eq_ignore_ascii_case(name.as_str()))
        };
        from.keys().filter(removed).cloned().collect()
    }

    /// The headers that the gateway sets in place of the client's; `None` for one that it takes out.
    pub fn set(&self, from: &HeaderMap, origin: &Origin, kind: RequestKind) -> Vec<(HeaderName, Option<HeaderValue>)> {
        let mut set = Vec::with_capacity(8);
        set.push((HOST, Some(self.host(origin))));
        let kept =
            |_: &HeaderValue| !connection_options(from).iter().any(|name| name.eq_ignore_ascii_case(COOKIE.as_str()));
        set.extend(joined_cookies(from).filter(kept).map(|cookie| (COOKIE, Some(cookie))));
        set.extend(origin.trace.changes().map(|(name, value)| (name, value.cloned())));
        set.extend(self.forwarded(from, origin).into_iter().map(|(name, value)| (name, Some(value))));
        let grpc = match kind {
            RequestKind::Governed(carrier) => {
                set.push((ACCEPT_ENCODING, Some(HeaderValue::from_static("identity"))));
                carrier.is_grpc()
            }
            RequestKind::Relayed { grpc } => grpc,
            RequestKind::Streamed => false,
        };
        if grpc {
            set.push((TE, Some(HeaderValue::from_static("trailers"))));
        }
        set
    }

    /// The headers of a governed request.
    pub fn governed(&self, from: &HeaderMap, origin: &Origin, carrier: Carrier) -> HeaderMap {
        self.build(from, origin, RequestKind::Governed(carrier))
    }

    /// The headers of a pass-through request that the gateway sends by itself.
    pub fn relayed(&self, from: &HeaderMap, origin: &Origin, grpc: bool) -> HeaderMap {
        self.build(from, origin, RequestKind::Relayed { grpc })
    }

    /// The headers of a read. If other callers may be shown its response (`shared`), it has only headers that are part
    /// of the cache key, or that no response depends on. One client's preferences (`Cookie`, `Accept-Language`,
    /// `Origin`, `Prefer`, …) would decide what the others see.
    pub fn read(&self, from: &HeaderMap, origin: &Origin, carrier: Carrier, shared: bool) -> HeaderMap {
        let mut headers = self.governed(from, origin, carrier);
        CONDITIONS.iter().for_each(|name| drop(headers.remove(name)));
        without_deadline(&mut headers);
        if !shared {
            return headers;
        }
        let sent = |name: &HeaderName| {
            let dialect = self.upstream.dialect;
            let keyed = dialect.headers.cache_key.contains(&name.as_str())
                || (origin.trusted && dialect.headers.is_trusted_peer(name.as_str()));
            // The content type of a call is its carrier, which is part of the key. A read of a resource has none.
            let call = carrier != Carrier::Rest && (*name == CONTENT_TYPE || CALLS.contains(&name.as_str()));
            keyed
                || call
                || SHARED.contains(&name.as_str())
                || dialect.headers.software.contains(&name.as_str())
                || dialect.has_credential(name.as_str().as_bytes())
                || dialect.headers.reads_forwarded && FORWARDED.contains(name)
        };
        let sent = headers.iter().filter(|(name, _)| sent(name)).map(|(name, value)| (name.clone(), value.clone()));
        let mut headers: HeaderMap = sent.collect();
        if carrier == Carrier::Rest {
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        }
        headers
    }

    fn build(&self, from: &HeaderMap, origin: &Origin, kind: RequestKind) -> HeaderMap {
        let removed = self.removed(from, origin, kind);
        let mut headers = HeaderMap::with_capacity(from.len() + 2);
        for (name, value) in from.iter().filter(|(name, _)| !removed.contains(name)) {
            headers.append(name.clone(), value.clone());
        }
        for (name, value) in self.set(from, origin, kind) {
            match value {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            }
        }
        // HTTP/2 does not index it then, as with a trace that starts here.
        if let Some(parent) = headers.get_mut(TRACEPARENT) {
            parent.set_sensitive(true);
        }
        headers
    }

    /// The `Host` header to send.
    fn host(&self, origin: &Origin) -> HeaderValue {
        let own = origin.host.as_ref().filter(|_| self.upstream.preserve_host);
        own.unwrap_or(&self.authority).clone()
    }

    /// Whether this header of a request is dropped because clients must not set it.
    fn keeps_out(&self, name: &HeaderName, origin: &Origin) -> bool {
        let own = &self.upstream.dialect.headers;
        (is_trusted(name) || own.is_stripped(name.as_str())) && !(origin.trusted && own.is_trusted_peer(name.as_str()))
    }

    /// The forwarding headers to add; none if the provider does not read them. Values from a trusted peer are kept, and
    /// the peer is appended to `X-Forwarded-For`.
    fn forwarded(&self, from: &HeaderMap, origin: &Origin) -> Vec<(HeaderName, HeaderValue)> {
        if !self.upstream.dialect.headers.reads_forwarded {
            return Vec::new();
        }
        // Without `preserve_host` the provider sees its own scheme and host, otherwise those of the client's request.
        let tls = if self.upstream.preserve_host { origin.tls } else { self.upstream.target.tls };
        let proto = HeaderValue::from_static(if tls { "https" } else { "http" });
        let mut all = vec![(FORWARDED_PROTO, proto), (FORWARDED_HOST, self.host(origin))];
        all.retain(|(name, _)| !(origin.trusted && from.contains_key(name)));
        if let Some(peer) = origin.peer {
            let before = from.get_all(FORWARDED_FOR).iter().filter(|_| origin.trusted);
            let before = before.filter_map(|value| value.to_str().ok()).map(|value| format!("{value}, "));
            let through = before.collect::<String>() + &peer.to_string();
            all.extend(HeaderValue::from_str(&through).ok().map(|through| (FORWARDED_FOR, through)));
        }
        all
    }
}

/// Joins several cookie headers into one: HTTP/2 lets a client split it (RFC 9113, section 8.2.3), HTTP/1 does not.
fn joined_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (first, second) = (crumbs.next()?, crumbs.next()?);
    let mut whole = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    HeaderValue::from_bytes(&whole).ok()
}

/// Whether only a trusted proxy may set this header, also in a spelling that some servers treat as the same.
fn is_trusted(name: &HeaderName) -> bool {
    let trusted = |name: &str| name.starts_with("x-forwarded") || TRUSTED.contains(&name);
    let name = name.as_str();
    trusted(name) || (name.contains('_') && trusted(&name.replace('_', "-")))
}
