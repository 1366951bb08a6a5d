//! What is shared between upstreams of one provider, between callers of one fetch, and with unverified callers.

use crate::harness::recorder::{Call, Recorder, SESSION, session};
use crate::harness::{Connection, Gate, Gateway, Request, Response, wait_for};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn path() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

fn get(gateway: &Gateway, path: &str, credential: &str) -> Response {
    Request::new("GET", path).header("Authorization", credential).send(&gateway.url())
}

fn is_hit(response: &Response) -> bool {
    response.header("Cache-Status").unwrap_or_default().starts_with("sessiongate; hit")
}

#[test]
fn write_through_one_upstream_invalidates_another_of_the_same_provider() {
    let recorder = Recorder::auth0();
    let url = recorder.url();
    let gateway = Gateway::start(&format!(
        "upstreams:
  one: {{ dialect: auth0, url: \"{url}\", auth: none }}
  two: {{ dialect: auth0, url: \"{url}\", auth: none, match: {{ path_prefix: /two, strip_prefix: true }}, cache: {{}} }}
"
    ));
    let two = format!("/two{}", path());
    assert!(!is_hit(&get(&gateway, &two, "Bearer a")));
    assert!(is_hit(&get(&gateway, &two, "Bearer a")));
    let write = Request::new("PATCH", &path()).header("Authorization", "Bearer b");
    assert_eq!(write.json(r#"{"session_metadata":{"a":"b"}}"#).send(&gateway.url()).status, 200);
    assert!(!is_hit(&get(&gateway, &two, "Bearer a")), "after a write through the other");
    assert!(is_hit(&get(&gateway, &two, "Bearer a")));
    let change = Request::new("PATCH", "/api/v2/users/x").header("Authorization", "Bearer b");
    assert_eq!(change.json("{}").send(&gateway.url()).status, 200);
    assert!(!is_hit(&get(&gateway, &two, "Bearer a")), "after a change of a user through the other");
    assert_eq!(Request::new("DELETE", &path()).header("Authorization", "Bearer b").send(&gateway.url()).status, 202);
    assert_eq!(get(&gateway, &two, "Bearer a").status, 404, "after a delete through the other");
}

#[test]
fn unverified_callers_learn_of_deletions_from_the_provider_only() {
    let recorder = Recorder::start(|call: &mut Call| match call.seen.header("Authorization") {
        Some("Bearer good") => call.as_auth0(),
        _ => call.json(401, &json!({ "statusCode": 401 })),
    });
    let gateway = Gateway::start(&recorder.upstream_as("none", "cache: {}"));
    assert_eq!(get(&gateway, &path(), "Bearer good").status, 200);
    let delete = Request::new("DELETE", &path()).header("Authorization", "Bearer good");
    assert_eq!(delete.send(&gateway.url()).status, 202);
    assert_eq!(get(&gateway, &path(), "Bearer good").status, 404, "although the provider still shows it");
    assert_eq!(get(&gateway, &path(), "Bearer bad").status, 401);
}

/// Joins are not observable from outside, so the test repeats until all callers have joined; late ones fetch by
/// themselves.
#[test]
fn callers_with_one_credential_share_its_rejection() {
    let gate = Gate::closed();
    let own = gate.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        own.pass();
        call.response(429, "X-RateLimit-Remaining: 0\r\n", "{}")
    });
    let gateway = Gateway::start(&recorder.upstream_as("none", "cache: {}"));
    let ask = || {
        let mut connection = Connection::open(gateway.address()).unwrap();
        let request = Request::new("GET", &path()).header("Authorization", "Bearer a");
        connection.write(&request.bytes(gateway.address())).unwrap();
        connection
    };
    wait_for("one fetch for all", || {
        gate.set(false);
        let before = recorder.count();
        let mut all = vec![ask()];
        recorder.wait(before + 1);
        all.extend((0..9).map(|_| ask()));
        wait_in_flight(&gateway, 10);
        gate.set(true);
        for one in &mut all {
            let response = one.response(false).unwrap();
            assert_eq!((response.status, response.header("X-RateLimit-Remaining")), (429, Some("0")));
        }
        (recorder.count() == before + 1).then_some(())
    });
}

fn wait_in_flight(gateway: &Gateway, count: usize) {
    let line = format!("sessiongate_requests_in_flight {count}");
    gateway.wait_for_metric(&line);
}

#[test]
fn joined_caller_fetches_by_itself_if_the_first_is_rejected() {
    for rejected in [401, 403, 404, 429] {
        let gate = Gate::closed();
        let own = gate.clone();
        let recorder = Recorder::start(move |call: &mut Call| {
            if call.turn > 0 {
                return call.as_auth0();
            }
            own.pass();
            call.json(rejected, &json!({ "statusCode": rejected }))
        });
        let gateway = Gateway::start(&recorder.upstream("cache: {}"));
        gateway.ready();
        let ask = |subject: &str| {
            let mut connection = Connection::open(gateway.address()).unwrap();
            let request = Request::new("GET", &path()).bearer(&recorder.token_of(subject));
            connection.write(&request.bytes(gateway.address())).unwrap();
            connection
        };
        let mut first = ask("one@clients");
        recorder.wait(1);
        let mut second = ask("other@clients");
        wait_in_flight(&gateway, 2);
        gate.set(true);
        assert_eq!(first.response(false).unwrap().status, rejected);
        let response = second.response(false).unwrap();
        assert_eq!((response.status, response.header("Cache-Status")), (200, Some("sessiongate; fwd=miss; stored")));
        assert_eq!(recorder.count(), 2);
    }
}

/// One credential from two sources; the first source is at its limit.
#[test]
fn joined_caller_fetches_by_itself_if_the_first_hits_its_source_limit() {
    let gate = Gate::closed();
    let own = gate.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        if call.seen.target.ends_with("/clients") {
            own.pass();
        }
        call.as_auth0()
    });
    let limits = "cache: {}\nlimits: { in_flight: 9, per_source: 1, wait: 1s }\n";
    let trusting = "clients: { trusted_peers: [127.0.0.0/8] }\n";
    let gateway = Gateway::start(&format!("{trusting}{}", recorder.upstream_as("forward", limits)));
    let ask = |path: &str, from: &str| {
        let mut connection = Connection::open(gateway.address()).unwrap();
        let request = Request::new("GET", path).bearer("a").header("X-Forwarded-For", from);
        connection.write(&request.bytes(gateway.address())).unwrap();
        connection
    };
    let mut busy = ask("/api/v2/clients", "192.0.2.1");
    recorder.wait(1);
    let mut first = ask(&path(), "192.0.2.1");
    wait_in_flight(&gateway, 2);
    let mut second = ask(&path(), "192.0.2.2");
    let (first, second) = (first.response(false).unwrap(), second.response(false).unwrap());
    assert_eq!((first.status, first.header("Retry-After")), (429, Some("1")));
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(recorder.count(), 2);
    gate.set(true);
    assert_eq!(busy.response(false).unwrap().status, 200);
}

#[test]
fn response_with_another_session_id_is_not_stored() {
    let recorder = Recorder::start(|call: &mut Call| {
        let mut other = session(&json!({}));
        other["id"] = json!("another");
        call.json(200, &other)
    });
    let gateway = Gateway::start(&recorder.upstream_as("none", "cache: {}"));
    for _ in 0..2 {
        let response = get(&gateway, &path(), "Bearer a");
        assert_eq!((response.status, response.header("Cache-Status")), (200, Some("sessiongate; fwd=miss")));
    }
}

#[test]
fn audit_mode_rejects_nothing_if_the_preliminary_read_fails() {
    let readable = Arc::new(AtomicBool::new(false));
    let own = readable.clone();
    let recorder = Recorder::start(move |call: &mut Call| match call.seen.method.as_str() {
        "GET" if !own.load(Ordering::SeqCst) => call.json(403, &json!({ "statusCode": 403 })),
        _ => call.as_auth0(),
    });
    let start = |mode: &str| {
        let policies = format!("policies: {{ p: {{ mode: {mode}, keys: {{ protected: [tenant] }} }} }}\n");
        Gateway::start(&format!("{}{policies}", recorder.upstream_as("none", "policy: p")))
    };
    let patch = |gateway: &Gateway| {
        let request = Request::new("PATCH", &path()).header("Authorization", "Bearer a");
        request.json(r#"{"session_metadata":{"tenant":"x"}}"#).send(&gateway.url()).status
    };
    assert_eq!([patch(&start("audit")), patch(&start("enforce"))], [200, 403], "it cannot be read");
    readable.store(true, Ordering::SeqCst);
    assert_eq!([patch(&start("audit")), patch(&start("enforce"))], [200, 400], "it can be read");
}

#[test]
fn request_without_a_valid_host_is_rejected() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&recorder.upstream_as("none", ""));
    for host in ["", "Host: \r\n", "Host: a/../b?x\r\n", "Host: a@b\r\n"] {
        let response = crate::harness::raw(
            gateway.address(),
            format!("GET /x HTTP/1.1\r\n{host}Connection: close\r\n\r\n").as_bytes(),
        );
        assert!(response.starts_with(b"HTTP/1.1 400"), "{host:?}: {}", String::from_utf8_lossy(&response));
    }
    assert_eq!(recorder.count(), 0);
}
