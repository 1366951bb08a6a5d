//! `POST /oauth/v2/introspect` (RFC 7662): what the instance knows of a token, for an application of type API that
//! authenticates with its secret or with an assertion. And `POST /oauth/v2/revoke` (RFC 7009), for opaque tokens.
//!
//! Session tokens cannot be introspected: they are not active.

use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::time::SystemTime;

use super::authority::PROJECT;
use super::instance::Instance;
use super::origin::Origin;
use super::{rest, token_endpoint};
use crate::sandbox::client_secret::basic;
use crate::sandbox::clock::unix_seconds;

/// When a personal access token without an expiry expires: at the end of the year 9999.
const NEVER: u64 = 253_402_300_799;
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Responds to an introspection.
pub(super) fn respond(instance: &Instance, parts: &Parts, body: &Bytes) -> Response {
    let origin = Origin::of(parts, instance.is_secure());
    if parts.method != Method::POST || !instance.knows_domain(&origin.host) {
        return rest::not_found();
    }
    let form = rest::query("", body);
    let get = |name: &str| form.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let now = unix_seconds(SystemTime::now());
    let application = &instance.0.api;
    let is_client = match get("client_assertion") {
        Some(assertion) => {
            get("client_assertion_type") == Some(ASSERTION) && application.asserts(assertion, &origin.url, now)
        }
        None => basic(&parts.headers)
            .is_some_and(|(id, secret)| (&id, &secret) == (&application.client_id, &application.secret)),
    };
    if !is_client {
        let error = json!({"error": "invalid_client", "error_description": "client authentication failed"});
        return token_endpoint::json(StatusCode::UNAUTHORIZED, &error);
    }
    let claims = get("token").and_then(|token| introspected(instance, &origin, token, now));
    let response = claims.map_or_else(|| json!({"active": false}), Value::Object);
    token_endpoint::json(StatusCode::OK, &response)
}

/// The response for a token that is active for the application: personal access tokens are for every application of the
/// instance, other tokens need it or its project in their audience.
fn introspected(instance: &Instance, origin: &Origin, token: &str, now: u64) -> Option<Map<String, Value>> {
    let (authority, application) = (&instance.0.authority, &instance.0.api.client_id);
    let mut claims = if let Some(account) = authority.account(token) {
        let claims = json!({
            "iss": origin.url, "sub": account.user_id, "aud": [application, PROJECT], "exp": NEVER, "iat": now,
            "nbf": now, "scope": "openid profile",
        });
        claims.as_object().cloned()?
    } else {
        let opaque = instance.store().opaque.get(token).cloned();
        let claims = opaque.or_else(|| authority.verified(token))?;
        let audience = claims.get("aud").and_then(Value::as_array)?;
        let is_for_it = |one: &Value| one.as_str().is_some_and(|one| one == application || one == PROJECT);
        let in_time = claims.get("exp").and_then(Value::as_u64).is_some_and(|expiry| now < expiry);
        (in_time && audience.iter().any(is_for_it)).then_some(claims)?
    };
    claims.extend([("active".to_owned(), json!(true)), ("token_type".to_owned(), json!("Bearer"))]);
    Some(claims)
}

/// Responds to a revocation: the client authenticates as at the token endpoint.
pub(super) fn revoke(instance: &Instance, parts: &Parts, body: &Bytes) -> Response {
    let origin = Origin::of(parts, instance.is_secure());
    if parts.method != Method::POST || !instance.knows_domain(&origin.host) {
        return rest::not_found();
    }
    let form = rest::query("", body);
    if let Err((status, error, description)) = token_endpoint::client(instance, parts, &form) {
        return token_endpoint::json(status, &json!({"error": error, "error_description": description}));
    }
    if let Some((_, token)) = form.iter().find(|(name, _)| name == "token") {
        instance.store().opaque.remove(token);
    }
    token_endpoint::json(StatusCode::OK, &json!({}))
}
