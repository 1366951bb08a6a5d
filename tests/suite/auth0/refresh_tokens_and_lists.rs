//! The rest of Auth0's session API on real sockets: refresh tokens, operations on users, and lists.

use crate::harness::recorder::{Call, Recorder, Then, session};
use crate::harness::replica::Replica;
use crate::harness::{Gateway, RedisServer, Request, Response, Tenant, redis_installed};
use serde_json::{Value, json};
use sessiongate::sandbox::auth0::Options;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIST: &str = "/api/v2/users/auth0%7Cx/sessions";

/// A tenant that still returns deleted sessions for as long as a test may take.
fn slow_tenant() -> Tenant {
    Tenant::start_with(Options { rate: None, delete_delay: Duration::from_secs(3600), ..Options::default() })
}

fn list_path(tenant: &Tenant) -> String {
    format!("/api/v2/users/{}/sessions", tenant.user_id().replace('|', "%7C"))
}

fn ids(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{}", response.text());
    let body = response.json();
    let sessions = body.get("sessions").unwrap_or(&body).as_array().unwrap().clone();
    sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn list_omits_sessions_deleted_through_the_gateway() {
    let tenant = slow_tenant();
    let gateway = Gateway::start(&tenant.upstream("cache: { ttl: 5m }"));
    gateway.ready();
    let (token, list) = (tenant.token(), list_path(&tenant));
    let send = |request: Request, url: &str| request.bearer(&token).send(url);
    let made: Vec<String> = (0..4).map(|_| tenant.create_session()).collect();
    let all = ids(&send(Request::new("GET", &list), &gateway.url()));
    assert_eq!((all.len(), all[0].as_str()), (5, tenant.session_id()));
    let access = list.replace("/sessions", "/revoke-access");
    for request in [
        Request::new("DELETE", &format!("/api/v2/sessions/{}", made[0])),
        Request::new("POST", &format!("/api/v2/sessions/{}/revoke", made[1])),
        Request::new("POST", &access).json(&format!("{{\"session_id\":\"{}\"}}", made[2])),
    ] {
        assert_eq!(send(request, &gateway.url()).status, 202);
    }
    let left = [tenant.session_id().to_owned(), made[3].clone()];
    let through = send(Request::new("GET", &list), &gateway.url());
    assert_eq!(ids(&through), left);
    let straight = send(Request::new("GET", &list), &tenant.url());
    assert_eq!(ids(&straight), all, "the tenant still shows them");
    for id in &all {
        let single = send(Request::new("GET", &format!("/api/v2/sessions/{id}")), &gateway.url());
        assert_eq!(single.status, if left.contains(id) { 200 } else { 404 }, "as each by itself");
    }
    // Page by page: the cursor is the provider's.
    let first = send(Request::new("GET", &format!("{list}?take=2")), &gateway.url());
    assert_eq!(ids(&first), left[..1]);
    let next = first.json()["next"].as_str().unwrap().to_owned();
    let rest = send(Request::new("GET", &format!("{list}?take=50&from={next}")), &gateway.url());
    assert_eq!(ids(&rest), left[1..]);
}

/// A gateway before a provider whose list the test writes.
struct Listed {
    body: Arc<Mutex<(String, String)>>,
    recorder: Recorder,
    gateway: Gateway,
}

impl Listed {
    fn start(more: &str) -> Listed {
        let body = Arc::new(Mutex::new((String::new(), String::new())));
        let own = body.clone();
        let recorder = Recorder::start(move |call: &mut Call| -> io::Result<Then> {
            call.body()?;
            let (head, body) = own.lock().unwrap().clone();
            if call.seen.target.starts_with(LIST) { call.response(200, &head, &body) } else { call.as_auth0() }
        });
        let gateway = Gateway::start(&recorder.upstream(more));
        gateway.ready();
        Listed { body, recorder, gateway }
    }

    fn send(&self, method: &str, path: &str) -> Response {
        Request::new(method, path).bearer(&self.recorder.token()).send(&self.gateway.url())
    }

    fn list(&self, head: &str, body: &str) -> Response {
        *self.body.lock().unwrap() = (head.into(), body.into());
        self.send("GET", LIST)
    }
}

#[test]
fn remaining_list_items_keep_their_bytes() {
    let listed = Listed::start("cache: { ttl: 5m }");
    for gone in ["gone1", "gone2"] {
        assert_eq!(listed.send("DELETE", &format!("/api/v2/sessions/{gone}")).status, 202);
    }
    for (list, left) in [
        (r#"{"sessions":[]}"#, r#"{"sessions":[]}"#),
        (r#"{"sessions":[{"id":"gone1"}]}"#, r#"{"sessions":[]}"#),
        (r#"{"sessions":[{"id":"gone1"},{"id":"gone2"}],"next":"a"}"#, r#"{"sessions":[],"next":"a"}"#),
        (r#"{"sessions":[{"id":"gone1"}, {"id":"a", "x" : 1.50}]}"#, r#"{"sessions":[{"id":"a", "x" : 1.50}]}"#),
        (r#"{"sessions":[{"id":"a"},{"id":"gone2"}]}"#, r#"{"sessions":[{"id":"a"}]}"#),
        (
            r#"{ "total":4, "sessions":[ {"id":"a"} , {"id":"gone1"} , {"id":"gone2"} , {"x":"gone1","id":"b"} ] }"#,
            r#"{ "total":4, "sessions":[ {"id":"a"} , {"x":"gone1","id":"b"} ] }"#,
        ),
        (r#"[{"id":"a"},{"id":"gone1"}]"#, r#"[{"id":"a"}]"#),
        // What no id of a session is was never deleted here.
        (
            r#"{"sessions":[{"id":"gone1/"},{"id":""},{"id":"gone\u0031"}]}"#,
            r#"{"sessions":[{"id":"gone1/"},{"id":""}]}"#,
        ),
        (
            r#"{"sessions":[{"id":"a"}],"unknown":{"b":[{"id":"gone1"}]}}"#,
            r#"{"sessions":[{"id":"a"}],"unknown":{"b":[{"id":"gone1"}]}}"#,
        ),
    ] {
        let response = listed.list("", list);
        assert_eq!((response.status, response.text().as_str()), (200, left), "{list}");
        assert_eq!(response.header("Content-Length"), Some(left.len().to_string().as_str()));
    }
}

#[test]
fn largest_list_of_the_api_is_parsed() {
    let listed = Listed::start("cache: { ttl: 5m }");
    let metadata: Value = (0..25).map(|n| (format!("{n:0>255}"), json!("v".repeat(255)))).collect();
    let sessions: Vec<Value> = (0..100)
        .map(|n| {
            let mut one = session(&metadata);
            one["id"] = json!(format!("s{n}"));
            one["clients"] = json!(vec![json!({"client_id": "c"}); 20]);
            one["device"] = json!({"initial_ip": "203.0.113.7", "last_ip": "203.0.113.7"});
            one
        })
        .collect();
    assert_eq!(listed.send("DELETE", "/api/v2/sessions/s50").status, 202);
    let response = listed.list("", &json!({ "sessions": sessions }).to_string());
    let left = ids(&response);
    assert_eq!((left.len(), left.contains(&"s50".to_owned())), (99, false));
}

#[test]
fn unparsable_list_is_rejected() {
    let unreadable = [
        ("", "<html>"),
        ("", ""),
        ("", "null"),
        ("", r#"{"sessions":null}"#),
        ("", r#"{"sessions":{"id":"a"}}"#),
        ("", r#"{"items":[{"id":"a"}]}"#),
        ("", r#"{"sessions":[{"x":"a"}]}"#),
        ("", r#"{"sessions":[{"id":1}]}"#),
        ("", r#"{"sessions":["a"]}"#),
        ("", r#"{"sessions":[{"id":"a","id":"b"}]}"#),
        ("Content-Encoding: gzip\r\n", "\u{1f}\u{fffd}\u{8}"),
    ];
    let listed = Listed::start("cache: {}");
    for (head, body) in unreadable {
        let response = listed.list(head, body);
        assert_eq!((response.status, &response.json()["statusCode"]), (502, &json!(502)), "{body}");
    }
    let many: Vec<Value> = (0..1001).map(|n| json!({ "id": n.to_string() })).collect();
    assert_eq!(listed.list("", &json!({ "sessions": many }).to_string()).status, 502, "more than a page");
    // Where nothing is cached nothing is hidden, and nothing looked for.
    let plain = Listed::start("");
    for (head, body) in unreadable {
        let response = plain.list(head, body);
        assert_eq!((response.status, response.text().as_str()), (200, body));
    }
}

#[test]
fn provider_rejection_of_a_list_is_forwarded_unchanged() {
    let recorder = Recorder::start(|call: &mut Call| call.response(404, "X-Own: a\r\n", "no JSON"));
    let gateway = Gateway::start(&recorder.upstream("cache: {}"));
    gateway.ready();
    let response = Request::new("GET", LIST).bearer(&recorder.token()).send(&gateway.url());
    assert_eq!((response.status, response.text().as_str(), response.header("X-Own")), (404, "no JSON", Some("a")));
}

#[test]
fn list_requests_are_forwarded_without_range_or_conditions() {
    let listed = Listed::start("cache: {}");
    *listed.body.lock().unwrap() = (String::new(), r#"{"sessions":[]}"#.into());
    let target = format!("{LIST}?include_totals=true&take=50&from=a%3D");
    let request = Request::new("GET", &target).bearer(&listed.recorder.token());
    let request =
        request.header("Range", "bytes=0-9").header("If-None-Match", "\"a\"").header("Accept-Encoding", "gzip");
    assert_eq!(request.send(&listed.gateway.url()).status, 200);
    assert_eq!(listed.send("GET", &target).status, 200);
    let seen = listed.recorder.seen();
    assert_eq!(seen.len(), 2, "a list is never cached");
    for name in ["Range", "If-None-Match"] {
        assert!(seen[0].all(name).is_empty(), "{name}");
    }
    assert_eq!(seen[0].all("Accept-Encoding"), ["identity"]);
    assert_eq!(seen[0].target, target);
}

#[test]
fn refresh_tokens_are_never_cached() {
    let recorder = Recorder::start(|call: &mut Call| call.json(200, &json!({ "id": "t1", "turn": call.turn })));
    let gateway = Gateway::start(&recorder.upstream("cache: {}"));
    gateway.ready();
    for turn in 0..2 {
        let response = Request::new("GET", "/api/v2/refresh-tokens/t1").bearer(&recorder.token()).send(&gateway.url());
        assert_eq!((response.json()["turn"].as_u64(), response.header("Cache-Status")), (Some(turn), None));
    }
}

#[test]
fn protected_keys_are_read_from_the_refresh_token() {
    let recorder = Recorder::start(|call: &mut Call| {
        call.body()?;
        match (call.seen.method.as_str(), call.seen.target.as_str()) {
            ("GET", "/api/v2/refresh-tokens/t1") => {
                call.json(200, &json!({ "id": "t1", "refresh_token_metadata": { "tenant": "acme" }, "session_metadata": { "tenant": "x" } }))
            }
            ("GET", _) => call.json(404, &json!({ "statusCode": 404, "error": "Not Found", "message": "gone" })),
            _ => call.json(200, &json!({})),
        }
    });
    let policies = "policies: { p: { keys: { protected: [tenant] } } }\n";
    let gateway = Gateway::start(&(recorder.upstream("policy: p") + policies));
    gateway.ready();
    let patch = |id: &str, tenant: &str| {
        let body = format!("{{\"refresh_token_metadata\":{{\"tenant\":\"{tenant}\",\"a\":\"b\"}}}}");
        let request = Request::new("PATCH", &format!("/api/v2/refresh-tokens/{id}")).bearer(&recorder.token());
        request.json(&body).send(&gateway.url())
    };
    assert_eq!(patch("t1", "acme").status, 200);
    let rejected = patch("t1", "other");
    assert_eq!(rejected.status, 400);
    assert!(rejected.text().contains("refresh_token_metadata.tenant: is protected"), "{}", rejected.text());
    let gone = patch("t2", "acme");
    assert_eq!((gone.status, &gone.json()["message"]), (404, &json!("gone")), "the provider's response to the read");
    assert_eq!(recorder.count_of("PATCH"), 1);
}

/// A client without a credential cannot make reads bypass the cache, whatever the provider responds.
#[test]
fn user_wide_write_without_credential_sets_no_invalidation_mark() {
    let recorder = Recorder::start(|call: &mut Call| match call.seen.method.as_str() {
        "GET" => call.as_auth0(),
        _ => call.json(500, &json!({ "statusCode": 500 })),
    });
    let gateway = Gateway::start(&recorder.upstream_as("none", "cache: {}"));
    let get = || {
        let request = Request::new("GET", "/api/v2/sessions/375UIp_ID5mCTClIeBEHpXfGwq51tF_L");
        let response = request.header("Authorization", "Bearer a").send(&gateway.url());
        response.header("Cache-Status").unwrap_or_default().to_owned()
    };
    get();
    assert_eq!(Request::new("DELETE", LIST).send(&gateway.url()).status, 500);
    assert!(get().starts_with("sessiongate; hit"));
    assert_eq!(Request::new("DELETE", LIST).header("Authorization", "Bearer a").send(&gateway.url()).status, 500);
    assert_eq!(get(), "sessiongate; fwd=bypass", "its outcome is not known");
}

/// Replicas share deletions through the store. If the store fails, lists are forwarded unchanged.
#[test]
fn list_omits_sessions_deleted_through_another_replica() {
    if !redis_installed() {
        return;
    }
    let mut server = RedisServer::start();
    let tenant = slow_tenant();
    let made: Vec<String> = (0..70).map(|_| tenant.create_session()).collect();
    let (token, list) = (tenant.token(), format!("{}?take=100", list_path(&tenant)));
    let store = |more: &str| {
        format!(
            "hash_key: {{ env: HASH }}\nstore: {{ redis: {{ url: \"{}\", seal_keys: [{{ env: SEAL }}], settle: 0s, timeouts: {{ read: 2s, write: 2s }}{more} }} }}\n{}",
            server.url(),
            tenant.upstream("cache: { ttl: 5m }")
        )
    };
    let (one, two) = (Replica::start(&store(""), &token), Replica::start(&store(", max_in_flight: 8"), &token));
    let send = |replica: &Replica, method: &str, path: &str| {
        Request::new(method, path).bearer(&token).send(&replica.gateway.url())
    };
    assert_eq!(ids(&send(&two, "GET", &list)).len(), 71);
    for id in [&made[0], &made[35], &made[69]] {
        assert_eq!(send(&one, "DELETE", &format!("/api/v2/sessions/{id}")).status, 202);
    }
    for replica in [&one, &two] {
        let left = ids(&send(replica, "GET", &list));
        assert_eq!(left.len(), 68);
        assert!(!left.contains(&made[0]) && !left.contains(&made[35]) && !left.contains(&made[69]));
    }
    server.kill();
    assert_eq!(ids(&send(&two, "GET", &list)).len(), 71, "as for single reads: the provider's response");
    assert_eq!(two.event("bypass_failed"), 1);
}
