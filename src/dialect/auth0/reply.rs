//! Renders rejections in Auth0's shape.

use crate::model::{Rejection, truncated};
use crate::wire::OwnResponse;
use crate::wire::carrier::Carrier;
use http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use std::borrow::Cow;

/// Renders a rejection in Auth0's shape, so its SDKs raise their own exceptions.
pub(super) fn reply(rejection: &Rejection, _: Carrier) -> OwnResponse {
    let (status, code) = status(rejection);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = message(rejection);
    let mut body = json!({
        "statusCode": status.as_u16(),
        "error": status.canonical_reason().unwrap_or("Error"),
        "message": message,
    });
    if let (Some(code), Some(body)) = (code, body.as_object_mut()) {
        body.insert("errorCode".into(), code.into());
    }
    // Auth0 sets `attributes` when it explains why a token is invalid.
    let distrust =
        matches!(rejection, Rejection::TokenExpired | Rejection::TokenSignature | Rejection::TokenInvalid(_));
    if let (true, Some(body)) = (distrust, body.as_object_mut()) {
        body.insert("attributes".into(), json!({ "error": message }));
    }
    let reply = OwnResponse::new(status, "application/json; charset=utf-8", body.to_string());
    match rejection {
        Rejection::Method(allowed) => match HeaderValue::from_str(allowed) {
            Ok(allowed) => reply.with(ALLOW, allowed),
            Err(_) => reply,
        },
        Rejection::ContentCoding => reply.with(ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        _ if status == StatusCode::UNAUTHORIZED => reply.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        _ => match rejection.retry_after() {
            Some(seconds) => reply.with(RETRY_AFTER, seconds.into()),
            None => reply,
        },
    }
}

/// The status and `errorCode` of a rejection: those of Auth0 in the same case; never 409, which its Python SDK would
/// retry.
fn status(rejection: &Rejection) -> (u16, Option<&'static str>) {
    const BODY: Option<&str> = Some("invalid_body");
    const URI: Option<&str> = Some("invalid_uri");
    const TOO_MANY: Option<&str> = Some("too_many_requests");
    match rejection {
        Rejection::Framing(..) => (400, None),
        Rejection::HeadTooLarge(..) => (431, None),
        Rejection::TargetTooLong(..) => (414, URI),
        Rejection::Path | Rejection::SessionId | Rejection::RefreshTokenId | Rejection::UserId => (400, URI),
        Rejection::Query(..) => (400, Some("invalid_query_string")),
        Rejection::Header(..) => (400, Some("invalid_headers")),
        Rejection::UnknownOperation | Rejection::NoUpstream | Rejection::Deleted => (404, None),
        Rejection::Method(..) => (405, None),
        Rejection::CredentialMissing
        | Rejection::TokenExpired
        | Rejection::TokenSignature
        | Rejection::TokenAudience(..)
        | Rejection::TokenInvalid(..) => (401, None),
        Rejection::CredentialMalformed => (400, Some("Bearer")),
        Rejection::Scope(..) => (403, Some("insufficient_scope")),
        Rejection::KeysUnavailable
        | Rejection::KeyPending(..)
        | Rejection::StoreUnavailable
        | Rejection::UpstreamBusy
        | Rejection::Unavailable
        | Rejection::Overloaded => (503, None),
        Rejection::UnexpectedBody | Rejection::Malformed(..) | Rejection::Violations(..) => (400, BODY),
        Rejection::LengthRequired(..) => (411, BODY),
        Rejection::TooLarge(..) => (413, BODY),
        Rejection::ContentType | Rejection::ContentCoding => (415, BODY),
        Rejection::BodyTimeout(..) => (408, BODY),
        Rejection::TooManyWrites | Rejection::SourceBusy => (429, TOO_MANY),
        Rejection::UpstreamFailed | Rejection::ResponseTooLarge(..) => (502, None),
        Rejection::UpstreamTimeout(..) => (504, None),
    }
}

/// The message of a rejection.
fn message(rejection: &Rejection) -> Cow<'static, str> {
    match rejection {
        Rejection::Framing(what) => format!("Malformed request: {what}.").into(),
        Rejection::HeadTooLarge(bound) => format!("Request headers too large: {bound}.").into(),
        Rejection::TargetTooLong(limit) => format!("The URI has more than {limit} bytes.").into(),
        Rejection::Path => "Path validation error: 'The path is not in canonical form'.".into(),
        Rejection::SessionId => SESSION_ID.into(),
        Rejection::RefreshTokenId => REFRESH_TOKEN_ID.into(),
        Rejection::UserId => USER_ID.into(),
        Rejection::Query([]) => QUERY.into(),
        Rejection::Query(allowed) => {
            let allowed = allowed.join("`, `");
            let what = format!("Query validation error: expected `{allowed}`, each at most once and percent-encoded.");
            what.into()
        }
        Rejection::Header(name, fault) => format!("The header `{name}` {fault}.").into(),
        Rejection::UnknownOperation => "Not Found".into(),
        Rejection::NoUpstream => "No upstream matches this host and path.".into(),
        Rejection::Method(allowed) => format!("Method not allowed; allowed: {allowed}.").into(),
        Rejection::Deleted => "The session does not exist.".into(),
        Rejection::CredentialMissing => "Missing authentication".into(),
        Rejection::CredentialMalformed => "Bad HTTP authentication header format".into(),
        Rejection::TokenExpired => EXPIRED.into(),
        Rejection::TokenSignature => "Invalid signature received for JSON Web Token validation".into(),
        Rejection::TokenAudience(expected) => format!("Bad audience: {expected}").into(),
        Rejection::TokenInvalid(reason) => format!("Invalid token: {reason}").into(),
        Rejection::Scope(scope) => format!("Insufficient scope, expected any of: {scope}").into(),
        Rejection::KeysUnavailable => "The issuer's signing keys are not available yet.".into(),
        Rejection::KeyPending(_) => "The token's signing key is not known yet.".into(),
        Rejection::UnexpectedBody => "Payload validation error: this operation takes no body.".into(),
        Rejection::LengthRequired(limit) => {
            format!("A body of more than {limit} bytes needs a Content-Length header.").into()
        }
        Rejection::TooLarge(limit) => format!("The body has more than {limit} bytes.").into(),
        Rejection::ContentType => "Expected exactly one Content-Type header: `application/json`, in UTF-8.".into(),
        Rejection::ContentCoding => "A Content-Encoding is not supported.".into(),
        Rejection::BodyTimeout(limit) => format!("The body did not arrive within {} s.", limit.as_secs()).into(),
        Rejection::Malformed(what) => {
            let what = truncated(what.clone(), MAX_SHOWN);
            format!("Payload validation error: malformed body: {what}.").into()
        }
        Rejection::Violations(all) => format!("Payload validation error: {}.", all.text(MAX_VIOLATIONS)).into(),
        Rejection::StoreUnavailable => "Cache invalidation unavailable; write rejected.".into(),
        Rejection::TooManyWrites => "Too many concurrent writes to this session.".into(),
        Rejection::UpstreamFailed => "The request to the provider failed.".into(),
        Rejection::ResponseTooLarge(limit) => format!("The provider's response has more than {limit} bytes.").into(),
        Rejection::UpstreamBusy => "Too many requests to the provider are in flight.".into(),
        Rejection::SourceBusy => "Too many requests from this address are in flight.".into(),
        Rejection::Unavailable => "The provider's address is not available.".into(),
        Rejection::Overloaded => "The gateway is low on memory.".into(),
        Rejection::UpstreamTimeout(limit) => {
            format!("The provider did not respond within {} ms.", limit.as_millis()).into()
        }
    }
}

/// The maximum length of a quoted part of the body, in bytes.
const MAX_SHOWN: usize = 500;
/// The maximum length of violations in a message, in bytes. With more, a small request could cause a large response.
const MAX_VIOLATIONS: usize = 8 << 10;
const SESSION_ID: &str = "Path validation error: 'Object didn't pass validation for format session-id: expected 1 to 50 letters, \
    numbers, underscores and hyphens' on property id.";
const REFRESH_TOKEN_ID: &str = "Path validation error: 'Object didn't pass validation for format refresh-token-id: expected 1 to 30 \
    letters, numbers, underscores and hyphens' on property id.";
const USER_ID: &str = "Path validation error: 'Object didn't pass validation for format user-id: expected at most 300 characters' \
    on property id.";
const QUERY: &str = "Query validation error: 'Additional properties not allowed': this operation takes no query.";
const EXPIRED: &str = "Expired token received for JSON Web Token validation";
