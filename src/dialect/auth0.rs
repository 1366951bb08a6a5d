//! Auth0's Management API v2: sessions and refresh tokens, also those of a user.
//!
//! Sources: Auth0's OpenAPI document of the Management API (paths, scopes, limits) and its pages "Session metadata" and
//! "Configure session metadata" (what counts as a character, which keys are allowed).

mod invalidating;
mod rejections;

use super::PathPart::{RefreshToken, Session, User, Word};
use super::{
    BEARER, BodyKind, Dialect, Effect, IdentityClaims, Logout, MemberType, Names, NotFoundMeaning, PathPart,
    ProviderHeaders, QuotaHeaders, ReadOnlyScopes, RejectionFormat, RevocationBody, RevocationMember, Route, Scopes,
    Sharing, TokenForm, Version,
};
use crate::model::{IdForm, Operation};
use crate::policy::Limits;
use http::HeaderName;

const API: [PathPart; 2] = [Word("api"), Word("v2")];
const USERS: PathPart = Word("users");
const SESSION: &[PathPart] = &[API[0], API[1], Word("sessions"), Session];
const REVOKE: &[PathPart] = &[API[0], API[1], Word("sessions"), Session, Word("revoke")];
const TOKENS: &[PathPart] = &[API[0], API[1], Word("refresh-tokens")];
const TOKEN: &[PathPart] = &[API[0], API[1], Word("refresh-tokens"), RefreshToken];
const REVOKE_TOKENS: &[PathPart] = &[API[0], API[1], Word("refresh-tokens"), Word("revoke")];
const USER_SESSIONS: &[PathPart] = &[API[0], API[1], USERS, User, Word("sessions")];
const USER_TOKENS: &[PathPart] = &[API[0], API[1], USERS, User, Word("refresh-tokens")];
const REVOKE_ACCESS: &[PathPart] = &[API[0], API[1], USERS, User, Word("revoke-access")];

const READ: &[&str] = &["read:sessions"];
const DELETE: &[&str] = &["delete:sessions"];
const READ_TOKENS: &[&str] = &["read:refresh_tokens"];
const DELETE_TOKENS: &[&str] = &["delete:refresh_tokens"];
/// Revoking access deletes sessions and, unless the request preserves them, their refresh tokens.
const DELETE_BOTH: &[&str] = &["delete:sessions", "delete:refresh_tokens"];

/// The parameters of a user's lists. The last two are in no description of the API: go-auth0 1 and auth0-java 1 and 2
/// send them, and Auth0 responds with 200 (recordings of go-auth0, `TestUserManager_ListRefreshTokens`).
const PAGE: &[&str] = &["include_totals", "from", "take", "page", "per_page"];

const READS_TOKENS: Effect = Effect::Reads("a refresh token is not a session");
const KEEPS_SESSIONS: Effect = Effect::Nothing("a session contains nothing of its refresh tokens");

static ROUTES: &[Route] = &[
    Route::document("GET", SESSION, Operation::ReadSession, Effect::ReadsSession, READ),
    Route::document("PATCH", SESSION, Operation::UpdateSession, Effect::ChangesSession, &["update:sessions"])
        .with_body(BodyKind::Metadata("session_metadata")),
    Route::document("DELETE", SESSION, Operation::DeleteSession, Effect::EndsSession, DELETE),
    Route::document("POST", REVOKE, Operation::RevokeSession, Effect::EndsSession, DELETE),
    Route::document("GET", USER_SESSIONS, Operation::ListSessions, Effect::ListsSessions, READ).with_query(PAGE),
    Route::document("DELETE", USER_SESSIONS, Operation::DeleteUserSessions, Effect::EndsUserSessions, DELETE),
    Route::document("POST", REVOKE_ACCESS, Operation::RevokeAccess, Effect::EndsUserSessions, DELETE_BOTH)
        .with_body(BodyKind::Revocation(&ACCESS)),
    Route::document("POST", REVOKE_TOKENS, Operation::RevokeRefreshTokens, Effect::EndsUserSessions, DELETE_TOKENS)
        .with_body(BodyKind::Revocation(&BULK)),
    Route::document("GET", TOKEN, Operation::ReadRefreshToken, READS_TOKENS, READ_TOKENS),
    Route::document("PATCH", TOKEN, Operation::UpdateRefreshToken, KEEPS_SESSIONS, &["update:refresh_tokens"])
        .with_body(BodyKind::Metadata("refresh_token_metadata")),
    Route::document("DELETE", TOKEN, Operation::DeleteRefreshToken, KEEPS_SESSIONS, DELETE_TOKENS),
    Route::document("GET", TOKENS, Operation::ListRefreshTokens, READS_TOKENS, READ_TOKENS).with_query(&[
        "user_id",
        "client_id",
        "from",
        "take",
        "fields",
        "include_fields",
    ]),
    Route::document("GET", USER_TOKENS, Operation::ListRefreshTokens, READS_TOKENS, READ_TOKENS).with_query(PAGE),
    Route::document("DELETE", USER_TOKENS, Operation::DeleteUserRefreshTokens, Effect::EndsUserSessions, DELETE_TOKENS),
];

/// The body of `POST /users/{id}/revoke-access`. Without a body, or without a session, all access of the user is
/// revoked.
static ACCESS: RevocationBody = RevocationBody {
    members: &[
        RevocationMember { name: "session_id", member_type: MemberType::Session, requires: &[] },
        RevocationMember { name: "preserve_refresh_tokens", member_type: MemberType::Boolean, requires: &[] },
    ],
    one_of: &[],
};

/// The body of `POST /refresh-tokens/revoke`.
static BULK: RevocationBody = RevocationBody {
    members: &[
        RevocationMember {
            name: "ids",
            member_type: MemberType::RefreshTokens { most: 100, length: 30 },
            requires: &[],
        },
        RevocationMember { name: "user_id", member_type: MemberType::User, requires: &[] },
        RevocationMember { name: "client_id", member_type: MemberType::Text(64), requires: &["user_id"] },
        RevocationMember { name: "audience", member_type: MemberType::Text(600), requires: &["user_id", "client_id"] },
    ],
    one_of: &["ids", "user_id"],
};

/// Of the schemas of a session and of a refresh token. Both may have more members.
const SESSION_FIELDS: &[&str] = &[
    "actor.sub",
    "authenticated_at",
    "authentication.methods.name",
    "authentication.methods.timestamp",
    "authentication.methods.type",
    "client_id",
    "clients.client_id",
    "cookie.mode",
    "created_at",
    "device.initial_asn",
    "device.initial_ip",
    "device.initial_user_agent",
    "device.last_asn",
    "device.last_ip",
    "device.last_user_agent",
    "expires_at",
    "id",
    "idle_expires_at",
    "last_exchanged_at",
    "last_interacted_at",
    "refresh_token_metadata",
    "resource_servers.audience",
    "resource_servers.scopes",
    "rotating",
    "session_id",
    "session_metadata",
    "updated_at",
    "user_id",
];

/// Auth0.
pub static AUTH0: Dialect = Dialect {
    name: "auth0",
    title: "Auth0: sessions and refresh tokens of the Management API v2",
    preview: false,
    roots: &["/api/v2"],
    protected_paths: &[
        "/api/v2/sessions",
        "/api/v2/refresh-tokens",
        "/api/v2/users/{}/sessions",
        "/api/v2/users/{}/refresh-tokens",
        "/api/v2/users/{}/revoke-access",
    ],
    unprotected_paths: &[],
    routes: ROUTES,
    invalidating: invalidating::RULES,
    logouts: &[Logout { path: "/oidc/logout", token: "id_token_hint" }],
    // Its Authentication API (its pages "Authentication API" and "OpenID Connect Discovery") and Universal Login.
    public_paths: &[
        "/.well-known",
        "/activate",
        "/authorize",
        "/bc-authorize",
        "/co/authenticate",
        "/continue",
        "/dbconnections/change_password",
        "/dbconnections/signup",
        "/decision",
        "/login",
        "/mfa",
        "/oauth/device/code",
        "/oauth/par",
        "/oauth/revoke",
        "/oauth/token",
        "/oidc/logout",
        "/passwordless/start",
        "/passwordless/verify_redirect",
        "/pem",
        "/samlp",
        "/u",
        "/v2/logout",
        "/wsfed",
    ],
    credentials: &[BEARER],
    token_type: None,
    // `azp` in Auth0's own token profile, `client_id` in that of RFC 9068 (its page "Access token profiles").
    // Only tokens of members of an organization have `org_id` (its page "Work with Tokens and Organizations"). Session
    // IDs are the `sid` of ID tokens; an Action can add it to access tokens, and roles under a name of its own.
    claims: IdentityClaims {
        client_id: &["azp", "client_id"],
        roles: None,
        groups: None,
        organization: Some("org_id"),
        session: Some("sid"),
    },
    // Auth0's pages "Access Token Profiles" and "Get Management API Access Tokens", and "Custom Domains" for the host.
    token_form: Some(TokenForm { issuer_has_slash: true, audience_path: "/api/v2/", tenant_hosts: ".auth0.com" }),
    scopes: Scopes { claim: "scope", read_only: ReadOnlyScopes::Prefix("read:"), decide: true },
    headers: ProviderHeaders {
        reads_forwarded: false,
        stripped: &[],
        trusted_peer: &[],
        cache_key: &[],
        software: &["auth0-client"],
        cors: None,
        // Auth0's page "Rate limit policy".
        quota: Some(QuotaHeaders {
            limit: HeaderName::from_static("x-ratelimit-limit"),
            remaining: HeaderName::from_static("x-ratelimit-remaining"),
            reset: HeaderName::from_static("x-ratelimit-reset"),
        }),
    },
    session_fields: SESSION_FIELDS,
    names: Names {
        session: None,
        id: "id",
        metadata: Some("session_metadata"),
        expiries: &["idle_expires_at", "expires_at"],
        version: Some(Version::Time("updated_at")),
        write_details: None,
        user: &["user_id"],
        token_session: Some("session_id"),
        sessions: Some("sessions"),
        refresh_tokens: &["refresh_tokens", "tokens"],
        totals: &[&["total"], &["length"]],
        cursors: &["next"],
        user_parameter: Some("user_id"),
        // `fields` and `include_fields` choose what is shown, not which tokens: what is masked is not among it.
        search_parameters: &[("user_id", &["user_id"]), ("client_id", &["client_id"])],
        filters: None,
        session_id: None,
        session_token: None,
        lifetime: None,
        checks: None,
        challenges: None,
        error: &["message"],
        error_members: &["statusCode", "error", "message", "errorCode"],
    },
    session_ids: IdForm::Opaque(50),
    refresh_token_ids: IdForm::Opaque(30),
    user_id_length: 300,
    limits: Limits { properties: Some(25), key_length: Some(255), value_length: Some(255), plain_keys: true },
    has_grpc: false,
    sharing: Sharing::Shared("any token with the scope reads every session of the tenant"),
    not_found: NotFoundMeaning::Any,
    empty_map_clears: true,
    bad_request_has_effects: false,
    lockout_ids: &[],
    rejections: RejectionFormat { overrides: rejections::OVERRIDES, shape: rejections::shape },
};
