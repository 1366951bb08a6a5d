//! Rejections in Auth0's shape, so its SDKs raise their own exceptions.
//!
//! Sources: Auth0's OpenAPI document of the Management API, and recordings of its responses in the tests of Auth0's
//! SDKs and Terraform provider. No status is 409, which the Python SDK would retry.

use crate::dialect::rejections::{MAX_TEXT, Override, ProviderError, of};
use crate::model::{Reason, Rejection};
use crate::wire::OwnResponse;
use crate::wire::carrier::Carrier;
use serde_json::json;

/// Auth0's codes, and its texts in the same case.
pub(super) static OVERRIDES: &[Override] = &[
    of(&[Reason::TargetTooLong, Reason::Path, Reason::SessionId, Reason::RefreshTokenId, Reason::UserId])
        .code("invalid_uri"),
    of(&[Reason::Path]).text("Path validation error: 'The path is not in canonical form'."),
    of(&[Reason::SessionId]).text(
        "Path validation error: 'Object didn't pass validation for format session-id: expected {form}' on \
         property id.",
    ),
    of(&[Reason::RefreshTokenId]).text(
        "Path validation error: 'Object didn't pass validation for format refresh-token-id: expected {form}' on \
         property id.",
    ),
    of(&[Reason::UserId]).text(
        "Path validation error: 'Object didn't pass validation for format user-id: expected at most {limit} characters' \
         on property id.",
    ),
    of(&[Reason::Query])
        .code("invalid_query_string")
        .text("Query validation error: expected {allowed}, each at most once and percent-encoded."),
    of(&[Reason::Header]).code("invalid_headers"),
    of(&[Reason::UnknownOperation]).text("Not Found"),
    of(&[Reason::CredentialMissing]).text("Missing authentication"),
    of(&[Reason::CredentialMalformed]).status(400).code("Bearer").text("Bad HTTP authentication header format"),
    of(&[Reason::TokenExpired]).text("Expired token received for JSON Web Token validation"),
    of(&[Reason::TokenSignature, Reason::TokenKey]).text("Invalid signature received for JSON Web Token validation"),
    of(&[Reason::TokenAudience]).text("Bad audience: {expected}"),
    of(&[Reason::Scope]).code("insufficient_scope").text("Insufficient scope, expected any of: {scope}"),
    of(&[Reason::UnexpectedBody, Reason::Malformed, Reason::Violations]).code("invalid_body"),
    of(&[Reason::LengthRequired, Reason::TooLarge, Reason::ContentType, Reason::ContentCoding, Reason::BodyTimeout])
        .code("invalid_body"),
    of(&[Reason::UnexpectedBody]).text("Payload validation error: this operation takes no body."),
    of(&[Reason::Malformed]).text("Payload validation error: malformed body: {what:.500}."),
    of(&[Reason::Violations]).text("Payload validation error: {violations}."),
    of(&[Reason::TooManyWrites, Reason::MetadataBusy, Reason::SourceBusy]).code("too_many_requests"),
    // Not Auth0's own: only the wording differs from the rows, and is kept.
    of(&[Reason::TokenNotYetValid]).text("Invalid token: it is not valid yet"),
    of(&[Reason::TokenIssuer]).text("Invalid token: its issuer is not allowed"),
    of(&[Reason::TokenAlgorithm]).text("Invalid token: its algorithm is not allowed"),
    of(&[Reason::TokenKidMissing]).text("Invalid token: it has no `kid`, and several keys match"),
    of(&[Reason::TokenType]).text("Invalid token: its `typ` is not that of an access token"),
    of(&[Reason::TokenExtension]).text("Invalid token: its header has `{member}`"),
    of(&[Reason::TokenTooLong]).text("Invalid token: it is too long"),
    of(&[Reason::TokenMalformed]).text("Invalid token: {fault}"),
    of(&[Reason::ContentType]).text("Expected exactly one Content-Type header: `application/json`, in UTF-8."),
    of(&[Reason::ContentCoding]).text("A Content-Encoding is not supported."),
];

/// Auth0 sets `attributes` when it explains why a token is invalid.
const EXPLAINED: &[Reason] = &[
    Reason::TokenExpired,
    Reason::TokenNotYetValid,
    Reason::TokenIssuer,
    Reason::TokenAlgorithm,
    Reason::TokenKey,
    Reason::TokenKidMissing,
    Reason::TokenSignature,
    Reason::TokenType,
    Reason::TokenExtension,
    Reason::TokenTooLong,
    Reason::TokenMalformed,
];

/// The text of an operation that takes no query at all.
const NO_QUERY: &str = "Query validation error: 'Additional properties not allowed': this operation takes no query.";

/// An error as Auth0 reports it.
pub(super) fn shape(error: &ProviderError, _: Carrier) -> OwnResponse {
    let message = match error.rejection {
        Rejection::Query([]) => NO_QUERY.to_owned(),
        _ => error.sentence(MAX_TEXT),
    };
    let mut body = json!({
        "statusCode": error.status.as_u16(),
        "error": error.status.canonical_reason().unwrap_or("Error"),
        "message": message,
    });
    if let Some(body) = body.as_object_mut() {
        if let Some(code) = error.code {
            body.insert("errorCode".into(), code.into());
        }
        if EXPLAINED.contains(&error.rejection.reason()) {
            body.insert("attributes".into(), json!({ "error": message }));
        }
    }
    OwnResponse::new(error.status, "application/json; charset=utf-8", body.to_string())
}
