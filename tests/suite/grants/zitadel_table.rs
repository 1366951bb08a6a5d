//! ZITADEL: the table of callers and operations, on every carrier. The caller's token is of the user `a` and of the session
//! `a1`; sessions that begin with `b` are another user's, and `none` does not exist.

pub mod calls;
mod provider;

use crate::harness::issuer::{AUDIENCE, ISSUER, Signer, document};
use crate::harness::{Gateway, H2Provider, Scripted};
use calls::{Carrier, Client};
use serde_json::json;
use std::fmt::Write;

/// The client IDs of the callers, which are also the names of their grants; the last has none.
const CALLERS: [&str; 7] = ["all", "reader", "own", "user", "masked", "keys", "none"];

const GRANTS: &str = "
    grants:
      - { name: all, callers: { client_id: all }, operations: [\"*\"] }
      - { name: reader, callers: { client_id: reader }, operations: [read_session] }
      - { name: own, callers: { client_id: own }, operations: [\"*\"], sessions: own }
      - { name: user, callers: { client_id: user }, operations: [\"*\"], sessions: user }
      - name: masked
        callers: { client_id: masked }
        operations: [\"*\"]
        masked: [factors.user.login_name]
        dropped: [user_agent]
        keys: { see: [team], set: [\"*\"], clear: [\"*\"] }
      - { name: keys, callers: { client_id: keys }, operations: [\"*\"], keys: { set: [team], clear: [team] } }
";

/// A request, and for each of [`CALLERS`] what it gets. A write replaces all metadata, and so would remove `cart`.
const TABLE: &str = "
get a1            ok      ok      ok      ok      ok      ok      denied
get a2            ok      ok      missing ok      ok      ok      denied
get b1            ok      ok      missing missing ok      ok      denied
get none          missing missing missing missing missing missing denied
set a1 team=x     ok      denied  ok      ok      ok      denied  denied
set a2 team=x     ok      denied  missing ok      ok      denied  denied
set b1 team=x     ok      denied  missing missing ok      denied  denied
set none team=x   ok      denied  missing missing missing missing denied
set a1 cart=x     ok      denied  ok      ok      ok      denied  denied
set a1 team=      ok      denied  ok      ok      ok      ok      denied
set a1 cart=      ok      denied  ok      ok      ok      denied  denied
delete a1         ok      denied  ok      ok      ok      ok      denied
delete b1         ok      denied  missing missing ok      ok      denied
delete none       ok      denied  missing missing ok      ok      denied
create id=a       ok      denied  denied  ok      ok      ok      denied
create id=b       ok      denied  denied  denied  ok      ok      denied
create login=a    ok      denied  denied  denied  ok      ok      denied
create nobody     ok      denied  denied  denied  ok      ok      denied
list user=a       ok      denied  denied  ok      ok      ok      denied
list user=b       ok      denied  denied  denied  ok      ok      denied
list all          ok      denied  denied  denied  ok      ok      denied
list agent=f      ok      denied  denied  denied  denied  ok      denied
";

/// What a masked caller does not see.
const HIDDEN: [&str; 5] = ["203.0.113.2", "a@login.example", "b@login.example", "cart", "fingerprint"];

struct World {
    signer: Signer,
    _issuer: Scripted,
    gateway: Gateway,
    client: Client,
    provider: H2Provider,
}

impl World {
    fn start() -> World {
        let signer = Signer::new("one");
        let keys = document(&[&signer]);
        let issuer = Scripted::start(move |_| keys.clone());
        let provider = H2Provider::start(None, provider::respond);
        let text = format!(
            "upstreams:
  idp:
    dialect: zitadel
    url: http://{}
    protocol: http2
    cache: {{}}
    auth: {{ issuer: {ISSUER}, audience: {AUDIENCE}, jwks: {}/jwks, algorithms: [EdDSA] }}{GRANTS}",
            provider.address(),
            issuer.url()
        );
        let gateway = Gateway::start(&text);
        gateway.ready();
        World { signer, _issuer: issuer, client: Client::new(gateway.address()), gateway, provider }
    }

    fn token(&self, caller: &str) -> String {
        self.signer.token(json!({}), json!({ "client_id": caller, "sub": "a", "sid": "a1" }))
    }
}

/// The rows: requests with the expected results.
fn rows() -> impl Iterator<Item = (String, Vec<&'static str>)> {
    TABLE.lines().filter(|line| !line.is_empty()).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (request, expected) = words.split_at(words.len() - CALLERS.len());
        (request.join(" "), expected.to_vec())
    })
}

#[test]
fn each_caller_may_do_what_its_grant_says_on_every_carrier() {
    let world = World::start();
    let mut faults = String::new();
    for (request, expected) in rows() {
        for (caller, expected) in CALLERS.into_iter().zip(expected) {
            for carrier in Carrier::ALL {
                // Twice: reads are hits then.
                for turn in 1..=2 {
                    let before = world.provider.arrived().len();
                    let found = world.client.send(carrier, &request, &world.token(caller));
                    let what = format!("{caller} {request} {carrier:?} ({turn})");
                    if found.result != expected {
                        let _ = writeln!(faults, "{what}: {} instead of {expected}: {}", found.result, found.shown());
                    }
                    let shown = found.shown();
                    let hidden = if caller == "masked" { &HIDDEN[..] } else { &HIDDEN[..3] };
                    let leaks: Vec<&&str> = hidden.iter().filter(|hidden| shown.contains(**hidden)).collect();
                    if (caller == "masked" || found.result != "ok") && !leaks.is_empty() {
                        let _ = writeln!(faults, "{what} shows {leaks:?}: {shown}");
                    }
                    if caller == "user" && (shown.contains("b1") || shown.contains("b@login")) {
                        let _ = writeln!(faults, "{what} shows another user: {shown}");
                    }
                    let wrote = world.provider.arrived()[before..].iter().any(provider::is_write);
                    if found.result != "ok" && wrote {
                        let _ = writeln!(faults, "{what} reached the provider");
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert!(world.gateway.log().iter().any(|line| line.contains("\"grant\":\"masked\"")));
}

/// A foreign session and one that does not exist have the same response.
#[test]
fn foreign_and_missing_sessions_look_the_same_on_every_carrier() {
    let world = World::start();
    for caller in ["own", "user"] {
        for operation in ["get", "delete", "set"] {
            for carrier in Carrier::ALL {
                for _ in 0..3 {
                    let rest = if operation == "set" { " team=x" } else { "" };
                    let [foreign, missing] = ["b1", "none"]
                        .map(|id| world.client.send(carrier, &format!("{operation} {id}{rest}"), &world.token(caller)));
                    assert_eq!(foreign.result, "missing", "{caller} {operation} {carrier:?}");
                    assert_eq!(foreign, missing, "{caller} {operation} {carrier:?}");
                }
            }
        }
    }
}
