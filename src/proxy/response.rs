//! Writing responses.

use super::context::Context;
use super::downstream::Downstream;
use super::head::REQUEST_ID;
use crate::coherence::reading::ForwardReason;
use crate::dialect::{Dialect, UNMATCHED};
use crate::gateway::{ProviderResponse, Upstream};
use crate::model::Rejection;
use crate::serve::ServedFrom;
use crate::wire::carrier::Carrier;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, AGE, CONTENT_LENGTH,
    CONTENT_TYPE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{ErrorType, OrErr, Result};

/// The status of a gRPC call.
const GRPC_STATUS: &str = "grpc-status";
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// How many headers the gateway adds at most.
const OWN_HEADERS: usize = 8;

/// The head of a response from the provider or the cache.
pub(super) fn response_head(
    response: &ProviderResponse,
    source: ServedFrom,
    id: &HeaderValue,
    dialect: &Dialect,
    request: &RequestHeader,
) -> Result<ResponseHeader> {
    // The provider has not seen the origin of this client's page.
    let is_cached = !matches!(source, ServedFrom::Uncached | ServedFrom::Write);
    let is_shown = |name: &HeaderName| {
        *name != AGE && !(is_cached && [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS].contains(name))
    };
    let mut headers = HeaderMap::with_capacity(response.headers.len() + OWN_HEADERS);
    for (name, value) in response.headers.iter().filter(|(name, _)| is_shown(name)) {
        append(&mut headers, name.clone(), value.clone())?;
    }
    // These have no body, or the length of another response's.
    if ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status) {
        headers.insert(CONTENT_LENGTH, response.body.len().into());
    }
    headers.insert(REQUEST_ID, id.clone());
    add_cors_headers(&mut headers, dialect, request)?;
    let cache_status = match source {
        ServedFrom::Hit { age, left } => {
            headers.insert(AGE, (age / 1000).into());
            match left {
                Some(left) => {
                    let text = format!("sessiongate; hit; ttl={}", left.div_euclid(1000));
                    Some(HeaderValue::try_from(text).or_err(ErrorType::InvalidHTTPHeader, "invalid cache status")?)
                }
                None => Some(HeaderValue::from_static("sessiongate; hit")),
            }
        }
        ServedFrom::Miss { why, stored } => Some(HeaderValue::from_static(missed(why, stored))),
        ServedFrom::Coalesced => Some(HeaderValue::from_static("sessiongate; fwd=miss; collapsed")),
        ServedFrom::Bypass => Some(HeaderValue::from_static("sessiongate; fwd=bypass")),
        ServedFrom::Uncached => None,
        ServedFrom::Write => Some(HeaderValue::from_static("sessiongate; fwd=method")),
    };
    if let Some(status) = cache_status {
        append(&mut headers, CACHE_STATUS, status)?;
    }
    Ok(with_headers(response.status, headers))
}

/// A response's head. Pingora's own functions convert each name to bytes and back.
fn with_headers(status: StatusCode, headers: HeaderMap) -> ResponseHeader {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    (parts.status, parts.headers) = (status, headers);
    parts.into()
}

fn missed(why: ForwardReason, stored: bool) -> &'static str {
    match (why, stored) {
        (ForwardReason::Missing, true) => "sessiongate; fwd=miss; stored",
        (ForwardReason::Missing, false) => "sessiongate; fwd=miss",
        (ForwardReason::Stale, true) => "sessiongate; fwd=stale; stored",
        (ForwardReason::Stale, false) => "sessiongate; fwd=stale",
        (ForwardReason::Requested, true) => "sessiongate; fwd=request; stored",
        (ForwardReason::Requested, false) => "sessiongate; fwd=request",
    }
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<()> {
    headers.try_append(name, value).or_err(ErrorType::InvalidHTTPHeader, "too many headers").map(drop)
}

/// A rejection in the error shape of its provider, or in that of [`UNMATCHED`] if the request has no upstream. For a gRPC call
/// it is Trailers-Only: the head has the status, and there is no body.
pub(super) fn rejection_response(
    upstream: Option<&Upstream>,
    request: &RequestHeader,
    rejection: &Rejection,
    id: &HeaderValue,
) -> Result<(ResponseHeader, Bytes)> {
    let dialect = upstream.map_or(UNMATCHED, |upstream| upstream.dialect);
    let reply = dialect.rejections.response(rejection, spoken(dialect, request));
    let mut headers = HeaderMap::with_capacity(reply.headers.len() + OWN_HEADERS);
    for (name, value) in reply.headers {
        append(&mut headers, name, value)?;
    }
    for (name, value) in reply.trailers.iter().flatten() {
        append(&mut headers, name.clone(), value.clone())?;
    }
    headers.insert(CONTENT_LENGTH, reply.body.len().into());
    headers.insert(REQUEST_ID, id.clone());
    add_cors_headers(&mut headers, dialect, request)?;
    if *rejection == Rejection::Deleted {
        append(&mut headers, CACHE_STATUS, HeaderValue::from_static("sessiongate; hit; detail=deleted"))?;
    }
    Ok((with_headers(reply.status, headers), reply.body))
}

/// Adds CORS headers for any origin, as a provider does whose API is for browsers: responses from the gateway or the
/// cache lack the provider's own. A page gets no more than its own credential allows.
fn add_cors_headers(headers: &mut HeaderMap, dialect: &Dialect, request: &RequestHeader) -> Result<()> {
    let Some(cors) = dialect.headers.cors.filter(|_| !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)) else {
        return Ok(());
    };
    let values = headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if !{ values }.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"origin") || name.trim_ascii() == b"*") {
        append(headers, VARY, HeaderValue::from_static("Origin"))?;
    }
    let mut origins = request.headers.get_all(ORIGIN).iter();
    if let (Some(origin), None) = (origins.next(), origins.next()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(cors.exposed));
    }
    Ok(())
}

/// The carrier in which the caller can read an error.
fn spoken(dialect: &Dialect, request: &RequestHeader) -> Carrier {
    if !dialect.has_grpc {
        return Carrier::Rest;
    }
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // The path of a procedure begins with its package, which has a dot.
    let package = request.uri.path().trim_start_matches('/').split('/').next().is_some_and(|first| first.contains('.'));
    let carrier = Carrier::of_caller(content_type);
    if package || carrier.is_framed() { carrier } else { Carrier::Rest }
}

/// Writes a whole response. A gateway that stops closes the connection after it.
pub(super) async fn write<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    mut header: ResponseHeader,
    body: Bytes,
    trailers: Option<HeaderMap>,
) -> Result<()> {
    context.status = header.status.as_u16();
    if context.runtime.is_stopping() {
        downstream.close();
    }
    // A response that is complete is not dropped to save memory.
    let _ = context.holds_response(body.len());
    let is_http2 = downstream.request().version == Version::HTTP_2;
    let trailers = trailers.filter(|trailers| !trailers.is_empty());
    // HTTP/1 clients get no trailers; gRPC clients read them in the head as well.
    let trailers = match trailers {
        Some(trailers) if !is_http2 => {
            for (name, value) in &trailers {
                header.append_header(name.clone(), value.clone()).map_err(|error| error.into_down())?;
            }
            None
        }
        trailers => trailers,
    };
    if is_http2 && (trailers.is_some() || header.headers.contains_key(GRPC_STATUS)) {
        // gRPC proxies reject trailers after a body with a declared length.
        header.remove_header(&CONTENT_LENGTH);
    }
    // Only the client can make this fail.
    downstream.write(context, header, body, trailers).await.map_err(|error| error.into_down())
}
