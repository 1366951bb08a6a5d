//! Encodings: of bodies, of the gateway's own responses, and of what a connection begins with. Knows no session and no
//! provider.

pub mod masking;
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
pub mod proxy_protocol;
pub mod hex;
pub mod trace;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A response of the gateway's own.
#[derive(Debug, Clone)]
pub struct OwnResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers, without `content-length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
}

impl OwnResponse {
    /// A response with this content type.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> OwnResponse {
        let headers = vec![(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        OwnResponse { status, headers, body: body.into(), trailers: None }
    }

    /// Adds a header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> OwnResponse {
        self.headers.push((name, value));
        self
    }
}

/// Whether `key` differs from `name` only in case, underscores and hyphens. Some parsers would accept it as `name`.
pub fn is_ambiguous_spelling(key: &str, name: &str) -> bool {
    if key.is_ascii() && name.is_ascii() {
        return key != name && letters(key).eq(letters(name));
    }
    let plain = |text: &str| folded(text).replace(['_', '-'], "");
    key != name && plain(key) == plain(name)
}

/// The letters of an ASCII text, in lower case.
fn letters(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(|byte| !b"_-".contains(byte)).map(|byte| byte.to_ascii_lowercase())
}

/// Folds case, including characters that only some parsers fold: U+017F to `s`, and U+212A to `k`.
pub fn folded(text: &str) -> String {
    // The same, and much cheaper: paths are read this way for each request that is passed through.
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
