//! Auth0's responses: bodies, error bodies and headers.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, STRICT_TRANSPORT_SECURITY, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::rate::Quota;

/// The content type of every response, also of a 204 (recorded responses of the API).
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A response without its rate-limit headers.
#[derive(Debug)]
pub(super) struct ApiResponse {
    status: StatusCode,
    body: Option<Value>,
    challenge: Option<String>,
}

impl ApiResponse {
    pub(super) fn ok(body: Value) -> Self {
        Self::new(StatusCode::OK, Some(body))
    }

    /// A delete or revoke was accepted: 202 and `{}` (Auth0's OpenAPI document).
    pub(super) fn accepted() -> Self {
        Self::new(StatusCode::ACCEPTED, Some(json!({})))
    }

    pub(super) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, None)
    }

    pub(super) fn bad_request(message: &str, code: Option<&str>) -> Self {
        Self::error(StatusCode::BAD_REQUEST, message, code)
    }

    /// 401. Auth0 repeats the reason in `attributes` and in the challenge, unless the token is missing.
    pub(super) fn unauthorized(reason: Option<&str>) -> Self {
        let mut response = Self::error(StatusCode::UNAUTHORIZED, reason.unwrap_or("Missing authentication"), None);
        response.challenge = Some("Bearer".to_owned());
        if let (Some(reason), Some(Value::Object(body))) = (reason, &mut response.body) {
            body.insert("attributes".to_owned(), json!({"error": reason}));
            response.challenge = Some(format!("Bearer error=\"{reason}\""));
        }
        response
    }

    pub(super) fn insufficient_scope(any_of: &[&str]) -> Self {
        let message = format!("Insufficient scope, expected any of: {}", any_of.join(","));
        Self::error(StatusCode::FORBIDDEN, &message, Some("insufficient_scope"))
    }

    pub(super) fn not_found(message: &str, code: Option<&str>) -> Self {
        Self::error(StatusCode::NOT_FOUND, message, code)
    }

    pub(super) fn too_large() -> Self {
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, "Payload content length greater than maximum allowed: 1048576", None)
    }

    pub(super) fn unsupported_media_type() -> Self {
        Self::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type", None)
    }

    pub(super) fn too_many_requests() -> Self {
        Self::error(StatusCode::TOO_MANY_REQUESTS, "Global limit has been reached", Some("too_many_requests"))
    }

    fn new(status: StatusCode, body: Option<Value>) -> Self {
        Self { status, body, challenge: None }
    }

    fn error(status: StatusCode, message: &str, code: Option<&str>) -> Self {
        let mut body = Map::new();
        body.insert("statusCode".to_owned(), json!(status.as_u16()));
        body.insert("error".to_owned(), json!(status.canonical_reason().unwrap_or_default()));
        body.insert("message".to_owned(), json!(message));
        if let Some(code) = code {
            body.insert("errorCode".to_owned(), json!(code));
        }
        Self::new(status, Some(Value::Object(body)))
    }

    /// The message of an error response.
    #[cfg(test)]
    pub(super) fn message(&self) -> Option<&str> {
        self.body.as_ref()?.get("message")?.as_str()
    }

    /// Adds the headers that real responses have (recorded responses of the API).
    pub(super) fn into_response(self, quota: Option<Quota>) -> Response {
        let mut response = Response::new(self.body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(VARY, HeaderValue::from_static("origin,accept-encoding"));
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if let Some(challenge) = self.challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(quota) = quota {
            add_quota(headers, quota);
        }
        response
    }
}

/// Adds the headers of the rate limit.
pub(super) fn add_quota(headers: &mut HeaderMap, quota: Quota) {
    headers.insert(HeaderName::from_static("x-ratelimit-limit"), quota.limit.into());
    headers.insert(HeaderName::from_static("x-ratelimit-remaining"), quota.remaining.into());
    headers.insert(HeaderName::from_static("x-ratelimit-reset"), quota.reset.into());
}

/// A JSON response from outside the Management API.
pub(super) fn plain(body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
