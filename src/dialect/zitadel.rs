//! ZITADEL's session service, versions 2 and 2beta, as REST, gRPC, gRPC-web and Connect.
//!
//! Sources: ZITADEL's proto files `zitadel/session/{v2,v2beta}/session_service.proto` (procedures, paths, messages) and its
//! API's reference. All procedures are unary, none is declared free of side effects, so that Connect has no GET of them.

mod messages;
mod reply;

use super::Part::{Any, Rest, Session, Word};
use super::{Call, Dialect, Message, Part, Related, Route, Takes};
use crate::model::Operation;
use crate::policy::Limits;

const SERVICE: Part = Word("zitadel.session.v2.SessionService");
const SERVICE_BETA: Part = Word("zitadel.session.v2beta.SessionService");
const SESSIONS: &[Part] = &[Word("v2"), Word("sessions")];
const SESSION: &[Part] = &[Word("v2"), Word("sessions"), Session];
const SEARCH: &[Part] = &[Word("v2"), Word("sessions"), Word("search")];
const SESSIONS_BETA: &[Part] = &[Word("v2beta"), Word("sessions")];
const SESSION_BETA: &[Part] = &[Word("v2beta"), Word("sessions"), Session];
const SEARCH_BETA: &[Part] = &[Word("v2beta"), Word("sessions"), Word("search")];

macro_rules! operations {
    ($($method:literal $path:expr, $name:literal in $service:expr => $operation:ident, $request:ident -> $answer:ident, $shows:literal;)*) => {
        &[$(
            route($method, $path, Operation::$operation, &Call {
                request: &messages::$request, answer: &messages::$answer, remote: false, shows_token: $shows,
            }),
            route("POST", &[$service, Word($name)], Operation::$operation, &Call {
                request: &messages::$request, answer: &messages::$answer, remote: true, shows_token: $shows,
            }),
        )*]
    };
}

/// ZITADEL.
pub static ZITADEL: Dialect = Dialect {
    name: "zitadel",
    roots: &["/v2", "/v3alpha", "/zitadel.", "/management/v1/users"],
    guarded: &[
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
        "PATCH" SESSION, "SetSession" in SERVICE => UpdateSession, SET -> SET_ANSWER, false;
        "PATCH" SESSION_BETA, "SetSession" in SERVICE_BETA => UpdateSession, SET_BETA -> SET_ANSWER, true;
        "DELETE" SESSION, "DeleteSession" in SERVICE => DeleteSession, DELETE -> DELETE_ANSWER, false;
        "DELETE" SESSION_BETA, "DeleteSession" in SERVICE_BETA => DeleteSession, DELETE -> DELETE_ANSWER, false;
        "POST" SESSIONS, "CreateSession" in SERVICE => CreateSession, CREATE -> CREATE_ANSWER, false;
        "POST" SESSIONS_BETA, "CreateSession" in SERVICE_BETA => CreateSession, CREATE_BETA -> CREATE_ANSWER, false;
    },
    related: RELATED,
    // For evidence, which is fetched as REST: the session stands one level deeper than `message` reaches.
    message: Message { id: "id", metadata: "metadata", sessions: "sessions", expiries: &[], changed_at: "changeDate" },
    session_id_length: 200,
    refresh_token_id_length: 0,
    user_id_length: 0,
    limits: Limits { properties: None, key_length: None, value_length: None, plain_keys: false },
    forwarded: true,
    has_calls: true,
    hidden: &["grpc-metadata-", "x-zitadel-instance-host", "x-zitadel-public-host", "x-zitadel-forwarded"],
    entrusted: &[
        "x-zitadel-instance-host",
        "x-zitadel-public-host",
        "x-zitadel-forwarded",
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-for",
    ],
    shares: false,
    empties_wipe: false,
    extras: true,
    reply: reply::reply,
};

/// What ends or changes the sessions of a user: ZITADEL takes away those of users that are locked, deactivated or removed, and what
/// a password has proven when it changes (`internal/query/projection/session.go`).
const RELATED: &[Related] = &[
    changes(&[Word("v2"), Word("users"), Any, Rest]),
    changes(&[Word("v2beta"), Word("users"), Any, Rest]),
    changes(&[Word("management"), Word("v1"), Word("users"), Any, Rest]),
    changes(&[USERS, Word("deleteuser")]),
    changes(&[USERS, Word("deactivateuser")]),
    changes(&[USERS, Word("lockuser")]),
    changes(&[USERS, Word("setpassword")]),
    changes(&[USERS, Word("updatehumanuser")]),
    changes(&[USERS, Word("updateuser")]),
    changes(&[USERS_BETA, Word("deleteuser")]),
    changes(&[USERS_BETA, Word("deactivateuser")]),
    changes(&[USERS_BETA, Word("lockuser")]),
    changes(&[USERS_BETA, Word("setpassword")]),
    changes(&[USERS_BETA, Word("updatehumanuser")]),
    changes(&[MANAGEMENT, Word("removeuser")]),
    changes(&[MANAGEMENT, Word("deactivateuser")]),
    changes(&[MANAGEMENT, Word("lockuser")]),
    changes(&[MANAGEMENT, Word("sethumanpassword")]),
];
const USERS: Part = Word("zitadel.user.v2.userservice");
const USERS_BETA: Part = Word("zitadel.user.v2beta.userservice");
const MANAGEMENT: Part = Word("zitadel.management.v1.managementservice");

const fn changes(path: &'static [Part]) -> Related {
    Related { path }
}

const fn route(method: &'static str, path: &'static [Part], operation: Operation, call: &'static Call) -> Route {
    Route { method, path, operation, scopes: &[], query: &[], takes: Takes::Nothing, call: Some(call) }
}
