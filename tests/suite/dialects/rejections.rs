//! Every dialect renders every rejection, on every route and carrier, as a response that its provider's clients can
//! read. A new dialect needs no change here.

use crate::harness::rejections;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use sessiongate::dialect::{DIALECTS, Dialect, Route};
use sessiongate::model::{Rejection, Rule, Violation, Violations};
use sessiongate::wire::OwnResponse;
use sessiongate::wire::carrier::Carrier;
use sessiongate::wire::frame;
use std::collections::BTreeSet;

/// The largest body: some violations, and twice their text.
const MAX_BODY: usize = 40 << 10;
/// What common clients and proxies accept of headers and trailers.
const MAX_HEADERS: usize = 8 << 10;

/// Each reason, and the longest texts that a client can cause.
fn samples() -> Vec<Rejection> {
    let long = "\u{e9}\"\\\n".repeat(20_000);
    let violations: Violations = (0..5_000)
        .map(|n| Violation { path: format!("metadata.{n}{long}"), rule: Rule::Allowed, message: long.clone() })
        .collect();
    let mut samples = rejections();
    samples.extend([Rejection::Malformed(long), Rejection::Violations(violations)]);
    samples
}

/// The carriers of a route.
fn carriers(dialect: &Dialect, route: &Route) -> Vec<Carrier> {
    let is_rpc = route.call.is_some_and(|call| call.is_rpc);
    let fits = |carrier: &Carrier| match carrier {
        Carrier::Rest => !is_rpc,
        Carrier::Grpc(_) => is_rpc && dialect.has_grpc,
        Carrier::GrpcWeb(_) | Carrier::Connect(_) => is_rpc,
    };
    Carrier::ALL.into_iter().filter(fits).collect()
}

#[test]
fn each_rejection_is_well_formed_on_each_route_and_carrier() {
    let samples = samples();
    let mut faults = BTreeSet::new();
    for dialect in DIALECTS {
        for route in dialect.routes {
            for carrier in carriers(dialect, route) {
                for rejection in &samples {
                    let response = dialect.rejections.response(rejection, carrier);
                    if let Err(fault) = check(dialect, rejection, carrier, &response) {
                        faults.insert(format!("{} {carrier:?} {}: {fault}", dialect.name, rejection.name()));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.into_iter().collect::<Vec<_>>().join("\n"));
}

fn check(dialect: &Dialect, rejection: &Rejection, carrier: Carrier, response: &OwnResponse) -> Result<(), String> {
    check_headers(response)?;
    if response.body.len() > MAX_BODY {
        return Err(format!("a body of {} bytes", response.body.len()));
    }
    check_body(carrier, response)?;
    check_error(dialect, carrier, response)?;
    let call = carrier.decode_response(response.status, &headers(response), &response.body, response.trailers.as_ref());
    check_status(rejection, carrier, call.status)?;
    let header = |name: &HeaderName| response.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value);
    let allowed = if let Rejection::Method(allowed) = rejection { HeaderValue::from_str(allowed).ok() } else { None };
    let expected = [(RETRY_AFTER, rejection.retry_after().map(HeaderValue::from)), (ALLOW, allowed)];
    for (name, value) in expected {
        if header(&name) != value.as_ref() {
            return Err(format!("`{name}` is {:?}, not {value:?}", header(&name)));
        }
    }
    // RFC 9110, section 15.5.2.
    if response.status == StatusCode::UNAUTHORIZED && header(&WWW_AUTHENTICATE).is_none() {
        return Err("401 without a challenge".into());
    }
    Ok(())
}

fn headers(response: &OwnResponse) -> HeaderMap {
    response.headers.iter().cloned().collect()
}

/// Headers and trailers that every HTTP version may carry, each once.
fn check_headers(response: &OwnResponse) -> Result<(), String> {
    let trailers = response.trailers.iter().flatten();
    let all = response.headers.iter().map(|(name, value)| (name, value)).chain(trailers);
    let (mut names, mut size) = (BTreeSet::new(), 0);
    for (name, value) in all {
        size += name.as_str().len() + value.len() + 4;
        if value.to_str().is_err() || value.to_str().is_ok_and(|text| text.trim() != text || text.is_empty()) {
            return Err(format!("`{name}` has the value {value:?}"));
        }
        let of_connection = ["connection", "transfer-encoding", "content-length", "keep-alive", "upgrade", "te"];
        if of_connection.contains(&name.as_str()) || !names.insert(name.as_str()) {
            return Err(format!("`{name}` occurs twice or belongs to a connection"));
        }
    }
    if size > MAX_HEADERS { Err(format!("headers and trailers of {size} bytes")) } else { Ok(()) }
}

/// The status says whose fault it is: the caller's, or that of gateway and provider.
fn check_status(rejection: &Rejection, carrier: Carrier, status: StatusCode) -> Result<(), String> {
    // Calls have no other code for an encoding that is not supported, and for a body that is late (gRPC's document
    // "Status codes").
    let of_calls =
        carrier != Carrier::Rest && matches!(rejection, Rejection::ContentCoding | Rejection::BodyTimeout(_));
    let failed = rejection.is_failure() || of_calls;
    let in_range = if failed { status.is_server_error() } else { status.is_client_error() };
    // Clients retry 409 and 425, and follow what 407 asks for.
    let odd = [407, 409, 425].contains(&status.as_u16());
    if in_range && !odd { Ok(()) } else { Err(format!("the status {status}")) }
}

/// A JSON object with a text for the reader, or gRPC's trailers.
fn check_body(carrier: Carrier, response: &OwnResponse) -> Result<(), String> {
    let content_type = headers(response).get("content-type").cloned();
    let content_type = content_type.as_ref().and_then(|value| value.to_str().ok()).ok_or("no content type")?;
    let mut trailers = response.trailers.clone();
    if let Carrier::GrpcWeb(_) = carrier {
        trailers = frame::response(&response.body).map_err(|error| format!("{error:?}"))?.1;
    }
    if carrier.is_framed() {
        let trailers = trailers.ok_or("no trailers")?;
        let code = trailers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u32>().ok());
        let said = trailers.get("grpc-message").is_some_and(|text| !text.is_empty());
        let fits = content_type.starts_with("application/grpc") && code.is_some_and(|code| (1..=16).contains(&code));
        return if fits && said { Ok(()) } else { Err(format!("{content_type} with {trailers:?}")) };
    }
    let body: Value = serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
    let says = body.is_object() && has_sentence(&body);
    if content_type.starts_with("application/json") && says { Ok(()) } else { Err(format!("{content_type}: {body}")) }
}

/// Whether a text in a document is more than a word.
fn has_sentence(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(' '),
        Value::Array(items) => items.iter().any(has_sentence),
        Value::Object(members) => members.values().any(has_sentence),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The gateway finds the error where the dialect says that the provider's errors have theirs.
fn check_error(dialect: &Dialect, carrier: Carrier, response: &OwnResponse) -> Result<(), String> {
    let path = dialect.names.error;
    let found = carrier.error_text(path, &headers(response), &response.body, response.trailers.as_ref());
    match found {
        Some(text) if !text.is_empty() => Ok(()),
        found => Err(format!("the error at {path:?} is {found:?} in {:?}", response.body)),
    }
}
