//! Several owners of one session's metadata, at Auth0: each sends its own keys only.

use super::world::World;
use crate::harness::{Gateway, Received, Request, Response, Tenant, json_response, wait_for};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const GRANTS: &str = "
    grants:
      - { name: shop, callers: { client_id: shop }, operations: [\"*\"], keys: { own: [\"cart_*\"], see: [\"cart_*\"] } }
      - { name: crm, callers: { client_id: crm }, operations: [update_session, update_refresh_token], keys: { own: [\"team_*\", crm] } }
      - { name: other, callers: { client_id: other }, operations: [\"*\"] }
      - { name: admin, callers: { client_id: admin }, operations: [\"*\"], keys: { set: [\"*\"] } }
";

/// A provider that stores the metadata of its only session as it is spelled in a write.
fn provider(stored: &Arc<Mutex<String>>) -> impl Fn(&Received) -> Response + Send + Sync + 'static + use<> {
    let stored = stored.clone();
    move |request| {
        let mut stored = stored.lock().unwrap();
        if request.method == "PATCH" {
            let body = String::from_utf8(request.body.clone()).unwrap();
            let metadata = body.strip_prefix("{\"session_metadata\":").and_then(|rest| rest.strip_suffix('}'));
            *stored = metadata.unwrap().to_owned();
        }
        json_response(200, &format!("{{\"id\":\"s\",\"session_metadata\":{stored}}}"))
    }
}

#[test]
fn the_other_owners_keys_stay_byte_for_byte() {
    let stored = Arc::new(Mutex::new(String::from("{}")));
    let world = World::start_beside(provider(&stored), GRANTS, "");
    let patch = |caller: &str, metadata: &str| {
        world.send(caller, &format!("PATCH /sessions/s {{\"session_metadata\":{metadata}}}"))
    };
    let others = r#""t\u0065am_x" : "caf\u00e9\/", "n":1.0,"e" :1e2,"o":{ "x": [1, 2.50] },"z":null"#;
    for (metadata, expected) in [
        (r#"{"cart_a":"1","cart_\u0062":"\u0031"}"#, format!(r#"{{"cart_a":"1","cart_\u0062":"\u0031",{KEPT}}}"#)),
        (r#"{"cart_a":"2"}"#, format!(r#"{{"cart_a":"2",{KEPT}}}"#)),
        ("{}", format!("{{{KEPT}}}")),
        ("null", format!("{{{KEPT}}}")),
    ] {
        *stored.lock().unwrap() = format!(r#"{{{others},"cart_old":"x"}}"#);
        let found = patch("shop", metadata);
        assert_eq!(found.status, 200, "{metadata}: {}", found.text());
        assert_eq!(*stored.lock().unwrap(), expected, "{metadata}");
        let shown = found.text();
        assert!(!shown.contains("caf") && !shown.contains("\"n\""), "only what it may see: {shown}");
    }
    *stored.lock().unwrap() = r#"{"cart_old":"x"}"#.into();
    for metadata in ["null", "{}", r#"{ "cart_a" : "\u0031" }"#] {
        assert_eq!(patch("shop", metadata).status, 200);
        assert_eq!(*stored.lock().unwrap(), metadata, "its own bytes");
    }
    let log = world.gateway.wait_for_log(|line| line.contains("\"merged\":true"));
    assert!(log.contains("\"grant\":\"shop\""), "{log}");
    let merged = "sessiongate_merged_writes_total{upstream=\"auth0\"} 7";
    wait_for("the last write to be counted", || world.gateway.metrics().contains(merged).then_some(()));
}

/// What others have stored, without the space between members.
const KEPT: &str = r#""t\u0065am_x" : "caf\u00e9\/","n":1.0,"e" :1e2,"o":{ "x": [1, 2.50] },"z":null"#;

#[test]
fn nothing_is_sent_that_would_wipe_or_tell() {
    let stored = Arc::new(Mutex::new(String::from("{}")));
    let world = World::start_beside(provider(&stored), GRANTS, "");
    let many: Vec<String> = (0..24).map(|at| format!("\"team_{at}\":\"v\"")).collect();
    let full = format!("{{{}}}", many.join(","));
    let patch = |caller: &str, metadata: &str| {
        let before = world.provider.received().len();
        let found = world.send(caller, &format!("PATCH /sessions/s {{\"session_metadata\":{metadata}}}"));
        let wrote = world.provider.received()[before..].iter().any(|request| request.method == "PATCH");
        let message = found.json()["message"].as_str().unwrap_or_default().to_owned();
        (found.status, wrote, message)
    };
    for (current, caller, metadata, status, message) in [
        (full.as_str(), "shop", r#"{"cart_a":"1","cart_b":"2"}"#, 400, "session_metadata: is full"),
        (r#"{"team_a":"1"}"#, "shop", r#"{"team_a":"1"}"#, 403, "setting `session_metadata.team_a`"),
        (r#"{"team_a":"1"}"#, "crm", r#"{"team_a":"1","cart_a":"1"}"#, 403, "setting `session_metadata.cart_a`"),
        (r#"{"cart_a":"1"}"#, "other", r#"{"cart_a":"2"}"#, 403, "setting `session_metadata.cart_a`"),
        (r#"{"cart_a":"1"}"#, "other", r#"{"x":"2"}"#, 403, "clearing `session_metadata.cart_a`"),
        (r#"{"cart_a":"1"}"#, "other", "null", 403, "clearing `session_metadata.cart_a`"),
        (r#"{"a":"1","\u0061":"2"}"#, "shop", r#"{"cart_a":"1"}"#, 502, ""),
        (r#"{"__proto__":"1"}"#, "shop", r#"{"cart_a":"1"}"#, 502, ""),
        ("[]", "shop", "{}", 502, ""),
    ] {
        *stored.lock().unwrap() = current.into();
        let found = patch(caller, metadata);
        assert_eq!((found.0, found.1), (status, false), "{current} {caller} {metadata}: {}", found.2);
        assert!(found.2.contains(message), "{current} {caller} {metadata}: {}", found.2);
        assert!(caller != "shop" || status == 403 || !found.2.contains("team"), "{}", found.2);
    }
    *stored.lock().unwrap() = r#"{"cart_a":"1"}"#.into();
    assert_eq!(patch("other", r#"{"cart_a":"1","x":"2"}"#).0, 200, "sent back as it was");
    assert_eq!(patch("admin", r#"{"cart_a":"2"}"#).0, 200, "its grant names the key");
    assert_eq!(*stored.lock().unwrap(), r#"{"cart_a":"2"}"#);
}

fn shared(tenant: &Tenant, policy: &str) -> Gateway {
    let options: String = format!("    policy: p{GRANTS}").lines().map(|line| format!("{}\n", &line[4..])).collect();
    let gateway = Gateway::start(&(tenant.upstream(&options) + policy));
    gateway.ready();
    gateway
}

/// Sessions and refresh tokens at a simulated tenant, in both modes of a policy that is about the shop's keys.
#[test]
fn owners_write_in_turn_and_keep_their_keys() {
    let tenant = Tenant::start();
    for mode in ["enforce", "audit"] {
        let policy = format!(
            "policies: {{ p: {{ mode: {mode}, keys: {{ required: [cart_id], protected: [cart_seal, team_a] }}, \
             fields: {{ cart_id: {{ max_length: 3 }} }} }} }}\n"
        );
        let gateway = shared(&tenant, &policy);
        let token = |client: &str| tenant.sign(json!({ "azp": client }));
        let session = tenant.create_session();
        let listed =
            Request::new("GET", &format!("/api/v2/users/{}/refresh-tokens", tenant.user_id().replace('|', "%7C")));
        let listed = listed.bearer(&tenant.token()).send(&tenant.url()).json();
        let refresh_token = listed["tokens"][0]["id"].as_str().unwrap().to_owned();
        for (path, name) in [
            (format!("/api/v2/sessions/{session}"), "session_metadata"),
            (format!("/api/v2/refresh-tokens/{refresh_token}"), "refresh_token_metadata"),
        ] {
            let patch = |client: &str, metadata: Value| {
                let body = json!({ name: metadata }).to_string();
                Request::new("PATCH", &path).json(&body).bearer(&token(client)).send(&gateway.url())
            };
            let stored = || {
                let found = Request::new("GET", &path).bearer(&tenant.token()).send(&tenant.url()).json();
                found[name].clone()
            };
            let outside = json!({ name: { "channel": "web" } }).to_string();
            let outside = Request::new("PATCH", &path).json(&outside).bearer(&tenant.token());
            assert_eq!(outside.send(&tenant.url()).status, 200);
            for round in 0..3 {
                assert_eq!(patch("shop", json!({ "cart_id": format!("{round}") })).status, 200);
                // The policy requires a key that is not the CRM's, and protects one that is.
                assert_eq!(patch("crm", json!({ "team_b": "x" })).status, 200, "{mode} {name}");
                assert_eq!(stored(), json!({ "channel": "web", "cart_id": format!("{round}"), "team_b": "x" }));
            }
            let rejected = if mode == "enforce" { 400 } else { 200 };
            assert_eq!(patch("crm", json!({ "team_a": "x" })).status, rejected, "{mode} {name}");
            assert_eq!(patch("shop", json!({ "cart_id": "long" })).status, rejected);
            assert_eq!(stored()["channel"], "web");
            assert_eq!(patch("crm", json!({})).status, 200);
            assert_eq!(patch("shop", json!(null)).status, rejected, "its own key is required");
            let left = if mode == "enforce" {
                json!({ "channel": "web", "cart_id": "2" })
            } else {
                json!({ "channel": "web" })
            };
            assert_eq!(stored(), left);
        }
    }
}

/// Each owner's last acknowledged keys are there in the end, whatever the order of the writes.
#[test]
fn owners_write_at_the_same_time_and_keep_their_keys() {
    let tenant = Tenant::start();
    let gateway = shared(&tenant, "policies: { p: {} }\n");
    let path = tenant.session_path();
    std::thread::scope(|scope| {
        for (client, key) in [("shop", "cart_id"), ("crm", "team_id"), ("crm", "team_id")] {
            let (token, url, path) = (tenant.sign(json!({ "azp": client })), gateway.url(), path.clone());
            scope.spawn(move || {
                for round in 1..=20 {
                    let body = json!({ "session_metadata": { key: format!("{round}") } }).to_string();
                    let found = Request::new("PATCH", &path).json(&body).bearer(&token).send(&url);
                    assert_eq!(found.status, 200, "{client} {round}: {}", found.text());
                }
            });
        }
    });
    let found = Request::new("GET", &path).bearer(&tenant.token()).send(&tenant.url()).json();
    assert_eq!(found["session_metadata"], json!({ "channel": "web", "cart_id": "20", "team_id": "20" }));
    let waited = "sessiongate_exclusive_rights_total{result=\"waited\",upstream=\"auth0\"} ";
    wait_for("a write that waited to be counted", || gateway.metrics().contains(waited).then_some(()));
}
