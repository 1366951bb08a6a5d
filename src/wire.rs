//! Encodings: what a body is on the wire, and what a response of ours is. Knows no session and no provider.

pub mod json;
pub mod proto;
pub mod schema;
pub mod message;
pub mod frame;
pub mod coding;
pub mod carrier;
pub mod call_end;
pub mod http1;
pub mod hpack;
pub mod hex;
pub mod trace;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A response that the gateway makes by itself.
#[derive(Debug, Clone)]
pub struct OwnResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers, less `content-length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// What stands behind the body.
    pub trailers: Option<HeaderMap>,
}

impl OwnResponse {
    /// A response of this content type.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> OwnResponse {
        let headers = vec![(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        OwnResponse { status, headers, body: body.into(), trailers: None }
    }

    /// The same answer with one more header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> OwnResponse {
        self.headers.push((name, value));
        self
    }
}

/// Another spelling of a known member: parsers exist that would take it for the member itself.
pub fn is_ambiguous_spelling(key: &str, name: &str) -> bool {
    let plain = |text: &str| folded(text).replace(['_', '-'], "");
    key != name && plain(key) == plain(name)
}

/// Without differences of case, also those that only some fold: U+017F and U+212A are an `s` and a `k` to them.
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
