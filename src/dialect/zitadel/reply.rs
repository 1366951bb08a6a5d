//! Renders rejections in ZITADEL's shape, in each carrier's own form, so every client raises its own exception.
//!
//! Sources: ZITADEL's `internal/api/grpc/gerrors` and its REST gateway's error handler, gRPC's "Status codes",
//! Connect's "Protocol Reference" (codes and error details), and `google/rpc/error_details.proto`.

use crate::model::{Rejection, Rule, Violations, truncated};
use crate::telemetry::Label;
use crate::wire::carrier::{Carrier, http_status};
use crate::wire::frame::framed_trailers;
use crate::wire::message::Codec;
use crate::wire::{OwnResponse, proto};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// The maximum length of violations in a response, in bytes. With more, a small request could cause a large response.
#[derive(Clone, Copy)]
struct SizeLimit {
    text: usize,
    fields: usize,
}

/// For responses with a body.
const BODY: SizeLimit = SizeLimit { text: 8 << 10, fields: 16 << 10 };
/// For trailers. They contain the text three times, two of them in base64, and common gRPC clients accept 8 KiB.
const HEADERS: SizeLimit = SizeLimit { text: 1000, fields: 1500 };
/// The maximum length of a quoted part of the body, in bytes.
const MAX_SHOWN: usize = 500;
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const DETAIL: &str = "zitadel.v1.ErrorDetail";
const BAD_REQUEST: &str = "google.rpc.BadRequest";

/// An error as ZITADEL reports it.
struct Error {
    /// The gRPC status code.
    code: u32,
    /// The error ID, like those of ZITADEL's own errors.
    id: String,
    text: String,
    fields: Vec<(String, String)>,
    /// The HTTP status, if it differs from that of the gRPC code.
    status: StatusCode,
}

/// Renders a rejection in ZITADEL's shape.
pub(super) fn reply(rejection: &Rejection, carrier: Carrier) -> OwnResponse {
    let limit = if matches!(carrier, Carrier::Grpc(_)) { HEADERS } else { BODY };
    let error = error(rejection, limit);
    let message = if error.id.is_empty() { error.text.clone() } else { format!("{} ({})", error.text, error.id) };
    let reply = match carrier {
        Carrier::Rest => rest(&error, &message),
        Carrier::Connect(_) => connect(&error, &message),
        Carrier::Grpc(codec) => framed(&error, &message, false, codec),
        Carrier::GrpcWeb(codec) => framed(&error, &message, true, codec),
    };
    match rejection {
        Rejection::Method(allowed) => match HeaderValue::from_str(allowed) {
            Ok(allowed) => reply.with(ALLOW, allowed),
            Err(_) => reply,
        },
        Rejection::ContentCoding => match carrier {
            // Tells clients which encoding to retry with (gRPC's document "Compression"; RFC 9110, section 12.5.3).
            Carrier::Grpc(_) | Carrier::GrpcWeb(_) => reply.with(GRPC_ACCEPT_ENCODING, IDENTITY),
            Carrier::Rest | Carrier::Connect(_) => reply.with(ACCEPT_ENCODING, IDENTITY),
        },
        _ if reply.status == StatusCode::UNAUTHORIZED => {
            let challenge = HeaderValue::from_str(&message).unwrap_or(HeaderValue::from_static("Bearer"));
            reply.with(WWW_AUTHENTICATE, challenge)
        }
        _ => match rejection.retry_after() {
            Some(seconds) => reply.with(RETRY_AFTER, seconds.into()),
            None => reply,
        },
    }
}

fn rest(error: &Error, message: &str) -> OwnResponse {
    let mut details = vec![json!({
        "@type": format!("type.googleapis.com/{DETAIL}"), "id": error.id, "message": error.text,
    })];
    if !error.fields.is_empty() {
        let fields: Vec<Value> = error.fields.iter().map(violation).collect();
        details.push(json!({ "@type": format!("type.googleapis.com/{BAD_REQUEST}"), "fieldViolations": fields }));
    }
    let body = json!({ "code": error.code, "message": message, "details": details });
    OwnResponse::new(error.status, "application/json", body.to_string())
}

fn violation((field, description): &(String, String)) -> Value {
    json!({ "field": field, "description": description })
}

fn connect(error: &Error, message: &str) -> OwnResponse {
    let details: Vec<Value> = details(error)
        .into_iter()
        .map(|(name, bytes)| json!({ "type": name, "value": STANDARD_NO_PAD.encode(bytes) }))
        .collect();
    let body = json!({ "code": code_name(error.code), "message": message, "details": details });
    // A request with a method other than POST is not a Connect call.
    let status = if error.status == StatusCode::METHOD_NOT_ALLOWED { error.status } else { http_status(error.code) };
    OwnResponse::new(status, "application/json", body.to_string())
}

/// The response of a framed carrier: the error is in trailers, or for gRPC-web in a trailers frame in the body. The
/// HTTP status is 200, except for a method other than POST: such a request is not a call, and a HEAD request would see
/// only the 200.
fn framed(error: &Error, message: &str, web: bool, codec: Codec) -> OwnResponse {
    let mut trailers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            trailers.insert(HeaderName::from_static(name), value);
        }
    };
    add("grpc-status", &error.code.to_string());
    add("grpc-message", &percent_encoded(message));
    add("grpc-status-details-bin", &STANDARD_NO_PAD.encode(status(error, message)));
    let content_type = match (web, codec) {
        (false, Codec::Proto) => "application/grpc+proto",
        (false, Codec::Json) => "application/grpc+json",
        (true, Codec::Proto) => "application/grpc-web+proto",
        (true, Codec::Json) => "application/grpc-web+json",
    };
    let body = if web { framed_trailers(&trailers) } else { Default::default() };
    let no_call = error.status == StatusCode::METHOD_NOT_ALLOWED;
    let mut reply = OwnResponse::new(if no_call { error.status } else { StatusCode::OK }, content_type, body);
    if !web {
        reply.trailers = Some(trailers);
    }
    debug_assert!(reply.headers.iter().any(|(name, _)| *name == CONTENT_TYPE));
    reply
}

/// Encodes `google.rpc.Status`.
fn status(error: &Error, message: &str) -> Vec<u8> {
    let mut status = Vec::new();
    proto::put_number(&mut status, 1, u64::from(error.code));
    proto::put_bytes(&mut status, 2, message.as_bytes());
    for (name, bytes) in details(error) {
        let mut any = Vec::new();
        proto::put_bytes(&mut any, 1, format!("type.googleapis.com/{name}").as_bytes());
        proto::put_bytes(&mut any, 2, &bytes);
        proto::put_bytes(&mut status, 3, &any);
    }
    status
}

fn details(error: &Error) -> Vec<(&'static str, Vec<u8>)> {
    let mut detail = Vec::new();
    proto::put_bytes(&mut detail, 1, error.id.as_bytes());
    proto::put_bytes(&mut detail, 2, error.text.as_bytes());
    let mut details = vec![(DETAIL, detail)];
    if !error.fields.is_empty() {
        let mut request = Vec::new();
        for (field, description) in &error.fields {
            let mut violation = Vec::new();
            proto::put_bytes(&mut violation, 1, field.as_bytes());
            proto::put_bytes(&mut violation, 2, description.as_bytes());
            proto::put_bytes(&mut request, 1, &violation);
        }
        details.push((BAD_REQUEST, request));
    }
    details
}

/// Percent-encodes a message for a gRPC header: everything but printable ASCII, and `%`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn code_name(code: u32) -> &'static str {
    match code {
        1 => "canceled",
        3 => "invalid_argument",
        4 => "deadline_exceeded",
        5 => "not_found",
        6 => "already_exists",
        7 => "permission_denied",
        8 => "resource_exhausted",
        9 => "failed_precondition",
        10 => "aborted",
        11 => "out_of_range",
        12 => "unimplemented",
        13 => "internal",
        14 => "unavailable",
        15 => "data_loss",
        16 => "unauthenticated",
        _ => "unknown",
    }
}

/// The code and text of a rejection.
fn error(rejection: &Rejection, limit: SizeLimit) -> Error {
    let (code, status, text): (u32, Option<u16>, String) = match rejection {
        Rejection::Framing(what) => (3, None, format!("malformed request: {what}")),
        Rejection::HeadTooLarge(bound) => (8, Some(431), format!("request headers too large: {bound}")),
        Rejection::TargetTooLong(limit) => (3, Some(414), format!("the URI has more than {limit} bytes")),
        Rejection::Path => (3, None, "the path is not in canonical form".into()),
        Rejection::SessionId => (3, None, SESSION_ID.into()),
        Rejection::RefreshTokenId | Rejection::UserId => (3, None, "invalid ID".into()),
        Rejection::Query(_) => (3, None, "the only allowed query parameter is one `sessionToken`".into()),
        Rejection::Header(name, fault) => (3, None, format!("the header `{name}` {fault}")),
        Rejection::UnknownOperation => (5, None, "Not Found".into()),
        Rejection::NoUpstream => (5, None, "no upstream matches this host and path".into()),
        Rejection::Method(_) => (12, Some(405), "Method Not Allowed".into()),
        Rejection::Deleted => (5, None, "Session does not exist".into()),
        Rejection::CredentialMissing => (16, None, "auth header missing".into()),
        Rejection::CredentialMalformed => (16, None, "invalid auth header".into()),
        Rejection::TokenExpired => (16, None, "the token has expired".into()),
        Rejection::TokenSignature => (16, None, "the token is not signed by the issuer".into()),
        Rejection::TokenAudience(expected) => (16, None, format!("the token is not for the audience {expected}")),
        Rejection::TokenInvalid(reason) => (16, None, format!("invalid token: {reason}")),
        Rejection::Scope(scope) => (7, None, format!("the token lacks the scope {scope}")),
        Rejection::KeysUnavailable => (14, None, "the issuer's signing keys are not available yet".into()),
        Rejection::KeyPending(_) => (14, None, "the token's signing key is not known yet".into()),
        Rejection::UnexpectedBody => (3, None, "this operation takes no body".into()),
        Rejection::LengthRequired(limit) => {
            (8, Some(411), format!("a body of more than {limit} bytes needs a declared length"))
        }
        Rejection::TooLarge(limit) => (8, Some(413), format!("the body has more than {limit} bytes")),
        Rejection::ContentType => (3, Some(415), CONTENT.into()),
        Rejection::ContentCoding => (12, Some(415), "compressed requests are not supported".into()),
        Rejection::BodyTimeout(limit) => {
            (4, Some(408), format!("the body did not arrive within {} s", limit.as_secs()))
        }
        Rejection::Malformed(what) => (3, None, format!("malformed request: {}", truncated(what.clone(), MAX_SHOWN))),
        Rejection::Violations(all) => return violations(all, limit),
        Rejection::StoreUnavailable => (14, None, "cache invalidation unavailable; write rejected".into()),
        Rejection::TooManyWrites => (8, None, "too many concurrent writes to this session".into()),
        Rejection::UpstreamFailed => (14, Some(502), "the request to the provider failed".into()),
        Rejection::ResponseTooLarge(limit) => {
            (13, Some(502), format!("the provider's response has more than {limit} bytes"))
        }
        Rejection::UpstreamBusy => (14, None, "too many requests to the provider are in flight".into()),
        Rejection::SourceBusy => (8, None, "too many requests from this address are in flight".into()),
        Rejection::Unavailable => (14, None, "the provider's address is not available".into()),
        Rejection::Overloaded => (14, None, "the gateway is low on memory".into()),
        Rejection::UpstreamTimeout(limit) => {
            (4, None, format!("the provider did not respond within {} ms", limit.as_millis()))
        }
    };
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(http_status(code));
    Error { code, id: format!("GATE-{}", rejection.name()), text, fields: Vec::new(), status }
}

const SESSION_ID: &str = "invalid session ID; expected 1 to 200 letters, numbers, underscores and hyphens";
const CONTENT: &str = "unsupported content type; expected `application/json` or a type of gRPC, gRPC-web or Connect, \
    without parameters other than a UTF-8 charset";

fn violations(all: &Violations, limit: SizeLimit) -> Error {
    let text = match all.first() {
        // The provider's constraint violations are in the provider's own words, which its clients may know.
        Some(first) if first.rule == Rule::Provider => truncated(first.message.clone(), limit.text),
        Some(_) | None => all.text(limit.text),
    };
    let mut left = limit.fields;
    let fields = all.iter().map(|one| {
        let description = format!("{} ({})", truncated(one.message.clone(), limit.text / 2), one.rule.name());
        (one.path.clone(), description)
    });
    let fits = |(path, description): &(String, String)| {
        let fits = left.checked_sub(path.len() + description.len());
        left = fits.unwrap_or_default();
        fits.is_some()
    };
    let fields = fields.take_while(fits).collect();
    let id = if all.first().is_some_and(|first| first.rule == Rule::Provider) { "" } else { "GATE-policy" };
    Error { code: 3, id: id.into(), text, fields, status: StatusCode::BAD_REQUEST }
}
