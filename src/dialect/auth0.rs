//! Auth0's Management API v2: the session endpoints.
//!
//! Sources: Auth0's OpenAPI document of the Management API (paths, scopes, limits) and its pages "Session metadata" and
//! "Configure session metadata" (what counts as a character, which keys are allowed).

use super::Part::{Any, Rest, Word};
use super::{Dialect, Message, Part, Related, Route};
use crate::model::{Operation, Refusal, Violation};
use crate::policy::Limits;
use crate::wire::Reply;
use crate::wire::carrier::Carrier;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use std::borrow::Cow;

const API: [Part; 2] = [Word("api"), Word("v2")];
const SESSION: &[Part] = &[API[0], API[1], Word("sessions"), Any];
const REVOKE: &[Part] = &[API[0], API[1], Word("sessions"), Any, Word("revoke")];

/// Auth0.
pub static AUTH0: Dialect = Dialect {
    name: "auth0",
    roots: &["/api/v2"],
    guarded: &["/api/v2/sessions"],
    routes: &[
        Route { method: "GET", path: SESSION, operation: Operation::ReadSession, scope: "read:sessions", call: None },
        Route {
            method: "PATCH",
            path: SESSION,
            operation: Operation::UpdateSession,
            scope: "update:sessions",
            call: None,
        },
        Route {
            method: "DELETE",
            path: SESSION,
            operation: Operation::DeleteSession,
            scope: "delete:sessions",
            call: None,
        },
        Route {
            method: "POST",
            path: REVOKE,
            operation: Operation::RevokeSession,
            scope: "delete:sessions",
            call: None,
        },
    ],
    related: &[
        Related { path: &[API[0], API[1], Word("users"), Any, Word("sessions")], reads: true },
        Related { path: &[API[0], API[1], Word("users"), Any, Word("refresh-tokens")], reads: true },
        Related { path: &[API[0], API[1], Word("users"), Any, Word("revoke-access")], reads: false },
        Related { path: &[API[0], API[1], Word("users"), Any, Word("identities"), Rest], reads: false },
        Related { path: &[API[0], API[1], Word("users"), Any], reads: false },
        Related { path: &[API[0], API[1], Word("refresh-tokens"), Rest], reads: true },
        Related { path: &[API[0], API[1], Word("tickets"), Word("password-change")], reads: false },
        Related { path: &[API[0], API[1], Word("connections"), Any], reads: false },
        Related { path: &[API[0], API[1], Word("connections"), Any, Word("users")], reads: false },
        Related { path: &[API[0], API[1], Word("clients"), Any], reads: false },
        Related { path: &[API[0], API[1], Word("tenants"), Word("settings")], reads: false },
        Related { path: &[API[0], API[1], Word("organizations"), Any, Word("members")], reads: false },
    ],
    message: Message {
        id: "id",
        metadata: "session_metadata",
        expiries: &["idle_expires_at", "expires_at"],
        changed_at: "updated_at",
    },
    session_id_length: 50,
    limits: Limits { properties: Some(25), key_length: Some(255), value_length: Some(255), plain_keys: true },
    forwarded: false,
    has_calls: false,
    hidden: &[],
    entrusted: &[],
    shares: true,
    empties_wipe: true,
    extras: false,
    reply,
};

/// A refusal in Auth0's shape, so that its SDKs raise their own exceptions.
fn reply(refusal: &Refusal, _: Carrier) -> Reply {
    let (status, code, message) = parts(refusal);
    let mut body = json!({
        "statusCode": status.as_u16(),
        "error": status.canonical_reason().unwrap_or("Error"),
        "message": message,
    });
    if let (Some(code), Some(body)) = (code, body.as_object_mut()) {
        body.insert("errorCode".into(), code.into());
    }
    // As Auth0 does where it says why it does not take a token.
    let distrust = matches!(refusal, Refusal::TokenExpired | Refusal::TokenSignature | Refusal::TokenInvalid(_));
    if let (true, Some(body)) = (distrust, body.as_object_mut()) {
        body.insert("attributes".into(), json!({ "error": message }));
    }
    let reply = Reply::new(status, "application/json; charset=utf-8", body.to_string());
    match refusal {
        Refusal::Method(allowed) => match HeaderValue::from_str(allowed) {
            Ok(allowed) => reply.with(ALLOW, allowed),
            Err(_) => reply,
        },
        Refusal::KeysUnavailable | Refusal::Unavailable | Refusal::TooManyWrites | Refusal::StoreUnavailable => {
            reply.with(RETRY_AFTER, HeaderValue::from_static("1"))
        }
        _ if status == StatusCode::UNAUTHORIZED => reply.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        _ => reply,
    }
}

/// Status, `errorCode` and message: one row for each refusal. Statuses and codes are those that Auth0 answers with where it knows
/// the case; never 409, which its Python SDK would retry.
fn parts(refusal: &Refusal) -> (StatusCode, Option<&'static str>, String) {
    const BODY: Option<&str> = Some("invalid_body");
    const URI: Option<&str> = Some("invalid_uri");
    let (status, code, message): (u16, Option<&'static str>, Cow<'static, str>) = match refusal {
        Refusal::Framing(what) => (400, None, format!("The request is not readable: {what}.").into()),
        Refusal::HeadTooLarge(bound) => (431, None, format!("The request is not read: {bound}.").into()),
        Refusal::TargetTooLong(limit) => (414, URI, format!("The path has more than {limit} bytes.").into()),
        Refusal::Path => (400, URI, "Path validation error: 'The path is not in its canonical form'.".into()),
        Refusal::SessionId => (400, URI, SESSION_ID.into()),
        Refusal::Query => (400, Some("invalid_query_string"), QUERY.into()),
        Refusal::Header(name) => {
            (400, Some("invalid_headers"), format!("The header `{name}` is not allowed here, or stands twice.").into())
        }
        Refusal::Unknown => (404, None, "Not Found".into()),
        Refusal::NoUpstream => (404, None, "No upstream is declared for this host and path.".into()),
        Refusal::Method(allowed) => (405, None, format!("Method not allowed; allowed are {allowed}.").into()),
        Refusal::Deleted => (404, None, "The session does not exist.".into()),
        Refusal::CredentialMissing => (401, None, "Missing authentication".into()),
        Refusal::CredentialMalformed => (400, Some("Bearer"), "Bad HTTP authentication header format".into()),
        Refusal::TokenExpired => (401, None, EXPIRED.into()),
        Refusal::TokenSignature => (401, None, "Invalid signature received for JSON Web Token validation".into()),
        Refusal::TokenAudience(expected) => (401, None, format!("Bad audience: {expected}").into()),
        Refusal::TokenInvalid(reason) => (401, None, format!("Invalid token: {reason}").into()),
        Refusal::Scope(scope) => {
            (403, Some("insufficient_scope"), format!("Insufficient scope, expected any of: {scope}").into())
        }
        Refusal::KeysUnavailable => {
            (503, None, "The issuer's keys are not known yet, so no token can be checked.".into())
        }
        Refusal::UnexpectedBody => (400, BODY, "Payload validation error: this operation takes no body.".into()),
        Refusal::LengthRequired(limit) => {
            (411, BODY, format!("A body of more than {limit} bytes needs a Content-Length header.").into())
        }
        Refusal::TooLarge(limit) => (413, BODY, format!("The body has more than {limit} bytes.").into()),
        Refusal::ContentType => {
            (415, BODY, "The Content-Type must be `application/json`, in UTF-8, and stand once.".into())
        }
        Refusal::ContentCoding => (415, BODY, "The body must have no Content-Encoding.".into()),
        Refusal::BodyTimeout(limit) => {
            (408, BODY, format!("The body did not arrive within {} s.", limit.as_secs()).into())
        }
        Refusal::Malformed(what) => {
            (400, BODY, format!("Payload validation error: the body is not readable: {what}.").into())
        }
        Refusal::Violations(all) => {
            let listed: Vec<String> = all.iter().take(LISTED).map(Violation::to_string).collect();
            let more = all.len().saturating_sub(LISTED);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            (400, BODY, format!("Payload validation error: {}{more}.", listed.join("; ")).into())
        }
        Refusal::StoreUnavailable => (503, None, "The cache cannot be told of the change, so it is not made.".into()),
        Refusal::TooManyWrites => {
            (429, Some("too_many_requests"), "Too many changes of this session are in flight.".into())
        }
        Refusal::UpstreamFailed => (502, None, "The provider could not be reached, or broke off its answer.".into()),
        Refusal::AnswerTooLarge(limit) => {
            (502, None, format!("The provider's answer has more than {limit} bytes.").into())
        }
        Refusal::Unavailable => (503, None, "The provider's address is not known.".into()),
        Refusal::UpstreamTimeout(limit) => {
            (504, None, format!("The provider did not answer within {} ms.", limit.as_millis()).into())
        }
    };
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), code, message.into_owned())
}

/// How many violations a message lists: more would let a small request cost a large answer.
const LISTED: usize = 100;
const SESSION_ID: &str = "Path validation error: 'Object didn't pass validation for format session-id: expected 1 to 50 letters, \
    numbers, underscores and hyphens' on property id.";
const QUERY: &str = "Query validation error: 'Additional properties not allowed': this operation takes no query.";
const EXPIRED: &str = "Expired token received for JSON Web Token validation";
