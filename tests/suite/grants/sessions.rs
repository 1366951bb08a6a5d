//! Sessions that a grant limits to the caller's own, on real sockets and against providers that show everything.

use crate::harness::grpc::{field, frame};
use crate::harness::{Gateway, Instance, Request, Response, Tenant};
use serde_json::{Value, json};

const SERVICE: &str = "/zitadel.session.v2.SessionService";

/// What a client can tell two responses apart by.
fn shown(response: &Response) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let told = |name: &str| !["x-request-id", "date"].contains(&name.to_ascii_lowercase().as_str());
    let headers = response.headers.iter().filter(|(name, _)| told(name)).cloned().collect();
    (response.status, headers, response.body.clone())
}

/// A gateway before a tenant, whose callers have the sessions of this scope.
struct Auth0 {
    tenant: Tenant,
    gateway: Gateway,
}

impl Auth0 {
    fn start(sessions: &str) -> Auth0 {
        let tenant = Tenant::start();
        let grant = format!("{{ name: g, operations: \"*\", sessions: {sessions} }}");
        let gateway = Gateway::start(&tenant.upstream(&format!("cache: {{ ttl: 5m }}\ngrants: [{grant}]")));
        gateway.ready();
        Auth0 { tenant, gateway }
    }

    /// Sends a request of a user in a session.
    fn send(&self, user: &str, session: &str, request: Request) -> Response {
        let token = self.tenant.sign(json!({ "sub": user, "sid": session }));
        request.bearer(&token).send(&self.gateway.url())
    }

    fn path(&self, end: &str) -> String {
        format!("/api/v2/users/{}/{end}", self.tenant.user_id().replace('|', "%7C"))
    }
}

fn get(path: &str) -> Request {
    Request::new("GET", path)
}

#[test]
fn a_foreign_session_and_a_missing_one_look_the_same() {
    for scope in ["own", "user"] {
        let world = Auth0::start(scope);
        let (own, user) = (world.tenant.session_path(), world.tenant.user_id().to_owned());
        let id = world.tenant.session_id().to_owned();
        // The caller's own session is read, from the tenant and from the cache.
        for cache in ["fwd=miss; stored", "hit"] {
            let response = world.send(&user, &id, get(&own));
            assert_eq!(response.status, 200, "{}", response.text());
            assert!(response.header("cache-status").unwrap().contains(cache));
        }
        let missing = "/api/v2/sessions/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        let writes = |path: &str| {
            vec![
                get(path),
                Request::new("PATCH", path).json(r#"{"session_metadata":{"a":"1"}}"#),
                Request::new("DELETE", path),
                Request::new("POST", &format!("{path}/revoke")),
            ]
        };
        for (foreign, missing) in writes(&own).into_iter().zip(writes(missing)) {
            let [foreign, missing] =
                [foreign, missing].map(|request| shown(&world.send("auth0|other", "other", request)));
            assert_eq!(foreign, missing, "{scope}");
            assert_eq!(foreign.0, 404);
        }
        // Nothing has happened to it.
        assert_eq!(world.send(&user, &id, get(&own)).json()["session_metadata"]["a"], Value::Null);
        assert_eq!(world.send(&user, &id, Request::new("DELETE", &own)).status, 202);
    }
}

#[test]
fn an_own_session_is_reached_without_a_read() {
    let world = Auth0::start("own");
    let (path, id) = (world.tenant.session_path(), world.tenant.session_id().to_owned());
    let before = world.tenant.calls();
    assert_eq!(world.send("auth0|other", "other", get(&path)).status, 404);
    assert_eq!(world.tenant.calls(), before, "nothing is read");
    let patch = Request::new("PATCH", &path).json(r#"{"session_metadata":{"a":"1"}}"#);
    assert_eq!(world.send(world.tenant.user_id(), &id, patch).status, 200);
    assert_eq!(world.tenant.calls(), before + 1);
    for request in [get(&world.path("sessions")), Request::new("DELETE", &world.path("sessions"))] {
        assert_eq!(world.send(world.tenant.user_id(), &id, request).status, 403);
    }
    assert_eq!(world.tenant.calls(), before + 1);
}

#[test]
fn lists_and_revocations_are_bound_to_the_subject() {
    let world = Auth0::start("user");
    let user = world.tenant.user_id().to_owned();
    world.tenant.create_session();
    let requests = || {
        vec![
            get(&world.path("sessions")),
            get(&world.path("refresh-tokens")),
            get(&format!("/api/v2/refresh-tokens?user_id={}", user.replace('|', "%7C"))),
            Request::new("DELETE", &world.path("refresh-tokens")),
            Request::new("POST", &world.path("revoke-access")),
            Request::new("DELETE", &world.path("sessions")),
        ]
    };
    for request in requests() {
        let response = world.send("auth0|other", "", request);
        assert_eq!(response.status, 403);
        assert_eq!(response.json()["message"], "Not granted: sessions of other users.");
    }
    let list = world.send(&user, "", get(&world.path("sessions"))).json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    for request in requests() {
        let response = world.send(&user, "", request);
        assert!(matches!(response.status, 200 | 202), "{}", response.text());
    }
}

/// A gateway before a simulated instance, whose callers have the sessions of this scope.
struct Idp {
    zitadel: Instance,
    gateway: Gateway,
}

impl Idp {
    fn start(sessions: &str) -> Idp {
        let zitadel = Instance::start();
        let grants = format!("    grants: [{{ name: g, operations: \"*\", sessions: {sessions} }}]\n");
        let gateway = zitadel.gateway(&format!("    cache: {{}}\n{grants}"));
        Idp { zitadel, gateway }
    }

    /// Sends a request of a user; `None` for the owner of the instance, who sees every session.
    fn send(&self, user: Option<&str>, request: Request) -> Response {
        let instance = self.zitadel.instance();
        let token = instance.sign(user.map_or_else(|| json!({}), |user| json!({ "sub": user })));
        request.bearer(&token).send(&self.gateway.url())
    }
}

/// The same call on every carrier over HTTP/1: REST, Connect and gRPC-web, each with both encodings.
fn carriers(rest: Request, procedure: &str, json: &Value, proto: &[u8]) -> Vec<(&'static str, Request)> {
    let path = format!("{SERVICE}/{procedure}");
    let call = |kind: &str, body: Vec<u8>| Request::new("POST", &path).header("Content-Type", kind).body(body);
    let json = json.to_string().into_bytes();
    vec![
        ("rest", rest),
        ("connect", call("application/json", json.clone())),
        ("connect proto", call("application/proto", proto.to_vec())),
        ("grpc-web", call("application/grpc-web+proto", frame(proto))),
        ("grpc-web json", call("application/grpc-web+json", frame(&json))),
    ]
}

fn reads(id: &str) -> Vec<(&'static str, Request)> {
    carriers(get(&format!("/v2/sessions/{id}")), "GetSession", &json!({ "sessionId": id }), &field(1, id.as_bytes()))
}

fn lists(user: &str) -> Vec<(&'static str, Request)> {
    let query = json!({ "queries": [{ "userIdQuery": { "id": user } }] });
    let rest = Request::new("POST", "/v2/sessions/search").json(&query.to_string());
    carriers(rest, "ListSessions", &query, &field(2, &field(2, &field(1, user.as_bytes()))))
}

/// Whether a response says that the caller may not, in whatever carrier.
fn is_denied(response: &Response) -> bool {
    response.status == 403 || response.text().contains("grpc-status: 7")
}

#[test]
fn every_carrier_gives_one_response_for_foreign_and_missing_sessions() {
    let idp = Idp::start("user");
    let instance = idp.zitadel.instance();
    let (id, user) = (instance.create_session().id, instance.user_id());
    for (carrier, request) in reads(&id) {
        let response = idp.send(Some(&user), request);
        assert_eq!(response.status, 200, "{carrier}: {}", response.text());
        assert!(response.body.windows(id.len()).any(|part| part == id.as_bytes()), "{carrier}");
    }
    for caller in [Some("another"), None] {
        for ((carrier, foreign), (_, missing)) in reads(&id).into_iter().zip(reads("999999999999999999")) {
            // The second time a hit, if there was something to store.
            for _ in 0..2 {
                let foreign = shown(&idp.send(caller, foreign.clone()));
                assert_eq!(foreign, shown(&idp.send(caller, missing.clone())), "{carrier}");
                assert!(!foreign.2.windows(id.len()).any(|part| part == id.as_bytes()), "{carrier}");
            }
        }
    }
}

#[test]
fn every_carrier_lists_only_sessions_of_the_subject() {
    let idp = Idp::start("user");
    let instance = idp.zitadel.instance();
    let (id, user) = (instance.create_session().id, instance.user_id());
    let has = |response: &Response| response.body.windows(id.len()).any(|part| part == id.as_bytes());
    for (carrier, request) in lists(&user) {
        let own = idp.send(Some(&user), request.clone());
        assert!(own.status == 200 && has(&own), "{carrier}: {}", own.text());
        let foreign = idp.send(None, request);
        assert!(is_denied(&foreign) && !has(&foreign), "{carrier}: {} {}", foreign.status, foreign.text());
    }
    let everything = json!({}).to_string();
    let unbound = idp.send(Some(&user), Request::new("POST", "/v2/sessions/search").json(&everything));
    assert_eq!(unbound.status, 403);
    let own = Idp::start("own");
    for (carrier, request) in lists(&user) {
        let listed = own.send(Some(&user), request);
        assert!(is_denied(&listed), "{carrier}");
    }
}

#[test]
fn a_session_is_created_for_the_subject_alone() {
    let idp = Idp::start("user");
    let instance = idp.zitadel.instance();
    let (user, login) = (instance.user_id(), instance.login_name());
    let create = |check: Value| {
        let body = json!({ "checks": { "user": check } });
        let request = Request::new("POST", "/v2/sessions").json(&body.to_string());
        idp.send(None, request).status
    };
    assert_eq!(create(json!({ "userId": user })), 403, "the owner of the instance is another user");
    assert_eq!(create(json!({ "loginName": login })), 403);
    let body = json!({ "checks": { "user": { "userId": user } } }).to_string();
    let as_user = idp.send(Some(&user), Request::new("POST", "/v2/sessions").json(&body));
    // The gateway forwards it. Whether this user may create sessions is the instance's decision.
    assert_ne!(as_user.json()["message"].as_str(), Some("not granted: sessions of other users"));
}
