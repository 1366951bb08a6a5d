//! ZITADEL's session service, versions 2 and 2beta, over REST, gRPC, gRPC-web and Connect.
//!
//! Sources: ZITADEL's proto files `zitadel/session/{v2,v2beta}/session_service.proto` (procedures, paths, messages) and
//! its API's reference. All procedures are unary, none is declared free of side effects, so Connect has no GET requests
//! for them.

mod messages;
mod invalidating;
mod rejections;
mod sessions;

use super::PathPart::{Session, Word};
use super::{
    BEARER, BodyKind, Call, Challenges, Checks, Cors, Dialect, Effect, Filters, IdentityClaims, Logout, Names,
    NotFoundMeaning, PathPart, ProviderHeaders, Query, ReadOnlyScopes, RejectionFormat, Route, Scopes, Sharing,
    TrustedHeader, TrustedValue, Version,
};
use crate::model::{CheckKind, IdForm, Operation};
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
    ($($method:literal $path:expr, $name:literal in $service:expr => $operation:ident, $effect:ident, $request:ident -> $response:ident, $shows:literal;)*) => {
        &[$(
            route($method, $path, Operation::$operation, Effect::$effect, &Call {
                request: &messages::$request, response: &messages::$response, is_rpc: false, takes_session_token: $shows,
            }),
            route("POST", &[$service, Word($name)], Operation::$operation, Effect::$effect, &Call {
                request: &messages::$request, response: &messages::$response, is_rpc: true, takes_session_token: $shows,
            }),
        )*]
    };
}

/// ZITADEL.
pub static ZITADEL: Dialect = Dialect {
    name: "zitadel",
    title: "ZITADEL: session service v2 and v2beta, over REST, gRPC, gRPC-web and Connect",
    preview: false,
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
    unprotected_paths: &[],
    routes: operations! {
        "POST" SEARCH, "ListSessions" in SERVICE => ListSessions, ListsSessions, LIST -> LIST_RESPONSE, false;
        "POST" SEARCH_BETA, "ListSessions" in SERVICE_BETA => ListSessions, ListsSessions, LIST -> LIST_RESPONSE, false;
        "GET" SESSION, "GetSession" in SERVICE => ReadSession, ReadsSession, GET -> SESSION, false;
        "GET" SESSION_BETA, "GetSession" in SERVICE_BETA => ReadSession, ReadsSession, GET_BETA -> SESSION, false;
        "PATCH" SESSION, "SetSession" in SERVICE => UpdateSession, ChangesSession, SET -> SET_RESPONSE, false;
        "PATCH" SESSION_BETA, "SetSession" in SERVICE_BETA => UpdateSession, ChangesSession, SET_BETA -> SET_RESPONSE, true;
        "DELETE" SESSION, "DeleteSession" in SERVICE => DeleteSession, EndsSession, DELETE -> DELETE_RESPONSE, false;
        "DELETE" SESSION_BETA, "DeleteSession" in SERVICE_BETA => DeleteSession, EndsSession, DELETE -> DELETE_RESPONSE, false;
        "POST" SESSIONS, "CreateSession" in SERVICE => CreateSession, CreatesSession, CREATE -> CREATE_RESPONSE, false;
        "POST" SESSIONS_BETA, "CreateSession" in SERVICE_BETA => CreateSession, CreatesSession, CREATE_BETA -> CREATE_RESPONSE, false;
    },
    invalidating: invalidating::RULES,
    logouts: &[Logout { path: "/oidc/v1/end_session", token: "id_token_hint" }],
    // Its endpoints of OpenID Connect and SAML (`internal/api/oidc`, `internal/api/saml`), its login pages and console, and
    // its probes.
    public_paths: &[
        "/.well-known",
        "/debug/healthz",
        "/debug/ready",
        "/device",
        "/idps/callback",
        "/oauth/v2/authorize",
        "/oauth/v2/device_authorization",
        "/oauth/v2/introspect",
        "/oauth/v2/keys",
        "/oauth/v2/revoke",
        "/oauth/v2/token",
        "/oidc/v1/end_session",
        "/saml/v2",
        "/ui",
    ],
    credentials: &[BEARER],
    // Tokens have no scopes that limit writes. Roles do, but they are not in the token.
    token_type: None,
    // Its page "Claims": roles are the keys of an object, the organization is that of the user.
    claims: IdentityClaims {
        client_id: &["client_id"],
        roles: Some("urn:zitadel:iam:org:project:roles"),
        groups: None,
        organization: Some("urn:zitadel:iam:user:resourceowner:id"),
        session: Some("sid"),
    },
    token_form: None,
    scopes: Scopes { claim: "scope", read_only: ReadOnlyScopes::Unknown, decide: false },
    headers: ProviderHeaders {
        reads_forwarded: true,
        stripped: &["grpc-metadata-", "x-zitadel-instance-host", "x-zitadel-public-host", "x-zitadel-forwarded"],
        trusted_peer: TRUSTED_PEER,
        cache_key: &["x-zitadel-orgid"],
        software: &[],
        // It echoes the origin and allows credentials (`internal/api/http/middleware/cors_interceptor.go`).
        cors: Some(Cors {
            exposed: "location, content-length, grpc-status, grpc-message, grpc-status-details-bin, cache-status, \
                      x-request-id",
        }),
        quota: None,
    },
    session_fields: &[],
    names: Names {
        session: Some("session"),
        id: "id",
        metadata: Some("metadata"),
        expiries: &["expiration_date"],
        version: Some(Version::Number("sequence")),
        write_details: Some("details"),
        user: &["factors", "user", "id"],
        token_session: None,
        sessions: Some("sessions"),
        refresh_tokens: &[],
        totals: &[&["details", "total_result"]],
        cursors: &[],
        user_parameter: None,
        search_parameters: &[],
        filters: Some(FILTERS),
        session_id: Some("session_id"),
        session_token: Some("session_token"),
        lifetime: Some("lifetime"),
        checks: Some(CHECKS),
        challenges: Some(CHALLENGES),
        error: &["message"],
        error_members: &["code", "message"],
    },
    session_ids: IdForm::Opaque(200),
    refresh_token_ids: IdForm::Opaque(0),
    user_id_length: 0,
    limits: Limits { properties: None, key_length: None, value_length: None, plain_keys: false },
    has_grpc: true,
    sharing: Sharing::PerCredential("roles of the user, and session tokens, decide what a caller sees"),
    // Another 404 means that the caller is not a member of anything (AUTHZ-cdgFk): `internal/query/session.go`.
    not_found: NotFoundMeaning::WithId("QUERY-SFeaa"),
    empty_map_clears: false,
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
    rejections: RejectionFormat { overrides: rejections::OVERRIDES, shape: rejections::shape },
};

const fn route(
    method: &'static str,
    path: &'static [PathPart],
    operation: Operation,
    effect: Effect,
    call: &'static Call,
) -> Route {
    let query = match effect {
        Effect::ReadsSession if !call.is_rpc => Query::SessionToken(&["sessionToken", "session_token"]),
        _ => Query::Parameters(&[]),
    };
    Route { method, path, operation, effect, scopes: &[], query, body: BodyKind::Nothing, call: Some(call) }
}

const TRUSTED_PEER: &[TrustedHeader] = &[
    TrustedHeader { name: "x-zitadel-instance-host", value: TrustedValue::Host },
    TrustedHeader { name: "x-zitadel-public-host", value: TrustedValue::Host },
    TrustedHeader { name: "x-zitadel-forwarded", value: TrustedValue::Parameters },
    TrustedHeader { name: "forwarded", value: TrustedValue::Parameters },
    TrustedHeader { name: "x-forwarded-host", value: TrustedValue::Host },
    TrustedHeader { name: "x-forwarded-proto", value: TrustedValue::Scheme },
    TrustedHeader { name: "x-forwarded-for", value: TrustedValue::Address },
];

const FILTERS: Filters = Filters {
    field: "queries",
    user: "user_id_query",
    user_id: "id",
    fields: &[
        ("ids_query", &["id"]),
        ("user_id_query", &["factors", "user", "id"]),
        ("creation_date_query", &["creation_date"]),
        // A session does not show who created it.
        ("creator_query", &[]),
        ("user_agent_query", &["user_agent", "fingerprint_id"]),
        ("expiration_date_query", &["expiration_date"]),
    ],
    sorting: "sorting_column",
    columns: &[(1, &["creation_date"])],
};

const CHECKS: Checks = Checks {
    field: "checks",
    user: "user",
    user_id: "user_id",
    kinds: &[
        ("user", CheckKind::User),
        ("password", CheckKind::Password),
        ("web_auth_n", CheckKind::WebAuthN),
        ("idp_intent", CheckKind::IdpIntent),
        ("totp", CheckKind::Totp),
        ("otp_sms", CheckKind::OtpSms),
        ("otp_email", CheckKind::OtpEmail),
        ("recovery_code", CheckKind::RecoveryCode),
    ],
};

const CHALLENGES: Challenges = Challenges {
    field: "challenges",
    web_auth_n: "web_auth_n",
    otp_sms: "otp_sms",
    otp_email: "otp_email",
    return_code: "return_code",
    send_code: "send_code",
    url_template: "url_template",
};
