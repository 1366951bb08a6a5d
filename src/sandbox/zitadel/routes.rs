//! What the instance serves on its port: paths, redirects, CORS.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::call::Call;
use super::instance::Instance;
use super::origin::Origin;
use super::{accounts, carriers, introspection, rest, token_endpoint};

/// The largest body that the instance reads; ZITADEL itself has no limit.
const MAX_BODY: usize = 32 * 1024 * 1024;
/// A streaming procedure; ZITADEL's session services have none.
const STREAM: &str = "/zitadel.sandbox.v2.ClockService/Watch";
/// The time between the messages of that stream.
const STREAM_PAUSE: Duration = Duration::from_millis(50);

/// Responds to a request.
pub(super) async fn serve(State(instance): State<Instance>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let origin = parts.headers.get(ORIGIN).cloned();
    let mut response = if parts.method == Method::OPTIONS {
        preflight(&parts.headers)
    } else {
        match axum::body::to_bytes(body, MAX_BODY).await {
            Ok(body) => dispatch(&instance, &parts, &body),
            Err(_) => status(StatusCode::BAD_REQUEST),
        }
    };
    finish(&instance, response.headers_mut(), origin);
    let latency = instance.0.options.latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    response
}

fn dispatch(instance: &Instance, parts: &Parts, body: &Bytes) -> Response {
    let Ok(path) = percent_decode_str(parts.uri.path()).decode_utf8() else {
        return status(StatusCode::BAD_REQUEST);
    };
    if let Some(clean) = cleaned(&path) {
        return redirect(&clean, parts.uri.query());
    }
    if let Some(call) = Call::of(&path) {
        instance.count_call(call.rpc);
        return carriers::response(instance, call, parts, body);
    }
    match path.as_ref() {
        STREAM if carriers::is_grpc(&parts.headers) => carriers::stream(parts, body, STREAM_PAUSE),
        _ if carriers::is_grpc(&parts.headers) => carriers::unknown_procedure(parts),
        "/debug/healthz" | "/debug/ready" => text("ok"),
        "/.well-known/openid-configuration" => discovery(instance, parts),
        "/oauth/v2/token" => token_endpoint::respond(instance, parts, body),
        "/oauth/v2/introspect" => introspection::respond(instance, parts, body),
        "/oauth/v2/revoke" => introspection::revoke(instance, parts, body),
        "/oauth/v2/keys" => json_response(&instance.0.authority.key_set()),
        "/sandbox/stats" => stats(instance),
        "/oidc/v1/end_session" => end_session(instance, parts, body),
        path => rest::response(instance, path, parts, body),
    }
}

/// The path without empty and dot segments; `None` if it has none.
fn cleaned(path: &str) -> Option<String> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut clean = format!("/{}", segments.join("/"));
    if path.ends_with('/') && !segments.is_empty() {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

fn redirect(path: &str, query: Option<&str>) -> Response {
    let escaped = percent_encoding::utf8_percent_encode(path, PATH).to_string();
    let target = query.map_or_else(|| escaped.clone(), |query| format!("{escaped}?{query}"));
    let mut response = status(StatusCode::MOVED_PERMANENTLY);
    if let Ok(target) = HeaderValue::try_from(target) {
        response.headers_mut().insert(LOCATION, target);
    }
    response
}

/// The characters that a path must escape.
const PATH: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');

/// The document for the origin of the request, which is the issuer.
fn discovery(instance: &Instance, parts: &Parts) -> Response {
    let origin = Origin::of(parts, instance.is_secure());
    if !instance.knows_domain(&origin.host) {
        return rest::not_found();
    }
    let issuer = if instance.0.options.any_domain { instance.0.url.clone() } else { origin.url };
    let at = |path: &str| format!("{issuer}{path}");
    json_response(&json!({
        "issuer": issuer,
        "authorization_endpoint": at("/oauth/v2/authorize"),
        "token_endpoint": at("/oauth/v2/token"),
        "introspection_endpoint": at("/oauth/v2/introspect"),
        "userinfo_endpoint": at("/oidc/v1/userinfo"),
        "revocation_endpoint": at("/oauth/v2/revoke"),
        "end_session_endpoint": at("/oidc/v1/end_session"),
        "jwks_uri": at("/oauth/v2/keys"),
        "response_types_supported": ["code", "id_token", "id_token token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

/// Logs out, without a check of the caller, and redirects to a confirmation page.
fn end_session(instance: &Instance, parts: &Parts, body: &Bytes) -> Response {
    let form: &[u8] = if parts.method == Method::POST { body } else { &[] };
    let pairs = rest::query(parts.uri.query().unwrap_or_default(), form);
    let hint = pairs.iter().find(|(name, _)| name == "id_token_hint").map(|(_, hint)| hint.as_str());
    accounts::end_session(instance, hint);
    let mut response = status(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/ui/login/logout/done"));
    response
}

fn stats(instance: &Instance) -> Response {
    let (calls, executed) = (instance.0.calls.lock().clone(), instance.0.executed.lock().clone());
    let total: u64 = calls.values().sum();
    json_response(&json!({"calls": total, "by_procedure": calls, "executed": executed}))
}

fn preflight(headers: &HeaderMap) -> Response {
    let mut response = status(StatusCode::NO_CONTENT);
    let requested = |name: &str, otherwise| headers.get(name).cloned().unwrap_or(HeaderValue::from_static(otherwise));
    let methods = requested("access-control-request-method", "GET, POST, PATCH, DELETE");
    let allowed = requested("access-control-request-headers", "authorization, content-type");
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    response
}

/// The headers of every response. Every origin is allowed.
fn finish(instance: &Instance, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    let id = instance.store().random.id();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        let exposed = "content-length, location, grpc-status, grpc-message, grpc-status-details-bin";
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    }
}

fn json_response(body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(body: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
