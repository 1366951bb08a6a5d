//! What must hold of the head of any answer before any of it reaches a client.

use http::HeaderMap;
use http::header::TRANSFER_ENCODING;

/// The largest head: all headers together, in bytes as HTTP/1.1 writes them, and how many.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 250;

/// What is wrong with the headers of an answer; none where they can be passed on.
pub fn fault(headers: &HeaderMap) -> Option<&'static str> {
    if !are_bounded(headers) {
        return Some("the answer has more headers than clients can be expected to read");
    }
    (!has_plain_coding(headers)).then_some("the answer has a transfer coding other than chunked")
}

/// Whether the headers of an answer, or its trailers, are no more than clients can be expected to read.
pub fn are_bounded(headers: &HeaderMap) -> bool {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers.len() <= MAX_HEADERS && size <= MAX_HEAD
}

/// Whether an answer has no transfer coding but a single `chunked`: what others would make of it, nobody knows.
fn has_plain_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let plain = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    plain && codings.next().is_none()
}
