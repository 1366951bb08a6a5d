//! `POST /oauth/token`: access tokens by client credentials (Auth0's page "Client Credentials Flow").
//!
//! The form of errors differs from that of the Management API. Texts and statuses are those that users of the SDKs
//! report (node-auth0#682, ruby-auth0#190 and #610, auth0-python#173).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::payload::{self, MAX_BODY};
use super::response::{self, ApiResponse};
use super::routes::all_scopes;
use super::tenant::Tenant;
use super::token::LIFETIME;
use crate::sandbox::client_secret::basic;

/// Grants that Auth0 knows, and that the machine-to-machine application does not have.
const OTHER_GRANTS: [&str; 6] = [
    "authorization_code",
    "refresh_token",
    "password",
    "http://auth0.com/oauth/grant-type/password-realm",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];

/// An error of the endpoint.
struct TokenError {
    status: StatusCode,
    error: &'static str,
    description: String,
    uri: Option<&'static str>,
}

impl TokenError {
    fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error, description: description.into(), uri: None }
    }

    fn denied(description: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "access_denied", description)
    }

    fn missing(parameter: &str) -> Self {
        let description = format!("Missing required parameter: {parameter}");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    fn into_response(self) -> Response {
        let mut body = json!({"error": self.error, "error_description": self.description});
        if let (Some(uri), Some(body)) = (self.uri, body.as_object_mut()) {
            body.insert("error_uri".to_owned(), json!(uri));
        }
        let mut response = response::plain(&body);
        *response.status_mut() = self.status;
        response
    }
}

/// The parameters of a request, of which only texts count.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a form, or JSON.
    fn of(parts: &Parts, body: &[u8]) -> Option<Parameters> {
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" {
            return payload::pairs(std::str::from_utf8(body).ok()?).map(Parameters);
        }
        let Value::Object(members) = serde_json::from_slice(body).ok()? else { return None };
        let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
        Some(Parameters(members.into_iter().filter_map(text).collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, value)| own == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// The endpoint. Other methods than `POST` do not exist.
pub(super) async fn token(State(tenant): State<Tenant>, request: Request) -> Response {
    if request.method() != Method::POST {
        return ApiResponse::not_found("Not Found", None).into_response(None);
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let response = respond(&tenant, &parts, &body);
    tenant.hold_back(response).await
}

pub(super) fn respond(tenant: &Tenant, parts: &Parts, body: &Bytes) -> Response {
    let quota = match tenant.spend() {
        Ok(quota) => quota,
        Err(quota) => {
            let limit = "Global limit has been reached";
            let error = TokenError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", limit);
            let mut response = error.into_response();
            response::add_quota(response.headers_mut(), quota);
            return response;
        }
    };
    let mut response = match issue(tenant, parts, body) {
        Ok(token) => Response::new(Body::from(token.to_string())),
        Err(error) => return error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    if let Some(quota) = quota {
        response::add_quota(headers, quota);
    }
    response
}

fn issue(tenant: &Tenant, parts: &Parts, body: &[u8]) -> Result<Value, TokenError> {
    let invalid = || TokenError::new(StatusCode::BAD_REQUEST, "invalid_request", "Invalid request payload");
    let parameters = Parameters::of(parts, body).ok_or_else(invalid)?;
    check_grant(parameters.get("grant_type").ok_or_else(|| TokenError::missing("grant_type"))?)?;
    check_client(tenant, parts, &parameters)?;
    let no_audience = "No audience parameter was provided, and no default audience has been configured";
    check_audience(tenant, parameters.get("audience").ok_or_else(|| TokenError::denied(no_audience))?)?;
    let granted = all_scopes();
    let scope = parameters.get("scope").unwrap_or(&granted);
    let missing: Vec<&str> = scope.split(' ').filter(|one| !granted.split(' ').any(|own| own == *one)).collect();
    if !missing.is_empty() {
        return Err(TokenError::denied(format!("Client has not been granted scopes: {}", missing.join(", "))));
    }
    tenant.count_token();
    let token = tenant.sign(json!({"scope": scope}));
    Ok(json!({"access_token": token, "scope": scope, "expires_in": LIFETIME, "token_type": "Bearer"}))
}

fn check_grant(grant: &str) -> Result<(), TokenError> {
    match grant {
        "client_credentials" => Ok(()),
        grant if OTHER_GRANTS.contains(&grant) => Err(TokenError {
            uri: Some("https://auth0.com/docs/clients/client-grant-types"),
            ..TokenError::new(
                StatusCode::FORBIDDEN,
                "unauthorized_client",
                format!("Grant type '{grant}' not allowed for the client."),
            )
        }),
        grant => Err(TokenError::new(
            StatusCode::FORBIDDEN,
            "unsupported_grant_type",
            format!("Unsupported grant type: {grant}"),
        )),
    }
}

/// ID and secret come in the body, or in an `Authorization: Basic` header. An unknown client and a wrong secret get the
/// same response.
fn check_client(tenant: &Tenant, parts: &Parts, parameters: &Parameters) -> Result<(), TokenError> {
    let (header_id, header_secret) = basic(&parts.headers).unzip();
    let id = parameters.get("client_id").or(header_id.as_deref()).ok_or_else(|| TokenError::missing("client_id"))?;
    let secret = parameters.get("client_secret").or(header_secret.as_deref()).unwrap_or_default();
    if (id, secret) == tenant.client() {
        return Ok(());
    }
    Err(TokenError::new(StatusCode::UNAUTHORIZED, "access_denied", "Unauthorized"))
}

/// The application is authorized for the Management API, and not for the other API of each tenant, the user info.
fn check_audience(tenant: &Tenant, audience: &str) -> Result<(), TokenError> {
    if audience == tenant.audience() {
        return Ok(());
    }
    if Some(audience) == tenant.audience().strip_suffix("api/v2/").map(|base| format!("{base}userinfo")).as_deref() {
        let page = "https://auth0.com/docs/api/v2#!/Client_Grants/post_client_grants";
        return Err(TokenError::denied(format!(
            "Client is not authorized to access \"{audience}\". You need to create a \"client-grant\" associated to \
            this API. See: {page}"
        )));
    }
    Err(TokenError::denied(format!("Service not found: {audience}")))
}
