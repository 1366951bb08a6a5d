//! Auth0's Management API v2: sessions and refresh tokens, also those of a user.
//!
//! Sources: Auth0's OpenAPI document of the Management API (paths, scopes, limits) and its pages "Session metadata" and
//! "Configure session metadata" (what counts as a character, which keys are allowed).

mod invalidating;
mod reply;

use super::PathPart::{RefreshToken, Session, User, Word};
use super::{
    BodyKind, Dialect, JsonMembers, MemberType, NotFoundMeaning, PathPart, RevocationBody, RevocationMember, Route,
};
use crate::model::Operation;
use crate::policy::Limits;

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

const fn row(
    method: &'static str,
    path: &'static [PathPart],
    operation: Operation,
    scopes: &'static [&'static str],
) -> Route {
    Route { method, path, operation, scopes, query: &[], body: BodyKind::Nothing, call: None }
}

static ROUTES: &[Route] = &[
    row("GET", SESSION, Operation::ReadSession, READ),
    Route {
        body: BodyKind::Metadata("session_metadata"),
        ..row("PATCH", SESSION, Operation::UpdateSession, &["update:sessions"])
    },
    row("DELETE", SESSION, Operation::DeleteSession, DELETE),
    row("POST", REVOKE, Operation::RevokeSession, DELETE),
    Route { query: PAGE, ..row("GET", USER_SESSIONS, Operation::ListSessions, READ) },
    row("DELETE", USER_SESSIONS, Operation::DeleteUserSessions, DELETE),
    Route { body: BodyKind::Revocation(&ACCESS), ..row("POST", REVOKE_ACCESS, Operation::RevokeAccess, DELETE_BOTH) },
    Route {
        body: BodyKind::Revocation(&BULK),
        ..row("POST", REVOKE_TOKENS, Operation::RevokeRefreshTokens, DELETE_TOKENS)
    },
    row("GET", TOKEN, Operation::ReadRefreshToken, READ_TOKENS),
    Route {
        body: BodyKind::Metadata("refresh_token_metadata"),
        ..row("PATCH", TOKEN, Operation::UpdateRefreshToken, &["update:refresh_tokens"])
    },
    row("DELETE", TOKEN, Operation::DeleteRefreshToken, DELETE_TOKENS),
    Route {
        query: &["user_id", "client_id", "from", "take", "fields", "include_fields"],
        ..row("GET", TOKENS, Operation::ListRefreshTokens, READ_TOKENS)
    },
    Route { query: PAGE, ..row("GET", USER_TOKENS, Operation::ListRefreshTokens, READ_TOKENS) },
    row("DELETE", USER_TOKENS, Operation::DeleteUserRefreshTokens, DELETE_TOKENS),
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
        RevocationMember { name: "ids", member_type: MemberType::TextList { most: 100, length: 30 }, requires: &[] },
        RevocationMember { name: "user_id", member_type: MemberType::User, requires: &[] },
        RevocationMember { name: "client_id", member_type: MemberType::Text(64), requires: &["user_id"] },
        RevocationMember { name: "audience", member_type: MemberType::Text(600), requires: &["user_id", "client_id"] },
    ],
    one_of: &["ids", "user_id"],
};

/// Auth0.
pub static AUTH0: Dialect = Dialect {
    name: "auth0",
    title: "Auth0: sessions and refresh tokens of the Management API v2",
    roots: &["/api/v2"],
    protected_paths: &[
        "/api/v2/sessions",
        "/api/v2/refresh-tokens",
        "/api/v2/users/{}/sessions",
        "/api/v2/users/{}/refresh-tokens",
        "/api/v2/users/{}/revoke-access",
    ],
    routes: ROUTES,
    invalidating: invalidating::RULES,
    logouts: &["/oidc/logout"],
    has_scopes: true,
    json: JsonMembers {
        id: "id",
        metadata: "session_metadata",
        sessions: "sessions",
        expiries: &["idle_expires_at", "expires_at"],
        changed_at: "updated_at",
    },
    session_id_length: 50,
    refresh_token_id_length: 30,
    user_id_length: 300,
    limits: Limits { properties: Some(25), key_length: Some(255), value_length: Some(255), plain_keys: true },
    reads_forwarded_headers: false,
    has_grpc: false,
    stripped_headers: &[],
    trusted_peer_headers: &[],
    cache_key_headers: &[],
    is_shared_between_callers: true,
    not_found: NotFoundMeaning::Any,
    empty_map_clears: true,
    has_session_rules: false,
    bad_request_has_effects: false,
    lockout_ids: &[],
    reply: reply::reply,
};
