//! What the head of a request says, read off Pingora's view of it and off the bytes that came.

use crate::gateway::{CallerCheck, Credential, Head, Upstream, bearer};
use crate::model::Refusal;
use crate::runtime::{Runtime, wall_seconds};
use crate::token::is_jwt;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Version};
use pingora::http::RequestHeader;
use pingora::prelude::Session;

/// The head of a request, as the core sees it.
pub(super) fn head<'a>(header: &'a RequestHeader, listener: &'a str) -> Head<'a> {
    let host = header.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = header.uri.authority().map(|authority| authority.as_str());
    Head {
        listener,
        method: &header.method,
        path: header.uri.path(),
        query: header.uri.query(),
        host: authority.or(host).unwrap_or_default(),
        headers: &header.headers,
        http2: header.version == Version::HTTP_2,
    }
}

/// Whether the target is a path, or an absolute one (RFC 9112, 3.2): Pingora passes others on, and servers make paths of them.
pub(super) fn has_plain_target(header: &RequestHeader) -> bool {
    let raw = header.raw_path();
    let scheme = |scheme: &[u8]| raw.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    raw.starts_with(b"/")
        || scheme(b"http://")
        || scheme(b"https://")
        || (raw == b"*" && header.method == Method::OPTIONS)
}

/// Whether the host is one, or there is none because HTTP/1.0 needs none.
pub(super) fn has_plain_host(header: &RequestHeader) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    match header.headers.get(HOST) {
        Some(host) => !host.is_empty() && host.as_bytes().iter().all(plain),
        None => header.uri.authority().is_some() || header.version == Version::HTTP_10,
    }
}

/// Whether a length stands beside a transfer coding. Pingora goes by the coding and takes the length away, so that only the
/// bytes that came still show it.
pub(super) fn has_two_lengths(session: &Session) -> bool {
    const LENGTH: &[u8] = b"content-length";
    session.req_header().headers.contains_key(TRANSFER_ENCODING)
        && session.to_h1_raw().split(|byte| *byte == b'\n').any(|line| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(LENGTH)
        })
}

/// Who a request comes from, as its upstream wants it found out.
pub(super) async fn credential(
    runtime: &Runtime,
    upstream: &Upstream,
    headers: &HeaderMap,
) -> Result<Credential, Refusal> {
    let opaque = matches!(upstream.check, CallerCheck::Token { opaque: true, .. });
    match runtime.issuer(upstream) {
        Some(issuer) => match bearer(headers)? {
            token if opaque && !is_jwt(token) => Ok(Credential::Forwarded(Bytes::copy_from_slice(token.as_bytes()))),
            token => issuer.verify(token, wall_seconds()).await.map(Credential::Verified),
        },
        None => Ok(match headers.get(AUTHORIZATION) {
            Some(value) => Credential::Forwarded(Bytes::copy_from_slice(value.as_bytes())),
            None => Credential::Anonymous,
        }),
    }
}
