//! The headers of reads, whose response others may be shown.

use super::{FORWARDED_FOR, Origin, Provider};
use crate::wire::carrier::Carrier;
use http::header::{
    ACCEPT, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that would make the response to a read one client's own.
const CONDITIONS: [HeaderName; 6] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

/// Headers of reads whose response others may be shown: who asks, of whom, where in a trace, what is only for logs, and
/// what the gateway writes itself.
const SHARED: [&str; 9] = [
    "authorization",
    "host",
    "te",
    "accept-encoding",
    "traceparent",
    "tracestate",
    "user-agent",
    "auth0-client",
    "x-request-id",
];

/// Those that calls need beside them.
const CALLS: [&str; 2] = ["connect-protocol-version", "x-grpc-web"];

/// How long one caller waits says nothing of the others.
const DEADLINES: [&str; 2] = ["grpc-timeout", "connect-timeout-ms"];

impl Provider {
    /// The headers of a read. `shared` says whether its response may be shown to others: then only those go out that
    /// the response is keyed by, or that no response depends on. What one client likes (`Cookie`, `Accept-Language`,
    /// `Origin`, `Prefer`, …) would be shown to the others.
    pub fn read_headers(&self, from: &HeaderMap, origin: &Origin, carrier: Carrier, shared: bool) -> HeaderMap {
        let mut headers = self.headers(from, origin, carrier);
        CONDITIONS.iter().for_each(|name| drop(headers.remove(name)));
        DEADLINES.iter().for_each(|name| drop(headers.remove(*name)));
        if !shared {
            return headers;
        }
        let goes = |name: &HeaderName| {
            let dialect = self.upstream.dialect;
            let keyed = dialect.keyed.contains(&name.as_str()) || (origin.trusted && dialect.entrusts(name.as_str()));
            // The type of a call is its carrier, which has entries of its own; a resource that is read has none.
            let call = carrier != Carrier::Rest && (*name == CONTENT_TYPE || CALLS.contains(&name.as_str()));
            keyed
                || call
                || SHARED.contains(&name.as_str())
                || self.upstream.dialect.forwarded && *name == FORWARDED_FOR
        };
        let stays: HeaderMap =
            headers.iter().filter(|(name, _)| goes(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut headers = stays;
        for (name, value) in self.forwarded(from, origin) {
            headers.insert(name, value);
        }
        if carrier == Carrier::Rest {
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        }
        headers
    }
}
