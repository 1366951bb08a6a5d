//! Who shares what: upstreams before one provider, callers of one fetch, and those whom nobody has verified.

use crate::harness::{Answer, Connection, Gateway, Request, wait_for};
use crate::recorder::{Call, Recorder, SESSION, session};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

fn path() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

fn get(gateway: &Gateway, path: &str, credential: &str) -> Answer {
    Request::new("GET", path).header("Authorization", credential).send(&gateway.url())
}

fn is_hit(answer: &Answer) -> bool {
    answer.header("Cache-Status").unwrap_or_default().starts_with("sessiongate; hit")
}

#[test]
fn a_write_through_one_upstream_ends_what_another_keeps_of_the_same_provider() {
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
fn only_the_provider_tells_the_unverified_that_a_session_was_deleted() {
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

#[test]
fn callers_of_one_credential_share_what_it_was_refused() {
    let go = Arc::new(Barrier::new(2));
    let own = go.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        own.wait();
        call.answer(429, "X-RateLimit-Remaining: 0\r\n", "{}")
    });
    let gateway = Gateway::start(&recorder.upstream_as("none", "cache: {}"));
    let ask = || {
        let mut connection = Connection::open(gateway.address()).unwrap();
        let request = Request::new("GET", &path()).header("Authorization", "Bearer a");
        connection.write(&request.bytes(gateway.address())).unwrap();
        connection
    };
    let mut all = vec![ask()];
    recorder.wait(1);
    all.extend((0..9).map(|_| ask()));
    wait_for("ten requests in flight", || {
        gateway.metrics().lines().any(|line| line == "sessiongate_requests_in_flight 10").then_some(())
    });
    go.wait();
    for one in &mut all {
        let answer = one.answer(false).unwrap();
        assert_eq!((answer.status, answer.header("X-RateLimit-Remaining")), (429, Some("0")));
    }
    assert_eq!(recorder.count(), 1);
}

#[test]
fn an_answer_that_names_another_session_is_not_stored() {
    let recorder = Recorder::start(|call: &mut Call| {
        let mut other = session(&json!({}));
        other["id"] = json!("another");
        call.json(200, &other)
    });
    let gateway = Gateway::start(&recorder.upstream_as("none", "cache: {}"));
    for _ in 0..2 {
        let answer = get(&gateway, &path(), "Bearer a");
        assert_eq!((answer.status, answer.header("Cache-Status")), (200, Some("sessiongate; fwd=miss")));
    }
}

#[test]
fn an_audit_refuses_nothing_although_its_evidence_cannot_be_had() {
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
fn a_request_without_a_plain_host_is_refused() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&recorder.upstream_as("none", ""));
    for host in ["", "Host: \r\n", "Host: a/../b?x\r\n", "Host: a@b\r\n"] {
        let answer = crate::harness::raw(
            gateway.address(),
            format!("GET /x HTTP/1.1\r\n{host}Connection: close\r\n\r\n").as_bytes(),
        );
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{host:?}: {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(recorder.count(), 0);
}
