//! The head of a request, as Pingora parsed it.

use crate::gateway::RequestHead;
use crate::model::Rejection;
use crate::wire::http1::{self, HeadLimits, Http2Head, RequestError};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora::http::RequestHeader;
use pingora::prelude::Session;

/// The header with the ID of a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The head of a request, as the gateway's core takes it.
pub(super) fn head<'a>(header: &'a RequestHeader, listener: &'a str, trusted: bool) -> RequestHead<'a> {
    let host = header.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = header.uri.authority().map(|authority| authority.as_str());
    RequestHead {
        listener,
        method: &header.method,
        path: header.uri.path(),
        query: header.uri.query(),
        host: authority.or(host).unwrap_or_default(),
        headers: &header.headers,
        http2: header.version == Version::HTTP_2,
        trusted,
    }
}

/// Whether a request came over HTTP/2, also if Pingora treats its stream as a custom one ([`super::first_byte`]).
pub(super) fn is_http2(session: &Session) -> bool {
    session.req_header().version == Version::HTTP_2
}

/// The declared length of a body.
pub(super) fn content_length(header: &RequestHeader) -> Option<usize> {
    header.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Removes a `Host` or authority that is not a host: over a Unix socket, clients send the path of the socket.
pub(super) fn drop_path(request: &mut RequestHeader) {
    if request.headers.get(HOST).is_some_and(|host| !http1::is_authority(host.as_bytes())) {
        request.remove_header(&HOST);
    }
    if let Some(uri) = http1::without_invalid_authority(&request.uri) {
        request.set_uri(uri);
    }
}

/// Removes the trailing dot of a request's host: `name.` is `name`.
pub(super) fn drop_root(request: &mut RequestHeader) -> pingora::Result<()> {
    let host = request.headers.get(HOST).and_then(|host| http1::without_root_dot(host.to_str().ok()?));
    if let Some(host) = host {
        request.insert_header(HOST, host)?;
    }
    if let Some(uri) = http1::uri_without_root_dot(&request.uri) {
        request.set_uri(uri);
    }
    Ok(())
}

/// Checks a head before anything in it is used: over HTTP/1 by the fault that was found in its bytes, over HTTP/2,
/// which Pingora decodes, by its parts. Over a Unix socket it may have no host.
pub(super) fn check(
    header: &RequestHeader,
    fault: Option<RequestError>,
    limits: HeadLimits,
    over_socket: bool,
) -> Result<(), Rejection> {
    if let Some(fault) = fault {
        return Err(rejection(fault));
    }
    if header.version == Version::HTTP_2 {
        let parts = Http2Head {
            method: header.method.as_str(),
            target: header.raw_path(),
            authority: header.uri.authority().map(|authority| authority.as_str().as_bytes()),
            host_optional: over_socket,
            headers: &header.headers,
        };
        http1::check(parts, limits).map_err(rejection)?;
    }
    // A response to TRACE shows what proxies added to the request, and no provider supports it.
    if header.method == Method::TRACE { Err(Rejection::Method(METHODS.into())) } else { Ok(()) }
}

/// Replaces a request's path.
pub(super) fn set_path(header: &mut RequestHeader, path: &str) -> Result<(), Rejection> {
    let mut parts = header.uri.clone().into_parts();
    let query = header.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    parts.path_and_query = Some(format!("{path}{query}").parse().map_err(|_| Rejection::Path)?);
    header.set_uri(Uri::from_parts(parts).map_err(|_| Rejection::Path)?);
    Ok(())
}

/// The request ID that a request came with, if it is safe to log.
pub(super) fn requested_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut names = headers.get_all(REQUEST_ID).iter();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:+/=".contains(byte);
    let name = names.next().filter(|name| (1..=128).contains(&name.len()) && name.as_bytes().iter().all(plain))?;
    names.next().is_none().then_some(name)
}

/// The value of `Allow` for methods that no resource has.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The rejection for a fault in the bytes of a request.
pub(super) fn rejection(fault: RequestError) -> Rejection {
    match fault {
        RequestError::Target => Rejection::Path,
        RequestError::Host => Rejection::Header("Host", "is missing, duplicated, invalid, or differs from the target"),
        RequestError::Length => {
            Rejection::Header("Content-Length", "is duplicated, combined with a transfer coding, or not a number")
        }
        RequestError::Coding => {
            Rejection::Header("Transfer-Encoding", "is not a single `chunked`, or is used with HTTP/1.0")
        }
        RequestError::Connect => Rejection::Method(METHODS.into()),
        RequestError::TargetLength(limit) => Rejection::TargetTooLong(limit),
        RequestError::Count(_) | RequestError::Single(_) | RequestError::Block(_) => {
            Rejection::HeadTooLarge(fault.to_string())
        }
        RequestError::LineEnd
        | RequestError::Control
        | RequestError::RequestLine
        | RequestError::Method
        | RequestError::Version
        | RequestError::Name
        | RequestError::Alias(_)
        | RequestError::OfConnection
        | RequestError::Chunk => Rejection::Framing(fault.to_string()),
    }
}
