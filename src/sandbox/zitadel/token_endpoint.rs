//! `POST /oauth/v2/token`: access tokens of a machine user by client credentials (ZITADEL's page "Client Credentials"):
//! JWTs or opaque ones, as the access token type of the user says.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::authority::{CLIENT, LIFETIME, PROJECT};
use super::instance::Instance;
use super::origin::Origin;
use super::rest;
use crate::sandbox::client_secret::basic;

/// The scope that adds the project of the management API to the audience. Without it a token is of no use there.
const AUDIENCE_SCOPE: &str = "urn:zitadel:iam:org:project:id:zitadel:aud";

/// Responds to a request. Other methods than `POST` do not exist.
pub(super) fn respond(instance: &Instance, parts: &Parts, body: &Bytes) -> Response {
    let origin = Origin::of(parts, instance.is_secure());
    if parts.method != Method::POST || !instance.knows_domain(&origin.host) {
        return rest::not_found();
    }
    let (status, body) = match issue(instance, &origin, parts, body) {
        Ok(token) => (StatusCode::OK, token),
        Err((status, error, description)) => (status, json!({"error": error, "error_description": description})),
    };
    json(status, &body)
}

/// A response of an endpoint for tokens.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Status, error and description.
pub(super) type TokenError = (StatusCode, &'static str, String);

/// Issues a token.
fn issue(instance: &Instance, origin: &Origin, parts: &Parts, body: &[u8]) -> Result<Value, TokenError> {
    let bad = |error, description: String| (StatusCode::BAD_REQUEST, error, description);
    let form = rest::query("", body);
    let get = |name: &str| form.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    match get("grant_type") {
        Some("client_credentials") => {}
        None => return Err(bad("invalid_request", "grant_type missing".to_owned())),
        Some(grant) => return Err(bad("unsupported_grant_type", format!("{grant} not supported"))),
    }
    let is_opaque = client(instance, parts, &form)?;
    let with_project = get("scope").is_some_and(|scope| scope.split(' ').any(|one| one == AUDIENCE_SCOPE));
    let audience = if with_project { json!([CLIENT, PROJECT]) } else { json!([CLIENT]) };
    let claims = json!({"aud": audience});
    let token = match is_opaque {
        true => instance.issue_opaque(&origin.url, claims),
        false => instance.sign_at(&origin.url, claims),
    };
    Ok(json!({"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME}))
}

/// Whether the client's access tokens are opaque. It authenticates in the form, or with an `Authorization: Basic` header.
pub(super) fn client(instance: &Instance, parts: &Parts, form: &[(String, String)]) -> Result<bool, TokenError> {
    let get = |name: &str| form.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let (header_id, header_secret) = basic(&parts.headers).unzip();
    let id = get("client_id").or(header_id.as_deref()).unwrap_or_default();
    let secret = get("client_secret").or(header_secret.as_deref()).unwrap_or_default();
    let (own, own_secret) = instance.client();
    if ![own, instance.opaque_client_id()].contains(&id) || secret != own_secret {
        return Err((StatusCode::UNAUTHORIZED, "invalid_client", "invalid credentials".to_owned()));
    }
    Ok(id != own)
}
