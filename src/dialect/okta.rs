//! Okta's Sessions API (preview): sessions of the Classic Engine, by ID.
//!
//! Sources: Okta's Management API description (`okta-management-openapi-spec`, 2024.09.2: paths, methods, scopes), its
//! pages "Sessions" (404 for an invalid session, `Prefer: return=minimal`) and "Error codes", its SDK for Java
//! (`forgetDevices`), and its support articles "Validation Failed on Access Token Issued by the Org Authorization
//! Server" (`typ`), "X-Forwarded-For Header Usage and Implementation", and "Invalidate Individual Sessions in Okta
//! Identity Engine via API": the Identity Engine has no sessions by ID.
//!
//! A session has no metadata, and a caller can set nothing of it: a policy has nothing to evaluate. It has no version
//! either. Administrators' roles limit what a caller may see, so callers share no cached response.
//!
//! `/api/v1/sessions/me` and `/api/v1/users/me` belong to a cookie, and `/idp/myaccount` to a user's own token. Only
//! Okta can check these, so their writes invalidate once Okta has accepted them.

use super::PathPart::{OneOf, Rest, Session, User, Word};
use super::rejections::{MAX_TEXT, Override, ProviderError, RejectionFormat, of};
use super::{
    BEARER, Dialect, Effect, IdentityClaims, InvalidationRule, Names, NotFoundMeaning, PathPart, ProviderHeaders,
    QuotaHeaders, ReadOnlyScopes, Route, Scopes, Sharing, TrustedHeader, TrustedValue,
};
use crate::model::{IdForm, Operation, Reason};
use crate::policy::Limits;
use crate::wire::OwnResponse;
use crate::wire::carrier::Carrier;
use http::HeaderName;
use serde_json::json;

const API: PathPart = Word("api");
const V1: PathPart = Word("v1");
const SESSIONS: PathPart = Word("sessions");
const USERS: PathPart = Word("users");
const APPS: PathPart = Word("apps");
const OAUTH2: PathPart = Word("oauth2");
const CLIENTS: PathPart = Word("clients");
const INTEGRATIONS: PathPart = Word("integrations");
const SERVICES: PathPart = Word("api-services");
const SESSION: &[PathPart] = &[API, V1, SESSIONS, Session];
const REFRESH: &[PathPart] = &[API, V1, SESSIONS, Session, Word("lifecycle"), Word("refresh")];
const USER_SESSIONS: &[PathPart] = &[API, V1, USERS, User, SESSIONS];

const MANAGE: &[&str] = &["okta.sessions.manage"];

static ROUTES: &[Route] = &[
    Route::document("GET", SESSION, Operation::ReadSession, Effect::ReadsSession, &["okta.sessions.read"]),
    Route::document("DELETE", SESSION, Operation::RevokeSession, Effect::EndsSession, MANAGE),
    // It only moves `expiresAt`.
    Route::document("POST", REFRESH, Operation::UpdateSession, Effect::ChangesSession, MANAGE),
    Route::document(
        "DELETE",
        USER_SESSIONS,
        Operation::DeleteUserSessions,
        Effect::EndsUserSessions,
        &["okta.users.manage"],
    )
    .with_query(&["oauthTokens", "forgetDevices"]),
];

/// Sign-in without a credential, and resources that no session contains and no session depends on.
const UNRELATED: PathPart = OneOf(&[
    "authn",
    "authorizationservers",
    "brands",
    "captchas",
    "domains",
    "email-domains",
    "email-servers",
    "eventhooks",
    "hook-keys",
    "inlinehooks",
    "logs",
    "logstreams",
    "mappings",
    "meta",
    "registration",
    "templates",
    "trustedorigins",
]);

/// What belongs to an application but neither ends nor limits the access of its clients.
const OF_APP: PathPart = OneOf(&["credentials", "logo", "policies"]);

/// `docs/concepts/invalidation.md` gives the reasons.
static RULES: &[InvalidationRule] = &[
    InvalidationRule::keeps(&[API, V1, UNRELATED, Rest]),
    // A new user, group or session is in no cached session, and a new application or client has read none.
    InvalidationRule::keeps(&[API, V1, OneOf(&["apps", "groups", "sessions", "users"])]).with_method("POST"),
    InvalidationRule::keeps(&[OAUTH2, V1, CLIENTS]).with_method("POST"),
    InvalidationRule::keeps(&[INTEGRATIONS, API, V1, SERVICES]).with_method("POST"),
    InvalidationRule::keeps(&[API, V1, APPS, PathPart::Any, OF_APP, Rest]),
    // Who is assigned may do more afterwards, not less.
    InvalidationRule::keeps(&[API, V1, APPS, PathPart::Any, USERS]).with_method("POST"),
    InvalidationRule::keeps(&[API, V1, APPS, PathPart::Any, Word("groups"), PathPart::Any]).with_method("PUT"),
    InvalidationRule::changes(&[OAUTH2, V1, CLIENTS, Rest]),
    InvalidationRule::changes(&[INTEGRATIONS, API, V1, SERVICES, Rest]),
    InvalidationRule::if_accepted(&[API, V1, OneOf(&["sessions", "users"]), Word("me"), Rest]),
    InvalidationRule::if_accepted(&[Word("idp"), Word("myaccount"), Rest]),
    InvalidationRule::changes(&[API, V1, PathPart::Any, Rest]),
];

/// Of its schema `Session`.
const SESSION_FIELDS: &[&str] = &[
    "_links",
    "amr",
    "createdAt",
    "expiresAt",
    "id",
    "idp.id",
    "idp.type",
    "lastFactorVerification",
    "lastPasswordVerification",
    "login",
    "mfaActive",
    "status",
    "userId",
];

/// Okta.
pub static OKTA: Dialect = Dialect {
    name: "okta",
    title: "Okta: sessions of the Classic Engine, by ID",
    preview: true,
    roots: &["/api/v1", "/idp/myaccount", "/integrations/api/v1/api-services", "/oauth2/v1/clients"],
    // Only sessions: `POST /api/v1/sessions` exchanges a session token, and needs no credential.
    protected_paths: &["/api/v1/sessions/{}", "/api/v1/users/{}/sessions"],
    unprotected_paths: &["/api/v1/sessions/me"],
    routes: ROUTES,
    invalidating: RULES,
    // `/oauth2/v1/logout` has an ID token, which does not name a session of this API.
    logouts: &[],
    // Its endpoints of the org authorization server, and sign-in (its pages "OpenID Connect & OAuth 2.0" and
    // "Authentication").
    public_paths: &[
        "/.well-known",
        "/api/v1/authn",
        "/login",
        "/oauth2/v1/authorize",
        "/oauth2/v1/introspect",
        "/oauth2/v1/keys",
        "/oauth2/v1/logout",
        "/oauth2/v1/revoke",
        "/oauth2/v1/token",
        "/signin",
    ],
    credentials: &[BEARER],
    token_type: Some("application/okta-internal-at+jwt"),
    // The ID of a session of this API is in no token.
    claims: IdentityClaims { client_id: &["cid"], roles: None, groups: None, organization: None, session: None },
    token_form: None,
    scopes: Scopes { claim: "scp", read_only: ReadOnlyScopes::Suffix(".read"), decide: false },
    headers: ProviderHeaders {
        reads_forwarded: true,
        stripped: &[],
        trusted_peer: &[
            TrustedHeader { name: "x-forwarded-host", value: TrustedValue::Host },
            TrustedHeader { name: "x-forwarded-proto", value: TrustedValue::Scheme },
            TrustedHeader { name: "x-forwarded-for", value: TrustedValue::Address },
        ],
        // Okta may read a cookie where the token is not valid.
        cache_key: &["cookie"],
        software: &[],
        cors: None,
        // Okta's page "Rate limit best practices". While a limit of concurrent requests is exceeded, they report that.
        quota: Some(QuotaHeaders {
            limit: HeaderName::from_static("x-rate-limit-limit"),
            remaining: HeaderName::from_static("x-rate-limit-remaining"),
            reset: HeaderName::from_static("x-rate-limit-reset"),
        }),
    },
    session_fields: SESSION_FIELDS,
    names: Names {
        session: None,
        id: "id",
        metadata: None,
        expiries: &["expiresAt"],
        version: None,
        write_details: None,
        user: &["userId"],
        token_session: None,
        sessions: None,
        refresh_tokens: &[],
        totals: &[],
        cursors: &[],
        user_parameter: None,
        search_parameters: &[],
        filters: None,
        session_id: None,
        session_token: None,
        lifetime: None,
        checks: None,
        challenges: None,
        error: &["errorCode"],
        error_members: &["errorCode", "errorSummary", "errorLink", "errorId"],
    },
    // Okta documents no limits: IDs of sessions have 20 to 25 characters, and logins at most 100.
    session_ids: IdForm::Opaque(128),
    refresh_token_ids: IdForm::Opaque(0),
    user_id_length: 100,
    limits: Limits { properties: None, key_length: None, value_length: None, plain_keys: false },
    has_grpc: false,
    sharing: Sharing::PerCredential("roles of administrators limit what a caller sees"),
    not_found: NotFoundMeaning::Error("E0000007"),
    empty_map_clears: false,
    bad_request_has_effects: false,
    lockout_ids: &[],
    rejections: RejectionFormat { overrides: OVERRIDES, shape },
};

/// Okta's codes in the same case. Others are that of a request that is not valid, or of a failure.
static OVERRIDES: &[Override] = &[
    of(&[Reason::UnknownOperation, Reason::NoUpstream]).code("E0000008"),
    of(&[Reason::Method]).code("E0000022").text("The endpoint does not support the provided HTTP method"),
    of(&[Reason::Deleted, Reason::ForeignSession]).code("E0000007").text("Not found: Resource not found (Session)"),
    of(&[Reason::CredentialMissing, Reason::CredentialMalformed, Reason::TokenExpired]).code("E0000011"),
    of(&[Reason::TokenNotYetValid, Reason::TokenIssuer, Reason::TokenAudience, Reason::TokenAlgorithm])
        .code("E0000011"),
    of(&[Reason::TokenKey, Reason::TokenKidMissing, Reason::TokenSignature, Reason::TokenType]).code("E0000011"),
    of(&[Reason::TokenExtension, Reason::TokenTooLong, Reason::TokenMalformed]).code("E0000011"),
    of(&[Reason::Scope]).code("E0000006"),
    of(&[Reason::Malformed]).code("E0000003"),
    of(&[Reason::ContentType, Reason::ContentCoding]).code("E0000021"),
    of(&[Reason::TooManyWrites, Reason::MetadataBusy, Reason::SourceBusy]).code("E0000047"),
];

/// An error as Okta reports it. `errorId` names the reason, where Okta's identifies the occurrence.
fn shape(error: &ProviderError, _: Carrier) -> OwnResponse {
    let fallback = if error.status.is_server_error() { "E0000009" } else { "E0000001" };
    let code = error.code.unwrap_or(fallback);
    let body = json!({
        "errorCode": code,
        "errorSummary": error.sentence(MAX_TEXT),
        "errorLink": code,
        "errorId": format!("gateway-{}", error.rejection.error_id()),
        "errorCauses": [],
    });
    OwnResponse::new(error.status, "application/json", body.to_string())
}
