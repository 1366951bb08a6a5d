//! What a table may say, tried with a provider that says what the registered ones do not.

use super::PathPart::{Session, Tenant, Word};
use super::*;
use crate::model::{Caller, IdForm, Operation, Rejection, SessionId};
use crate::policy::Limits;
use crate::wire::OwnResponse;
use crate::wire::carrier::Carrier;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

const SESSION: &[PathPart] = &[Word("realms"), Tenant, Word("sessions"), Session];

const fn row(method: &'static str, operation: Operation, effect: Effect) -> Route {
    Route::document(method, SESSION, operation, effect, &[])
}

/// A provider with realms, API keys and cookies, whose sessions are one level deep and have numbers as versions.
pub(crate) static REALMS: Dialect = Dialect {
    name: "realms",
    title: "",
    preview: true,
    roots: &["/realms"],
    protected_paths: &["/realms/{}/sessions"],
    unprotected_paths: &["/realms/{}/sessions/mine"],
    routes: &[
        row("GET", Operation::ReadSession, Effect::ReadsSession).with_query(&["expand"]),
        row("DELETE", Operation::DeleteUserSessions, Effect::ChangesAny),
    ],
    invalidating: &[InvalidationRule::changes(&[Word("realms"), PathPart::Any, Word("sessions"), PathPart::Rest])],
    logouts: &[],
    public_paths: &[],
    credentials: &[
        CredentialPlace::Scheme { header: "authorization", scheme: "token" },
        CredentialPlace::Header("x-api-key"),
        CredentialPlace::Cookie("sid"),
    ],
    token_type: None,
    claims: IdentityClaims { client_id: &["app"], roles: None, groups: None, organization: None, session: None },
    token_form: None,
    scopes: Scopes { claim: "permissions", read_only: ReadOnlyScopes::Suffix(".view"), decide: true },
    headers: ProviderHeaders {
        reads_forwarded: false,
        stripped: &[],
        trusted_peer: &[],
        cache_key: &[],
        software: &[],
        cors: None,
        quota: None,
    },
    session_fields: &[],
    names: Names {
        session: Some("data"),
        id: "key",
        metadata: None,
        expiries: &["ends"],
        version: Some(Version::Number("rev")),
        write_details: Some("meta"),
        user: &["owner"],
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
        error: &["error", "id"],
        error_members: &[],
    },
    session_ids: IdForm::Opaque(20),
    refresh_token_ids: IdForm::Opaque(0),
    user_id_length: 0,
    limits: Limits { properties: None, key_length: None, value_length: None, plain_keys: false },
    has_grpc: false,
    sharing: Sharing::PerCredential(""),
    not_found: NotFoundMeaning::Error("no_session"),
    empty_map_clears: false,
    bad_request_has_effects: false,
    lockout_ids: &[],
    rejections: RejectionFormat {
        overrides: &[],
        shape: |error, _| OwnResponse::new(error.status, "text/plain", error.text(100)),
    },
};

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn a_credential_is_found_in_each_place_in_their_order() {
    let token = |pairs: &[(&'static str, &'static str)]| REALMS.token(&headers(pairs)).map(str::to_owned);
    for (pairs, expected) in [
        (&[("authorization", "Token abc")][..], "abc"),
        (&[("x-api-key", "abc")], "abc"),
        (&[("cookie", "a=1; sid=abc; sidx=2")], "abc"),
        (&[("cookie", "sid=abc"), ("cookie", "other=1")], "abc"),
        (&[("cookie", "sid=later"), ("authorization", "token abc")], "abc"),
    ] {
        assert_eq!(token(pairs).as_deref(), Ok(expected), "{pairs:?}");
    }
    for (pairs, expected) in [
        (&[][..], Rejection::CredentialMissing),
        (&[("cookie", "xsid=abc; sid2=abc")], Rejection::CredentialMissing),
        (&[("authorization", "Bearer abc")], Rejection::CredentialMalformed),
        (&[("authorization", "Bearer abc"), ("x-api-key", "abc")], Rejection::CredentialMalformed),
        (&[("x-api-key", "a b")], Rejection::CredentialMalformed),
        (&[("cookie", "sid=")], Rejection::CredentialMalformed),
        (&[("cookie", "sid=a; sid=b")], Rejection::Header("Cookie", "occurs more than once")),
        (&[("cookie", "sid=a"), ("cookie", "sid=b")], Rejection::Header("Cookie", "occurs more than once")),
        (&[("x-api-key", "a"), ("x-api-key", "b")], Rejection::Header("x-api-key", "occurs more than once")),
    ] {
        assert_eq!(token(pairs), Err(expected), "{pairs:?}");
    }
    let both = headers(&[("x-api-key", "a"), ("cookie", "b=1; sid=c")]);
    let shown: Vec<_> = REALMS.shown_credentials(&both).collect();
    assert_eq!(shown, [("x-api-key", &b"a"[..]), ("cookie", &b"c"[..])]);
    let twice = headers(&[("authorization", "token a"), ("x-api-key", "a"), ("x-api-key", "b")]);
    assert!(REALMS.check_credentials(&both).is_ok() && REALMS.check_credentials(&twice).is_err());
}

#[test]
fn scopes_that_only_read_may_have_an_ending() {
    let may = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        REALMS.allows_writes(&Caller { scopes, ..Caller::default() })
    };
    assert!(!may(&[]) && !may(&["sessions.view"]));
    assert!(may(&["sessions.view", "sessions.end"]));
}

#[test]
fn a_path_may_name_a_tenant() {
    let matched = |path: &str| REALMS.match_route(&Method::GET, path, None);
    let Ok(RouteMatch::Governed { session, tenant, .. }) = matched("/realms/a%20b/sessions/s1") else { panic!() };
    assert_eq!((session.as_ref().map(SessionId::as_str), tenant.as_deref()), (Some("s1"), Some("a%20b")));
    assert!(matches!(matched("/realms/a%2Fb/sessions/s1"), Err(Rejection::Path)));
}

#[test]
fn an_unprotected_path_is_forwarded_in_its_canonical_spelling_alone() {
    let matched = |method: &Method, path: &str| match REALMS.match_route(method, path, None) {
        Ok(RouteMatch::Governed { .. }) => "governed",
        Ok(RouteMatch::Unmatched) => "unmatched",
        Ok(RouteMatch::Invalidating | RouteMatch::InvalidatingIfAccepted) => "invalidating",
        Err(_) => "rejected",
    };
    for (method, path, expected) in [
        (Method::GET, "/realms/a/sessions/mine", "unmatched"),
        (Method::GET, "/realms/a/sessions/mine/more", "unmatched"),
        (Method::DELETE, "/realms/a/sessions/mine", "invalidating"),
        (Method::OPTIONS, "/realms/a/sessions/mine", "unmatched"),
        (Method::GET, "/realms/a/sessions/minex", "governed"),
        (Method::GET, "/realms/a/sessions/Mine", "governed"),
        (Method::GET, "/realms/a/sessions/%6Dine", "rejected"),
        (Method::GET, "/realms/a/sessions/mine/", "rejected"),
        (Method::GET, "/realms/a/sessions/./mine", "rejected"),
        (Method::GET, "/realms/a/sessions/x/../mine", "rejected"),
        (Method::GET, "/realms/a/sessions//mine", "rejected"),
        (Method::GET, "/realms/a/sessions/mine/../s1", "rejected"),
        (Method::GET, "/realms/a/sessions/mine;x=1", "rejected"),
    ] {
        assert_eq!(matched(&method, path), expected, "{method} {path}");
    }
    assert!(!REALMS.governs(&Method::GET, "/realms/a/sessions/mine"));
    assert!(REALMS.governs(&Method::GET, "/realms/a/sessions/s1"));
}

#[test]
fn logins_of_end_users_need_no_grant() {
    for path in ["/dbconnections/signup", "/passwordless/start", "/samlp/client/logout", "/wsfed", "/pem"] {
        assert!(AUTH0.is_public(path), "{path}");
    }
    for path in ["/api/v2/users", "/dbconnections", "/passwordless", "/userinfo", "/pemx", "/", ""] {
        assert!(!AUTH0.is_public(path), "{path}");
    }
}

#[test]
fn a_session_may_be_a_member_of_a_response_and_have_a_number_as_version() {
    let facts = |body: &'static str, id: Option<&str>| {
        let id = id.and_then(|id| SessionId::parse(id, IdForm::Opaque(20)));
        REALMS.response_facts(&REALMS.routes[0], Carrier::Rest, &Bytes::from_static(body.as_bytes()), id.as_ref())
    };
    let read = |body| facts(body, Some("s1")).map(|facts| (facts.expires_at, facts.version));
    assert_eq!(read(r#"{"data":{"key":"s1","rev":7,"ends":"1970-01-01T00:00:02Z"}}"#), Some((Some(2000), Some(7))));
    assert_eq!(read(r#"{"data":{"key":"s1","rev":"8"},"rev":9}"#), Some((None, Some(8))));
    assert_eq!(read(r#"{"data":{"key":"s1","rev":-1}}"#), Some((None, None)));
    assert_eq!(read(r#"{"data":{"key":"s1"}}"#), Some((None, None)));
    for other in [r#"{"data":{"key":"s2"}}"#, r#"{"key":"s1"}"#, r#"{"data":[]}"#, r#"{"data":{"key":"s1","ends":1}}"#]
    {
        assert_eq!(read(other), None, "{other}");
    }
    assert_eq!(facts(r#"{"meta":{"rev":3}}"#, None).and_then(|facts| facts.version), Some(3));
}

#[test]
fn an_error_may_be_named_by_any_member() {
    assert!(REALMS.not_found.is_about_session("no_session"));
    assert!(!REALMS.not_found.is_about_session("no_session (no_session)"));
    let body = Bytes::from_static(br#"{"error":{"id":"no_session"},"message":"other"}"#);
    let text = |carrier: Carrier| carrier.error_text(REALMS.names.error, &HeaderMap::new(), &body, None);
    assert_eq!(text(Carrier::Rest).as_deref(), Some("no_session"));
    let missing = REALMS.rejections.response(&Rejection::Deleted, Carrier::Rest);
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}
