//! REST as grpc-gateway serves it, with the lenient parsing that lets requests bypass the checks of a proxy.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::call::{Call, Rpc, Version};
use super::error::{ApiError, Code};
use super::header::text;
use super::instance::Instance;
use super::json::camel;
use super::origin::Origin;
use super::procedures::Account;
use super::rpc::{Encoding, Input, UrlParameters, execute};

/// The exact content type that allows a POST to override its method.
const FORM: &str = "application/x-www-form-urlencoded";

/// A request with its route.
struct Routed {
    call: Call,
    id: Option<String>,
}

/// Names and values of a query or a form.
type Pairs = Vec<(String, String)>;

/// Responds to a REST request. `path` is decoded: routes are matched after decoding.
pub(super) fn response(instance: &Instance, path: &str, parts: &Parts, body: &Bytes) -> Response {
    let form = parts.method == Method::POST && text(&parts.headers, CONTENT_TYPE.as_str()) == FORM;
    let wanted = text(&parts.headers, "x-http-method-override");
    let overridden = form && !wanted.is_empty();
    let method = if overridden { wanted.to_ascii_uppercase() } else { parts.method.as_str().to_owned() };
    let components: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let (routed, consumed) = match route(&method, &components) {
        Some(routed) => (routed, overridden),
        None => match route("GET", &components).filter(|_| form && method == "POST") {
            Some(routed) => (routed, true),
            None => return unrouted(&components),
        },
    };
    instance.count_call(routed.call.rpc);
    // Reading a form consumes the body: nothing is left to read as JSON.
    let pairs = query(parts.uri.query().unwrap_or_default(), if consumed { body } else { &[] });
    let body = if consumed || routed.call.rpc == Rpc::GetSession { &[] } else { body.as_ref() };
    let outcome = session_token(&routed, &pairs).and_then(|session_token| {
        let metadata = &metadata(&parts.headers);
        let bound = UrlParameters { id: routed.id, session_token };
        let origin = Origin::of(parts, instance.is_secure());
        execute(instance, Input { call: routed.call, form: Encoding::FirstJson, body, origin, metadata, bound })
    });
    match outcome {
        Ok(body) => success(routed.call.rpc, body),
        Err(error) => failure(&error),
    }
}

/// The rejection of an unknown path.
pub(super) fn not_found() -> Response {
    rejection(StatusCode::NOT_FOUND, Code::NotFound, "Not Found")
}

fn unrouted(components: &[&str]) -> Response {
    let other_method = ["POST", "GET"].iter().any(|method| route(method, components).is_some());
    if other_method {
        return rejection(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, "Method Not Allowed");
    }
    not_found()
}

/// The routes. The last component may be empty; the rules for the id reject that later.
fn route(method: &str, components: &[&str]) -> Option<Routed> {
    let (version, rest) = match components {
        ["v2", rest @ ..] => (Version::V2, rest),
        ["v2beta", rest @ ..] => (Version::V2Beta, rest),
        _ => return account(method, components),
    };
    let (rpc, id) = match (method, rest) {
        ("POST", ["sessions"]) => (Rpc::CreateSession, None),
        ("POST", ["sessions", "search"]) => (Rpc::ListSessions, None),
        ("GET", ["sessions", id]) => (Rpc::GetSession, Some(*id)),
        ("PATCH", ["sessions", id]) => (Rpc::SetSession, Some(*id)),
        ("DELETE", ["sessions", id]) => (Rpc::DeleteSession, Some(*id)),
        ("GET", ["users", id]) if version == Version::V2 => (Rpc::GetUserById, Some(*id)),
        _ => return account(method, components),
    };
    Some(Routed { call: Call { rpc, version }, id: id.map(str::to_owned) })
}

/// The routes of users and organizations.
fn account(method: &str, components: &[&str]) -> Option<Routed> {
    let (account, id) = Account::at(method, components)?;
    Some(Routed { call: Call { rpc: Rpc::Account(account), version: Version::V2 }, id })
}

/// The session token of a GET, under either name of the field.
fn session_token(routed: &Routed, pairs: &Pairs) -> Result<Option<String>, ApiError> {
    if routed.call.rpc != Rpc::GetSession {
        return Ok(None);
    }
    let mut found = None;
    for name in ["session_token".to_owned(), camel("session_token")] {
        let values: Vec<&str> = pairs.iter().filter(|(own, _)| *own == name).map(|(_, value)| value.as_str()).collect();
        match values.as_slice() {
            [] => {}
            [value] => found = Some((*value).to_owned()),
            more => {
                let text = format!("too many values for field \"{name}\": {}", more.join(", "));
                return Err(ApiError::bare(Code::InvalidArgument, text));
            }
        }
    }
    Ok(found)
}

/// The pairs of a form, if any, and of a query.
pub(super) fn query(query: &str, form: &[u8]) -> Pairs {
    let form = String::from_utf8_lossy(form);
    let texts = [form.as_ref(), query];
    let pieces = texts.iter().flat_map(|text| text.split('&')).filter(|piece| !piece.is_empty());
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    pieces
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// The headers that reach the procedure. If a name occurs with and without the prefix, ZITADEL uses either one; here
/// the prefixed one wins.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| **name == AUTHORIZATION || name.as_str().starts_with("x-zitadel-"));
    let mut metadata = HeaderMap::new();
    for (name, value) in kept {
        metadata.append(name, value.clone());
    }
    for (name, value) in headers {
        let bare = name.as_str().strip_prefix("grpc-metadata-");
        if let Some(name) = bare.and_then(|name| HeaderName::try_from(name).ok()) {
            metadata.insert(name, value.clone());
        }
    }
    metadata
}

fn success(rpc: Rpc, body: Vec<u8>) -> Response {
    let status = if rpc == Rpc::CreateSession { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json_response(status, body);
    for (name, value) in [
        ("grpcgateway-cache-control", "no-store"),
        ("grpcgateway-content-type", "application/grpc"),
        ("grpcgateway-expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("grpcgateway-pragma", "no-cache"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn failure(error: &ApiError) -> Response {
    let mut response = json_response(error.code.status(), error.rest().to_string().into_bytes());
    response.headers_mut().insert("grpcgateway-content-type", HeaderValue::from_static("application/grpc"));
    let challenge = HeaderValue::try_from(error.message()).ok().filter(|_| error.code == Code::Unauthenticated);
    response.headers_mut().extend(challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
    response
}

fn rejection(status: StatusCode, code: Code, text: &str) -> Response {
    let body: Value = json!({"code": code.number(), "message": text});
    json_response(status, body.to_string().into_bytes())
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
