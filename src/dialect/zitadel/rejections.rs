//! Rejections in ZITADEL's shape, in each carrier's own form, so every client raises its own exception.
//!
//! Sources: ZITADEL's `internal/api/grpc/gerrors` and its REST gateway's error handler, gRPC's "Status codes",
//! Connect's "Protocol Reference" (codes and error details), and `google/rpc/error_details.proto`.

use crate::dialect::rejections::{MAX_TEXT, Override, ProviderError, of};
use crate::model::{GrpcCode, Reason, Rejection, Rule, Violation, truncated};
use crate::telemetry::Label;
use crate::wire::carrier::{Carrier, http_status};
use crate::wire::frame::framed_trailers;
use crate::wire::message::Codec;
use crate::wire::{OwnResponse, proto};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// The maximum length of violations in a response, in bytes.
#[derive(Clone, Copy)]
struct SizeLimit {
    text: usize,
    fields: usize,
}

/// For responses with a body.
const BODY: SizeLimit = SizeLimit { text: MAX_TEXT, fields: 2 * MAX_TEXT };
/// For trailers. They contain the text three times, two of them in base64, and common gRPC clients accept 8 KiB.
const HEADERS: SizeLimit = SizeLimit { text: 1000, fields: 1500 };
const DETAIL: &str = "zitadel.v1.ErrorDetail";
const BAD_REQUEST: &str = "google.rpc.BadRequest";

/// ZITADEL's texts in the same case.
pub(super) static OVERRIDES: &[Override] = &[
    of(&[Reason::UnknownOperation]).text("Not Found"),
    of(&[Reason::Method]).text("Method Not Allowed"),
    of(&[Reason::Deleted, Reason::ForeignSession]).text("Session does not exist"),
    of(&[Reason::CredentialMissing]).text("auth header missing"),
    of(&[Reason::CredentialMalformed]).text("invalid auth header"),
    // Not ZITADEL's own: only the wording differs from the rows, and is kept.
    of(&[Reason::Query]).text("the only allowed query parameter is one `sessionToken`"),
    of(&[Reason::LengthRequired]).text("a body of more than {limit} bytes needs a declared length"),
    of(&[Reason::ContentType]).text(
        "unsupported content type; expected `application/json` or a type of gRPC, gRPC-web or Connect, without \
         parameters other than a UTF-8 charset",
    ),
    of(&[Reason::Malformed]).text("malformed request: {what:.500}"),
];

/// An error as ZITADEL reports it.
struct Error {
    status: StatusCode,
    code: GrpcCode,
    /// The error ID, like those of ZITADEL's own errors; empty for constraint violations.
    id: String,
    text: String,
    fields: Vec<(String, String)>,
}

/// An error as ZITADEL reports it, in its form for the carrier.
pub(super) fn shape(error: &ProviderError, carrier: Carrier) -> OwnResponse {
    let error = Error::new(error, if carrier.is_grpc() { HEADERS } else { BODY });
    let message = if error.id.is_empty() { error.text.clone() } else { format!("{} ({})", error.text, error.id) };
    let response = match carrier {
        Carrier::Rest => rest(&error, &message),
        Carrier::Connect(_) => connect(&error, &message),
        Carrier::Grpc(codec) => framed(&error, &message, false, codec),
        Carrier::GrpcWeb(codec) => framed(&error, &message, true, codec),
    };
    match HeaderValue::from_str(&message) {
        Ok(message) if response.status == StatusCode::UNAUTHORIZED => response.with(WWW_AUTHENTICATE, message),
        Ok(_) | Err(_) => response,
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
    let body = json!({ "code": error.code.number(), "message": message, "details": details });
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
    let body = json!({ "code": error.code.name(), "message": message, "details": details });
    // A request with a method other than POST is not a Connect call.
    let status =
        if error.status == StatusCode::METHOD_NOT_ALLOWED { error.status } else { http_status(error.code.number()) };
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
    add("grpc-status", &error.code.number().to_string());
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
    proto::put_number(&mut status, 1, u64::from(error.code.number()));
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

impl Error {
    fn new(error: &ProviderError, limit: SizeLimit) -> Error {
        let violations: &[Violation] =
            if let Rejection::Violations(violations) = error.rejection { violations } else { &[] };
        // The provider's constraint violations are in the provider's own words, which its clients may know.
        let provider = violations.first().filter(|first| first.rule == Rule::Provider);
        Error {
            status: error.status,
            code: error.grpc_code,
            id: if provider.is_some() { String::new() } else { format!("GATE-{}", error.rejection.error_id()) },
            text: provider.map_or_else(|| error.text(limit.text), |first| truncated(first.message.clone(), limit.text)),
            fields: fields(violations, limit),
        }
    }
}

/// The fields of violations, each with what is wrong, as many as fit.
fn fields(violations: &[Violation], limit: SizeLimit) -> Vec<(String, String)> {
    let mut left = limit.fields;
    let fields = violations.iter().map(|one| {
        let description = format!("{} ({})", truncated(one.message.clone(), limit.text / 2), one.rule.name());
        (one.path.clone(), description)
    });
    let fits = |(path, description): &(String, String)| {
        let fits = left.checked_sub(path.len() + description.len());
        left = fits.unwrap_or_default();
        fits.is_some()
    };
    fields.take_while(fits).collect()
}
