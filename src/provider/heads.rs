//! Checks on the head of every response before any of it reaches a client.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Hop-by-hop headers (RFC 9110, section 7.6.1).
pub const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The largest head: bytes of all headers as HTTP/1.1 writes them, and their number.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 250;

/// What is wrong with a response's headers; `None` if they may be forwarded.
pub fn fault(headers: &HeaderMap) -> Option<&'static str> {
    if !are_bounded(headers) {
        return Some("the response headers are too large");
    }
    (!has_plain_coding(headers)).then_some("the response has a transfer coding other than chunked")
}

/// The hop-by-hop headers of a response, including those named by `Connection`, which are not forwarded (RFC 9110,
/// section 7.6.1). Headers that frame or describe the body are never among them.
pub fn of_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    const ALWAYS_FORWARDED: [HeaderName; 4] = [TRANSFER_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING];
    let values = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named = values.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let all = HOP_BY_HOP.into_iter().chain(named);
    all.filter(|name| headers.contains_key(name) && !ALWAYS_FORWARDED.contains(name)).collect()
}

/// Whether a response with this status must not have a Content-Length (RFC 9110, section 8.6).
pub fn has_no_length(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// The length of a response that declares it more than once, in several headers or in a list. It is accepted if all are
/// the same, and a client may not accept it, so it gets one (RFC 9110, section 8.6). `None` if there is nothing to do.
pub fn repeated_length(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next()?;
    let is_plain = first.as_bytes().iter().all(u8::is_ascii_digit);
    if is_plain && lengths.next().is_none() {
        return None;
    }
    let first = first.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).find(|one| !one.is_empty())?;
    HeaderValue::from_bytes(first).ok().filter(|_| first.iter().all(u8::is_ascii_digit))
}

/// Whether headers or trailers are within the limits that clients can be expected to read.
pub fn are_bounded(headers: &HeaderMap) -> bool {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers.len() <= MAX_HEADERS && size <= MAX_HEAD
}

/// Whether a response has no transfer coding except a single `chunked`: recipients would interpret others differently.
fn has_plain_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let plain = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    plain && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_lengths_become_one() {
        for (lengths, one) in [
            (&["5"][..], None),
            (&[], None),
            (&["5, 5"], Some("5")),
            (&["5,\t5 ,5"], Some("5")),
            (&["5,"], Some("5")),
            (&["5", "5"], Some("5")),
            (&["5, 5", "5"], Some("5")),
            // Such responses are rejected before.
            (&["+5, 5"], None),
            (&[""], None),
        ] {
            let mut headers = HeaderMap::new();
            for length in lengths {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            let found = repeated_length(&headers);
            assert_eq!(found.as_ref().map(|length| length.to_str().unwrap()), one, "{lengths:?}");
        }
    }
}
