//! Which requests invalidate sessions: one row for each operation that the providers publish.

use crate::harness::grpc::{field, frame};
use crate::harness::{Gateway, Request};
use http::Method;
use serde_json::{Value, json};
use sessiongate::dialect::{DIALECTS, Dialect, RouteMatch};
use sessiongate::sandbox::Zitadel;
use sessiongate::sandbox::zitadel::Options;
use std::fmt::Write as _;
use std::path::Path;
use tokio::runtime::Runtime;

/// What a request means for sessions: `changes`, `keeps` where it changes nothing, or `governed`.
fn decided(dialect: &'static Dialect, method: &str, path: &str) -> &'static str {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    match dialect.match_route(&method, path, None) {
        Ok(RouteMatch::Invalidating) => "changes",
        Ok(RouteMatch::InvalidatingIfAccepted) => "changes-if-accepted",
        Ok(RouteMatch::Unmatched) => "keeps",
        Ok(RouteMatch::Governed { .. }) | Err(_) => "governed",
    }
}

/// A path of the providers' definitions with something in the place of each parameter.
fn filled(template: &str) -> String {
    let parts = template.split('/').map(|part| if part.starts_with('{') { "3107" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Reads a table and decides each row; a procedure and its resource have to agree.
fn check(dialect: &'static Dialect) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/invalidation/{}.txt", dialect.name));
    let table = std::fs::read_to_string(&path).unwrap();
    let (mut found, mut disagreements) = (String::new(), String::new());
    for row in table.lines() {
        if row.starts_with('#') {
            let _ = writeln!(found, "{row}");
            continue;
        }
        let (_, request) = row.split_once(' ').unwrap();
        let (procedure, resource) = request.split_once(' ').unwrap();
        let of_procedure = (procedure != "-").then(|| decided(dialect, "POST", &format!("/{procedure}")));
        let of_resource = resource.split_once(' ').map(|(method, path)| decided(dialect, method, &filled(path)));
        if let (Some(procedure), Some(resource)) = (of_procedure, of_resource)
            && procedure != resource
        {
            let _ = writeln!(disagreements, "{request}: {procedure} as a procedure, {resource} as a resource");
        }
        let verdict = of_procedure.or(of_resource).unwrap();
        let _ = writeln!(found, "{verdict} {request}");
    }
    assert!(disagreements.is_empty(), "{disagreements}");
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, found).unwrap();
    } else {
        assert_eq!(found, table, "{}", path.display());
    }
}

#[test]
fn every_write_of_each_provider_is_classified() {
    DIALECTS.iter().for_each(|dialect| check(dialect));
}

/// A simulated instance, and a gateway before it that verifies the instance's JWTs and leaves other tokens to it.
struct Guarded {
    _runtime: Runtime,
    zitadel: Zitadel,
    gateway: Gateway,
}

impl Guarded {
    fn start(options: Options) -> Guarded {
        let runtime = Runtime::new().unwrap();
        let zitadel = runtime.block_on(Zitadel::start("127.0.0.1:0".parse().unwrap(), options, None)).unwrap();
        let (url, audience) = (zitadel.url(), zitadel.instance().audience());
        let auth = format!("{{ issuer: \"{url}\", audience: \"{audience}\", algorithms: [ES256], opaque: forward }}");
        let upstream = format!("    dialect: zitadel\n    url: {url}\n    auth: {auth}\n    cache: {{}}\n");
        let gateway = Gateway::start(&format!("upstreams:\n  idp:\n{upstream}"));
        gateway.ready();
        Guarded { _runtime: runtime, zitadel, gateway }
    }

    /// Where the response to a read of a session comes from, and its status.
    fn read(&self, token: &str, id: &str) -> (String, u16) {
        let response = Request::new("GET", &format!("/v2/sessions/{id}")).bearer(token).send(&self.gateway.url());
        let from = response.header("cache-status").unwrap_or_default().split(';').nth(1).unwrap_or_default();
        (from.trim().to_owned(), response.status)
    }

    /// A cached session.
    fn cached(&self, token: &str) -> String {
        let made = self.zitadel.instance().create_session();
        assert_eq!(self.read(token, &made.id), ("fwd=miss".to_owned(), 200));
        assert_eq!(self.read(token, &made.id), ("hit".to_owned(), 200));
        made.id
    }
}

/// The same call on every carrier that goes over HTTP/1.
fn calls(procedure: &str, body: &Value, proto: &[u8]) -> Vec<(&'static str, Request)> {
    let path = format!("/{procedure}");
    let call = |kind: &str, body: Vec<u8>| Request::new("POST", &path).header("Content-Type", kind).body(body);
    vec![
        ("connect", call("application/json", body.to_string().into_bytes())),
        ("connect proto", call("application/proto", proto.to_vec())),
        ("grpc-web", call("application/grpc-web+proto", frame(proto))),
        ("grpc-web json", call("application/grpc-web+json", frame(body.to_string().as_bytes()))),
    ]
}

/// The JWTs of an instance have no scopes, so the gateway cannot know who may write. Any write that the instance
/// accepts invalidates.
#[test]
fn zitadel_writes_invalidate_for_verified_and_unverified_callers() {
    let guarded = Guarded::start(Options::default());
    let (instance, tokens) = (guarded.zitadel.instance(), guarded.zitadel.tokens());
    let user = instance.user_id();
    let own = instance.sign(json!({ "sub": user }));
    let (id, org) = (field(1, user.as_bytes()), instance.org_id());
    let mut rows: Vec<(String, Request, &str)> = Vec::new();
    for (name, token) in [("jwt", tokens.jwt.as_str()), ("pat", tokens.owner.as_str())] {
        for (method, path) in [
            ("POST", format!("/v2/users/{user}/lock")),
            ("POST", format!("/v2/users/{user}/password")),
            ("DELETE", format!("/v2beta/users/{user}")),
            ("POST", format!("/management/v1/users/{user}/_deactivate")),
            ("DELETE", format!("/management/v1/users/{user}")),
            ("POST", "/management/v1/orgs/me/_deactivate".to_owned()),
            ("DELETE", "/management/v1/orgs/me".to_owned()),
            ("POST", format!("/v2beta/organizations/{org}/deactivate")),
            ("DELETE", format!("/v2beta/organizations/{org}")),
        ] {
            rows.push((format!("{name} {method} {path}"), Request::new(method, &path).json("{}"), token));
        }
        for (procedure, body) in [
            ("zitadel.user.v2.UserService/LockUser", json!({ "userId": user })),
            ("zitadel.user.v2beta.UserService/DeleteUser", json!({ "userId": user })),
            ("zitadel.management.v1.ManagementService/RemoveUser", json!({ "id": user })),
        ] {
            for (carrier, call) in calls(procedure, &body, &id) {
                rows.push((format!("{name} {procedure} over {carrier}"), call, token));
            }
        }
    }
    rows.push(("RemoveMyUser".to_owned(), Request::new("DELETE", "/auth/v1/users/me"), &own));
    rows.push(("a password".to_owned(), Request::new("PUT", "/auth/v1/users/me/password").json("{}"), &own));
    for (carrier, call) in calls("zitadel.auth.v1.AuthService/RemoveMyUser", &json!({}), b"") {
        rows.push((format!("RemoveMyUser over {carrier}"), call, &own));
    }
    for (name, request, token) in rows {
        let session = guarded.cached(&tokens.jwt);
        let done = request.bearer(token).send(&guarded.gateway.url());
        assert_eq!((done.status, done.header("grpc-status")), (200, None), "{name}: {}", done.text());
        let (from, status) = guarded.read(&tokens.jwt, &session);
        let ended = !name.contains("password");
        assert_eq!((from.as_str(), status), ("fwd=miss", if ended { 404 } else { 200 }), "{name}");
    }
}

#[test]
fn searches_and_denied_writes_do_not_invalidate() {
    let guarded = Guarded::start(Options::default());
    let (instance, tokens) = (guarded.zitadel.instance(), guarded.zitadel.tokens());
    let session = guarded.cached(&tokens.jwt);
    let user = instance.user_id();
    let mut rows = vec![
        ("ListUsers", Request::new("POST", "/v2/users").json("{}"), 200),
        ("a search", Request::new("POST", "/management/v1/users/_search").json("{}"), 200),
        ("a read", Request::new("GET", &format!("/v2/users/{user}")), 200),
        ("nobody", Request::new("POST", &format!("/v2/users/{user}/lock")).bearer("nobody's").json("{}"), 401),
        ("a viewer", Request::new("POST", &format!("/v2/users/{user}/lock")).bearer(&tokens.viewer).json("{}"), 403),
    ];
    for (carrier, call) in calls("zitadel.management.v1.ManagementService/ListUsers", &json!({}), b"") {
        rows.push((carrier, call, 200));
    }
    for (name, request, status) in rows {
        let request = if status == 200 { request.bearer(&tokens.jwt) } else { request };
        assert_eq!(request.send(&guarded.gateway.url()).status, status, "{name}");
        assert_eq!(guarded.read(&tokens.jwt, &session), ("hit".to_owned(), 200), "{name}");
    }
    // Verified, but without scopes.
    let missing = Request::new("DELETE", "/v2/users/none").bearer(&tokens.jwt).send(&guarded.gateway.url());
    assert_eq!(missing.status, 404);
    assert_eq!(guarded.read(&tokens.jwt, &session), ("hit".to_owned(), 200), "who names what is not there");
}

/// A failed check may change more than the session that it names. That session is invalidated. If the response says
/// that the user is locked, all sessions are.
#[test]
fn failed_checks_invalidate() {
    let guarded = Guarded::start(Options { password_attempts: Some(2), ..Options::default() });
    let (instance, tokens) = (guarded.zitadel.instance(), guarded.zitadel.tokens());
    let token = tokens.jwt.as_str();
    let (named, other) = (guarded.cached(token), guarded.cached(token));
    let wrong = json!({ "checks": { "password": { "password": "wrong" } } });
    let check = |id: &str| {
        let request = Request::new("PATCH", &format!("/v2/sessions/{id}")).bearer(token).json(&wrong.to_string());
        let response = request.send(&guarded.gateway.url());
        (response.status, response.text())
    };
    assert_eq!(check(&named).0, 400);
    assert_eq!(guarded.read(token, &named), ("fwd=miss".to_owned(), 200), "what it names");
    assert_eq!(guarded.read(token, &other), ("hit".to_owned(), 200), "nothing else");
    let (status, text) = check(&named);
    assert!(status == 400 && text.contains("COMMAND-3M0fs"), "{text}");
    assert_eq!(guarded.read(token, &named), ("fwd=miss".to_owned(), 404), "the second one has locked the user");
    assert_eq!(guarded.read(token, &other), ("hit".to_owned(), 200), "the response does not say so: `ttl` bounds it");
    let (status, text) = check(&named);
    assert!(status == 400 && text.contains("COMMAND-JLK35"), "{text}");
    assert_eq!(guarded.read(token, &other), ("fwd=miss".to_owned(), 404), "this one has said so");
    let missing = Request::new("PATCH", "/v2/sessions/none").bearer(&tokens.viewer).json(&wrong.to_string());
    assert_eq!(missing.send(&guarded.gateway.url()).status, 403);
    drop(instance.mails());
}

/// The error invalidates all sessions on every carrier, also if the request names no session.
#[test]
fn locked_user_invalidates_on_every_carrier() {
    let guarded = Guarded::start(Options::default());
    let (instance, tokens) = (guarded.zitadel.instance(), guarded.zitadel.tokens());
    let user = instance.user_id();
    let known = instance.create_session().id;
    let lock = Request::new("POST", &format!("/v2/users/{user}/lock")).bearer(&tokens.jwt).json("{}");
    assert_eq!(lock.send(&guarded.gateway.url()).status, 200);
    let password = field(1, b"wrong");
    let proto = [field(1, known.as_bytes()), field(3, &field(2, &password))].concat();
    let body = json!({ "sessionId": known, "checks": { "password": { "password": "wrong" } } });
    for (carrier, call) in calls("zitadel.session.v2.SessionService/SetSession", &body, &proto) {
        let session = guarded.cached(&tokens.jwt);
        call.bearer(&tokens.jwt).send(&guarded.gateway.url());
        assert_eq!(guarded.read(&tokens.jwt, &session).0, "fwd=miss", "{carrier}");
    }
}

/// A logout needs no credential. It passes through, and invalidates only the session in an ID token of the provider.
#[test]
fn logout_invalidates_the_session_in_its_id_token() {
    let guarded = Guarded::start(Options::default());
    let (instance, tokens) = (guarded.zitadel.instance(), guarded.zitadel.tokens());
    let token = tokens.jwt.as_str();
    let other = guarded.cached(token);
    let form = |hint: &str| {
        let request = Request::new("POST", "/oidc/v1/end_session");
        request
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("state=a&id_token_hint={hint}"))
    };
    let query = |hint: &str| Request::new("GET", &format!("/oidc/v1/end_session?id_token_hint={hint}&state=a"));
    let spelled = |hint: &str| Request::new("GET", &format!("/oidc/v1/%65nd%5fsession?id_token_hint={hint}"));
    let all = [("a query", &query as &dyn Fn(&str) -> Request), ("a form", &form), ("another spelling", &spelled)];
    for (name, logout) in all {
        let session = guarded.cached(token);
        let hint = instance.id_token(&session);
        let (signed, signature) = hint.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        let forged = format!("{signed}.{first}{}", &signature[1..]);
        let foreign = instance.sign(json!({ "iss": "https://other.example", "sid": session }));
        for (what, hint) in
            [("nothing", ""), ("forged", &forged), ("no session", token), ("no id", &instance.id_token("a/b"))]
        {
            let done = logout(hint).send(&guarded.gateway.url());
            assert_eq!((done.status, done.header("location")), (302, Some("/ui/login/logout/done")), "{name}, {what}");
            assert_eq!(guarded.read(token, &session), ("hit".to_owned(), 200), "{name}, {what}");
        }
        assert_eq!(logout(&foreign).send(&guarded.gateway.url()).status, 302);
        assert_eq!(
            guarded.read(token, &session).0,
            "hit",
            "{name}: another issuer's, whatever the provider makes of it"
        );
        let named = guarded.cached(token);
        assert_eq!(logout(&instance.id_token(&named)).send(&guarded.gateway.url()).status, 302);
        assert_eq!(guarded.read(token, &named), ("fwd=miss".to_owned(), 404), "{name}");
        assert_eq!(guarded.read(token, &other), ("hit".to_owned(), 200), "{name}: nothing else");
    }
    // The gateway cannot know which of several values the provider uses.
    let named: Vec<(String, String)> =
        (0..4).map(|_| guarded.cached(token)).map(|id| (instance.id_token(&id), id)).collect();
    let [(a, _), (b, _), (c, _), (d, _)] = named.as_slice() else { unreachable!() };
    let both = Request::new("POST", &format!("/oidc/v1/end_session?id_token_hint={a}&id_token_hint={b}"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("id_token_hint={c}&id_token_hint={d}"));
    assert_eq!(both.send(&guarded.gateway.url()).status, 302);
    for (_, session) in &named {
        assert_eq!(guarded.read(token, session).0, "fwd=miss");
    }
    assert_eq!(guarded.read(token, &other), ("hit".to_owned(), 200), "nothing else");
    let head = Request::new("HEAD", "/oidc/v1/end_session").send(&guarded.gateway.url());
    assert_eq!(head.status, 302);
}

/// Also a logout is rejected in the shape of its provider, and counted for its upstream.
#[test]
fn rejected_logout_has_the_shape_and_label_of_its_provider() {
    let guarded = Guarded::start(Options::default());
    let response = Request::new("POST", "/oidc/v1/end_session")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("state={}", "a".repeat(2 << 20)))
        .send(&guarded.gateway.url());
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!((response.status, &body["code"]), (413, &json!(8)), "{body}");
    let metrics = guarded.gateway.metrics_when_idle();
    let labels = ["sessiongate_rejections_total{", "reason=\"too_large\"", "upstream=\"idp\""];
    let counted = |line: &str| labels.iter().all(|label| line.contains(label)) && line.ends_with(" 1");
    assert!(metrics.lines().any(counted), "{metrics}");
}
