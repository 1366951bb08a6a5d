//! ZITADEL's session service, versions 2 and 2beta, over REST, gRPC, gRPC-web and Connect.
//!
//! Sources: ZITADEL's proto files `zitadel/session/{v2,v2beta}/session_service.proto` (procedures, paths, messages) and
//! its API's reference. All procedures are unary, none is declared free of side effects, so Connect has no GET requests
//! for them.

mod messages;
mod invalidating;
mod reply;

use super::PathPart::{Session, Word};
use super::{BodyKind, Call, Dialect, JsonMembers, NotFoundMeaning, PathPart, Route};
use crate::model::Operation;
use crate::policy::Limits;

const SERVICE: PathPart = Word("zitadel.session.v2.SessionService");
const SERVICE_BETA: PathPart = Word("zitadel.session.v2beta.SessionService");
const SESSIONS: &[PathPart] = &[Word("v2"), Word("sessions")];
const SESSION: &[PathPart] = &[Word("v2"), Word("sessions"), Session];
const SEARCH: &[PathPart] = &[Word("v2"), Word("sessions"), Word("search")];
const SESSIONS_BETA: &[PathPart] = &[Word("v2beta"), Word("sessions")];
const SESSION_BETA: &[PathPart] = &[Word("v2beta"), Word("sessions"), Session];
const SEARCH_BETA: &[PathPart] = &[Word("v2beta"), Word("sessions"), Word("search")];

macro_rules! operations {
    ($($method:literal $path:expr, $name:literal in $service:expr => $operation:ident, $request:ident -> $response:ident, $shows:literal;)*) => {
        &[$(
            route($method, $path, Operation::$operation, &Call {
                request: &messages::$request, response: &messages::$response, is_rpc: false, takes_session_token: $shows,
            }),
            route("POST", &[$service, Word($name)], Operation::$operation, &Call {
                request: &messages::$request, response: &messages::$response, is_rpc: true, takes_session_token: $shows,
            }),
        )*]
    };
}

/// ZITADEL.
pub static ZITADEL: Dialect = Dialect {
    name: "zitadel",
    title: "ZITADEL: session service v2 and v2beta, over REST, gRPC, gRPC-web and Connect",
    roots: &[
        "/v2",
        "/v3",
        "/zitadel.",
        "/auth/v1",
        "/management/v1",
        "/admin/v1",
        "/system/v1",
        "/scim/v2",
        "/resources/v3",
    ],
    protected_paths: &[
        "/v2/sessions",
        "/v2beta/sessions",
        "/v2alpha/sessions",
        "/v3alpha/sessions",
        "/zitadel.session.v2.SessionService",
        "/zitadel.session.v2beta.SessionService",
        "/zitadel.session.v2alpha.SessionService",
        "/zitadel.session.v3alpha.SessionService",
    ],
    routes: operations! {
        "POST" SEARCH, "ListSessions" in SERVICE => ListSessions, LIST -> LIST, false;
        "POST" SEARCH_BETA, "ListSessions" in SERVICE_BETA => ListSessions, LIST -> LIST, false;
        "GET" SESSION, "GetSession" in SERVICE => ReadSession, GET -> SESSION, false;
        "GET" SESSION_BETA, "GetSession" in SERVICE_BETA => ReadSession, GET_BETA -> SESSION, false;
        "PATCH" SESSION, "SetSession" in SERVICE => UpdateSession, SET -> SET_RESPONSE, false;
        "PATCH" SESSION_BETA, "SetSession" in SERVICE_BETA => UpdateSession, SET_BETA -> SET_RESPONSE, true;
        "DELETE" SESSION, "DeleteSession" in SERVICE => DeleteSession, DELETE -> DELETE_RESPONSE, false;
        "DELETE" SESSION_BETA, "DeleteSession" in SERVICE_BETA => DeleteSession, DELETE -> DELETE_RESPONSE, false;
        "POST" SESSIONS, "CreateSession" in SERVICE => CreateSession, CREATE -> CREATE_RESPONSE, false;
        "POST" SESSIONS_BETA, "CreateSession" in SERVICE_BETA => CreateSession, CREATE_BETA -> CREATE_RESPONSE, false;
    },
    invalidating: invalidating::RULES,
    logouts: &["/oidc/v1/end_session"],
    // Tokens have no scopes that limit writes. Roles do, but they are not in the token.
    has_scopes: false,
    // Used for current metadata, which is fetched over REST. The session is one level deeper than `json` reaches.
    json: JsonMembers { id: "id", metadata: "metadata", sessions: "sessions", expiries: &[], changed_at: "changeDate" },
    session_id_length: 200,
    refresh_token_id_length: 0,
    user_id_length: 0,
    limits: Limits { properties: None, key_length: None, value_length: None, plain_keys: false },
    reads_forwarded_headers: true,
    has_grpc: true,
    stripped_headers: &["grpc-metadata-", "x-zitadel-instance-host", "x-zitadel-public-host", "x-zitadel-forwarded"],
    trusted_peer_headers: &[
        "x-zitadel-instance-host",
        "x-zitadel-public-host",
        "x-zitadel-forwarded",
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-for",
    ],
    cache_key_headers: &["x-zitadel-orgid"],
    is_shared_between_callers: false,
    // Another 404 means that the caller is not a member of anything (AUTHZ-cdgFk): `internal/query/session.go`.
    not_found: NotFoundMeaning::WithId("QUERY-SFeaa"),
    empty_map_clears: false,
    has_session_rules: true,
    bad_request_has_effects: true,
    // The IDs of `Errors.User.Locked` where passwords and one-time codes are checked (`internal/command`,
    // `internal/domain`).
    lockout_ids: &[
        "COMMAND-JLK35",
        "COMMAND-SFA3t",
        "COMMAND-SF3fg",
        "COMMAND-S6h4R",
        "COMMAND-2w6oa",
        "DOM-gM4SUh",
        "DOM-47H1Ii",
    ],
    reply: reply::reply,
};

const fn route(method: &'static str, path: &'static [PathPart], operation: Operation, call: &'static Call) -> Route {
    Route { method, path, operation, scopes: &[], query: &[], body: BodyKind::Nothing, call: Some(call) }
}
