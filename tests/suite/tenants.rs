//! Tenants behind one address of a provider, told apart by their host: writes end hits by every name, and what is shown of a deletion
//! belongs to one.

use crate::harness::{Answer, Gateway, RedisServer, Request, redis_installed, wait_for};
use crate::recorder::{Call, Recorder, SESSION, session};
use crate::shared::{PATIENT, SEAL_KEY, status};
use serde_json::json;

fn each(test: impl Fn(&Gateway)) {
    for redis in [false, true] {
        if redis && !redis_installed() {
            continue;
        }
        let recorder = Recorder::start(|call: &mut Call| match call.seen.method.as_str() {
            "GET" => call.json(200, &session(&json!({ "host": call.seen.header("Host") }))),
            _ => call.as_auth0(),
        });
        let redis = redis.then(RedisServer::start);
        let store = redis.as_ref().map_or(String::new(), |server| {
            let url = server.url();
            format!("store: {{ redis: {{ settle: 0s, timeouts: {PATIENT}, url: \"{url}\", seal_keys: [{{ env: SEAL }}] }} }}\n")
        });
        let upstream = |name: &str, more: &str| {
            let url = recorder.url();
            format!(
                "  {name}: {{ dialect: auth0, url: \"{url}\", auth: none, preserve_host: true, cache: {{ ttl: 5m }}{more} }}\n"
            )
        };
        let upstreams = [upstream("one", ", match: { host: one.example }"), upstream("rest", "")].concat();
        let config = format!("hash_key: {{ env: HASH }}\n{store}upstreams:\n{upstreams}");
        let gateway = Gateway::start_with(&config, &[("HASH", "a hash key of all the replicas"), ("SEAL", SEAL_KEY)]);
        gateway.ready();
        if redis.is_some() {
            wait_for("a connection to the store", || {
                gateway.metrics().lines().any(|line| line == "sessiongate_store_connections 1").then_some(())
            });
        }
        test(&gateway);
    }
}

fn send(gateway: &Gateway, method: &str, host: &str) -> Answer {
    let request = Request::new(method, &format!("/api/v2/sessions/{SESSION}")).header("Host", host);
    let request = request.header("Authorization", "Bearer x");
    let request = if method == "PATCH" { request.json(r#"{"session_metadata":{"a":"b"}}"#) } else { request };
    request.send(&gateway.url())
}

fn is_hit(answer: &Answer) -> bool {
    status(answer).starts_with("sessiongate; hit")
}

#[test]
fn a_write_by_one_host_ends_hits_by_every_other() {
    each(|gateway| {
        for (host, writer) in [("one.example", "two.example"), ("two.example", "one.example")] {
            let answer = send(gateway, "GET", host);
            assert_eq!((answer.status, &answer.json()["session_metadata"]["host"]), (200, &json!(host)));
            let again = send(gateway, "GET", host);
            assert!(is_hit(&again) && again.json()["session_metadata"]["host"] == host);
            assert_eq!(send(gateway, "PATCH", writer).status, 200);
            assert!(!is_hit(&send(gateway, "GET", host)));
        }
    });
}

#[test]
fn a_deletion_at_one_host_is_none_at_another_and_a_purge_lifts_it() {
    each(|gateway| {
        for (own, spelled, other) in
            [("one.example", "ONE.example:8080", "two.example"), ("two.example", "Two.Example:8080", "one.example")]
        {
            assert_eq!(send(gateway, "DELETE", own).status, 202);
            assert_eq!((send(gateway, "GET", own).status, send(gateway, "GET", spelled).status), (404, 404), "{own}");
            assert_eq!(send(gateway, "GET", other).status, 200, "{other}");
            if own == "one.example" {
                let body = format!(r#"{{"upstream":"rest","session":"{SESSION}"}}"#);
                let purged = Request::new("POST", "/cache/purge").json(&body).send(&gateway.admin_url());
                assert_eq!(purged.status, 200);
                assert_eq!(send(gateway, "GET", own).status, 200);
            }
        }
    });
}
