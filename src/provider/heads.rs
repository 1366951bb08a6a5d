//! What must hold of the head of any response before any of it reaches a client.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, StatusCode};

/// Headers that speak of one connection, not of the message.
pub(super) const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The largest head: all headers together, in bytes as HTTP/1.1 writes them, and how many.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 250;

/// What is wrong with the headers of a response; none where they can be passed on.
pub fn fault(headers: &HeaderMap) -> Option<&'static str> {
    if !are_bounded(headers) {
        return Some("the response headers are too large");
    }
    (!has_plain_coding(headers)).then_some("the response has a transfer coding other than chunked")
}

/// The headers of a response that speak of its connection, with those that `Connection` names: they are no one else's
/// (RFC 9110, section 7.6.1). What frames the body, or says what it is, is never taken for one of them.
pub fn of_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    const ALWAYS_FORWARDED: [HeaderName; 4] = [TRANSFER_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING];
    let values = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named = values.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let all = HOP_BY_HOP.into_iter().chain(named);
    all.filter(|name| headers.contains_key(name) && !ALWAYS_FORWARDED.contains(name)).collect()
}

/// Whether a response with this status has no body that could have a length (RFC 9110, section 8.6).
pub fn has_no_length(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// Whether the headers of a response, or its trailers, are no more than clients can be expected to read.
pub fn are_bounded(headers: &HeaderMap) -> bool {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers.len() <= MAX_HEADERS && size <= MAX_HEAD
}

/// Whether a response has no transfer coding but a single `chunked`: what others would make of it, nobody knows.
fn has_plain_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let plain = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    plain && codings.next().is_none()
}
