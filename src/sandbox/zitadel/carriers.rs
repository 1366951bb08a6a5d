//! gRPC, gRPC-web and Connect: what the framework connect-go serves on one path.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, EXPIRES, PRAGMA, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::body::{Frames, envelope};
use super::call::Call;
use super::error::{ApiError, Code};
use super::header::text;
use super::instance::Instance;
use super::origin::Origin;
use super::rpc::{Encoding, Input, UrlParameters, execute};

/// What `grpc-message` escapes: all but printable ASCII, and the escape itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// The content types that a 415 lists.
const ACCEPTED: &str = "application/grpc, application/grpc+json, application/grpc+proto, application/grpc-web, \
    application/grpc-web+json, application/grpc-web+proto, application/json, application/json; charset=utf-8, application/proto";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// How a call stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Grpc,
    Web,
    Connect,
}

/// Responds to a request for a procedure.
pub(super) fn response(instance: &Instance, call: Call, parts: &Parts, body: &Bytes) -> Response {
    if parts.method != Method::POST {
        return empty(StatusCode::METHOD_NOT_ALLOWED, ALLOW, HeaderValue::from_static("POST"));
    }
    let written = text(&parts.headers, CONTENT_TYPE.as_str());
    let Some((carrier, form)) = kind(written) else {
        let accept_post = HeaderName::from_static("accept-post");
        return empty(StatusCode::UNSUPPORTED_MEDIA_TYPE, accept_post, HeaderValue::from_static(ACCEPTED));
    };
    let origin = Origin::of(parts, instance.is_secure());
    let outcome = payload(carrier, &parts.headers, body).and_then(|body| {
        let metadata = &parts.headers;
        execute(instance, Input { call, form, body, origin, metadata, bound: UrlParameters::default() })
    });
    let content_type = parts.headers.get(CONTENT_TYPE).cloned();
    match carrier {
        Carrier::Grpc => grpc(outcome, content_type, parts.version),
        Carrier::Web => web(outcome, content_type),
        Carrier::Connect => connect(outcome, content_type),
    }
}

/// Whether a request is gRPC itself.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    matches!(kind(text(headers, CONTENT_TYPE.as_str())), Some((Carrier::Grpc, _)))
}

/// The response for an unknown gRPC procedure.
pub(super) fn unknown_procedure(parts: &Parts) -> Response {
    let error = ApiError::bare(Code::Unimplemented, format!("unknown service or method {}", parts.uri.path()));
    grpc(Err(error), parts.headers.get(CONTENT_TYPE).cloned(), parts.version)
}

/// A streaming procedure: sends the message of the request three times, `pause` apart.
pub(super) fn stream(parts: &Parts, body: &Bytes, pause: Duration) -> Response {
    let content_type = parts.headers.get(CONTENT_TYPE).cloned();
    match payload(Carrier::Grpc, &parts.headers, body) {
        Err(error) => grpc(Err(error), content_type, parts.version),
        Ok(message) => {
            let messages = (0..3).map(|_| envelope(0, message)).collect();
            framed(Frames::new(messages, trailers(None), pause), content_type, parts.version)
        }
    }
}

fn kind(content_type: &str) -> Option<(Carrier, Encoding)> {
    let content_type = content_type.to_ascii_lowercase();
    let (essence, parameters) = content_type.split_once(';').unwrap_or((&content_type, ""));
    let plain = parameters.trim().is_empty();
    let utf8 = matches!(parameters.trim().replace([' ', '"'], "").as_str(), "charset=utf-8");
    match essence.trim() {
        "application/json" if plain || utf8 => Some((Carrier::Connect, Encoding::Json)),
        "application/proto" if plain => Some((Carrier::Connect, Encoding::Proto)),
        "application/grpc" | "application/grpc+proto" if plain => Some((Carrier::Grpc, Encoding::Proto)),
        "application/grpc+json" if plain => Some((Carrier::Grpc, Encoding::Json)),
        "application/grpc-web" | "application/grpc-web+proto" if plain => Some((Carrier::Web, Encoding::Proto)),
        "application/grpc-web+json" if plain => Some((Carrier::Web, Encoding::Json)),
        _ => None,
    }
}

/// The message in a body.
fn payload<'a>(carrier: Carrier, headers: &HeaderMap, body: &'a [u8]) -> Result<&'a [u8], ApiError> {
    let coding = if carrier == Carrier::Connect { CONTENT_ENCODING.as_str() } else { "grpc-encoding" };
    let coding = text(headers, coding);
    // ZITADEL also reads gzip; this instance does not.
    if !matches!(coding, "" | "identity") {
        let text = format!("unknown compression \"{coding}\": supported encodings are identity");
        return Err(ApiError::bare(Code::Unimplemented, text));
    }
    if carrier != Carrier::Connect {
        return unwrap(body);
    }
    match text(headers, "connect-protocol-version") {
        "" | "1" => Ok(body),
        other => {
            let text = format!("connect-protocol-version must be \"1\": got \"{other}\"");
            Err(ApiError::bare(Code::InvalidArgument, text))
        }
    }
}

/// The one message of a gRPC body.
fn unwrap(body: &[u8]) -> Result<&[u8], ApiError> {
    let incomplete = || ApiError::bare(Code::InvalidArgument, "protocol error: incomplete envelope: unexpected EOF");
    if body.is_empty() {
        return Err(ApiError::bare(Code::Unimplemented, "unary request has zero messages"));
    }
    let ([flags, length @ ..], rest) = body.split_first_chunk::<5>().ok_or_else(incomplete)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| incomplete())?;
    let (message, rest) = rest.split_at_checked(length).ok_or_else(incomplete)?;
    match flags {
        0 if rest.is_empty() => Ok(message),
        0 => Err(ApiError::bare(Code::Unimplemented, "unary request has multiple messages")),
        1 => Err(ApiError::bare(Code::Internal, "protocol error: sent compressed message without compression support")),
        flags => Err(ApiError::bare(Code::Internal, format!("protocol error: invalid envelope flags {flags}"))),
    }
}

/// connect-go always sends real trailers, also with an error.
fn grpc(outcome: Result<Vec<u8>, ApiError>, content_type: Option<HeaderValue>, version: Version) -> Response {
    let (messages, trailers) = match outcome {
        Ok(message) => (vec![envelope(0, &message)], trailers(None)),
        Err(error) => (Vec::new(), trailers(Some(&error))),
    };
    framed(Frames::new(messages, trailers, Duration::ZERO), content_type, version)
}

fn framed(frames: Frames, content_type: Option<HeaderValue>, version: Version) -> Response {
    let mut response = typed(Body::new(frames), content_type);
    let headers = response.headers_mut();
    no_store(headers);
    if version < Version::HTTP_2 {
        let announced = HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin");
        headers.insert(TRAILER, announced);
    }
    response
}

/// A response has its trailers in the body; an error, which has no message, has them in the headers.
fn web(outcome: Result<Vec<u8>, ApiError>, content_type: Option<HeaderValue>) -> Response {
    match outcome {
        Ok(message) => {
            let body = [envelope(0, &message), envelope(0x80, b"grpc-status: 0\r\n")].concat();
            let mut response = typed(Body::from(body), content_type);
            no_store(response.headers_mut());
            response
        }
        Err(error) => {
            let mut response = typed(Body::empty(), content_type);
            response.headers_mut().extend(trailers(Some(&error)));
            response
        }
    }
}

fn connect(outcome: Result<Vec<u8>, ApiError>, content_type: Option<HeaderValue>) -> Response {
    let (status, body, content_type) = match outcome {
        Ok(body) => (StatusCode::OK, body, content_type),
        Err(error) => {
            let json = HeaderValue::from_static("application/json");
            (error.code.status(), error.connect().to_string().into_bytes(), Some(json))
        }
    };
    let mut response = typed(Body::from(body), content_type);
    *response.status_mut() = status;
    if status == StatusCode::OK {
        no_store(response.headers_mut());
    }
    response
}

fn trailers(error: Option<&ApiError>) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(STATUS, error.map_or(0, |error| error.code.number()).into());
    let Some(error) = error else {
        return map;
    };
    let escaped = utf8_percent_encode(&error.message(), ESCAPED).to_string();
    let details = error.status_details();
    let pairs = [(MESSAGE, Some(escaped)), (DETAILS, details)];
    let values = pairs.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value?).ok()?)));
    map.extend(values);
    map
}

/// ZITADEL forbids storing its responses.
fn no_store(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
}

fn typed(body: Body, content_type: Option<HeaderValue>) -> Response {
    let mut response = Response::new(body);
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

fn empty(status: StatusCode, name: HeaderName, value: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(name, value);
    response
}
