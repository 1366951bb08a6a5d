//! Introspection of opaque tokens, at an endpoint that the test controls.

use crate::harness::issuer::{AUDIENCE, ISSUER, SESSION, Signer, World, is_rejected, now, read};
use crate::harness::{Authority, ForwardProxy, Gate, Gateway, Received, Request, Response, Scripted};
use crate::harness::{json_response, series, unused_address, wait_for};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

type Respond = Arc<dyn Fn(&str) -> Response + Send + Sync>;

/// An introspection endpoint, and a gateway that uses it beside the keys of a signer.
struct Introspection {
    key: Signer,
    world: World,
    endpoint: Scripted,
    responses: Arc<Mutex<Respond>>,
    /// Has the client secret.
    folder: tempfile::TempDir,
}

/// The response for an active token, with these changes; `null` takes a member out.
fn active(changes: Value) -> Response {
    let mut response = json!({
        "active": true, "iss": ISSUER, "aud": [AUDIENCE], "sub": "somebody", "client_id": "shop", "exp": now() + 600,
        "scope": "read:sessions", "token_type": "Bearer",
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(response.as_object_mut().unwrap().remove(name)),
            value => response[name] = value.clone(),
        }
    }
    json_response(200, &response.to_string())
}

fn inactive() -> Response {
    json_response(200, r#"{"active":false}"#)
}

/// The parameters of a form whose values need no decoding.
fn form(request: &Received) -> BTreeMap<String, String> {
    let text = String::from_utf8(request.body.clone()).unwrap();
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

impl Introspection {
    /// Tokens that begin with `good` are active.
    fn new() -> Introspection {
        let responses: Respond =
            Arc::new(|token| if token.starts_with("good") { active(json!({})) } else { inactive() });
        let responses = Arc::new(Mutex::new(responses));
        let own = responses.clone();
        let endpoint = Scripted::start(move |request| {
            let respond = own.lock().unwrap().clone();
            respond(&form(request)["token"])
        });
        let key = Signer::new("one");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret: +").unwrap();
        Introspection { world: World::new(&[&key]), key, endpoint, responses, folder }
    }

    fn respond(&self, respond: impl Fn(&str) -> Response + Send + Sync + 'static) {
        *self.responses.lock().unwrap() = Arc::new(respond);
    }

    /// Each response waits until the gate is open.
    fn respond_behind_gate(&self, response: fn() -> Response) -> Gate {
        let gate = Gate::closed();
        let own = gate.clone();
        self.respond(move |_| {
            own.pass();
            response()
        });
        gate
    }

    /// The options of `auth` for an endpoint.
    fn options(&self, endpoint: &str, more: &str) -> String {
        let secret = self.folder.path().join("secret");
        format!(
            "introspection: {{ url: {endpoint}/introspect, client_id: 'gate way', client_secret: {{ file: {} }} \
            {more} }}",
            secret.display()
        )
    }

    fn gateway(&self, more: &str) -> Gateway {
        self.world.gateway(&self.options(&self.endpoint.url(), more))
    }

    /// How often a token was introspected.
    fn calls(&self, token: &str) -> usize {
        self.endpoint.received().iter().filter(|request| form(request)["token"] == token).count()
    }
}

/// The introspections of a gateway, by result.
fn counted(gateway: &Gateway, name: &str) -> BTreeMap<String, u64> {
    let all = series(&gateway.metrics());
    let own = all.into_iter().filter(|one| one.name == name && one.value > 0.0);
    own.map(|one| (one.labels["result"].clone(), one.value as u64)).collect()
}

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// The reason of a rejection, from the log.
fn reason(gateway: &Gateway, response: &Response) -> String {
    let id = response.header("X-Request-Id").unwrap();
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#) && line.contains(id));
    let line: Value = serde_json::from_str(&line).unwrap();
    line["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn form_of_the_credential_decides_how_it_is_verified() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway("");
    for _ in 0..3 {
        assert_eq!(read(&gateway, "good-1").status, 200);
    }
    assert_eq!(read(&gateway, &introspection.key.good()).status, 200, "a JWT");
    assert_eq!(introspection.endpoint.received().len(), 1, "cached, and not for JWTs");
    let request = &introspection.endpoint.received()[0];
    assert_eq!(request.path, "/introspect");
    assert_eq!(request.header("Accept"), Some("application/json"));
    assert_eq!(request.header("Content-Type"), Some("application/x-www-form-urlencoded"));
    let basic = STANDARD.encode("gate%20way:s3cret%3A%20%2B");
    assert_eq!(request.header("Authorization"), Some(format!("Basic {basic}").as_str()));
    let expected = [("token", "good-1"), ("token_type_hint", "access_token")];
    assert_eq!(form(request), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    // A bad JWT is not introspected, even if the endpoint would accept it; a bad opaque token is no JWT.
    introspection.respond(|_| active(json!({})));
    let foreign = Signer::new("one").good();
    is_rejected(&read(&gateway, &foreign), 401, "a JWT of others");
    introspection.respond(|_| inactive());
    for (token, why) in [("opaque", "no part"), ("two.parts", "two parts"), ("a.jwe.has.five.parts", "five parts")] {
        let response = read(&gateway, token);
        is_rejected(&response, 401, why);
        assert_eq!(reason(&gateway, &response), "token_inactive");
    }
    is_rejected(&read(&gateway, &"x".repeat(9000)), 401, "too long");
    assert_eq!(introspection.endpoint.received().len(), 4);
    let passed = Request::new("GET", "/api/v2/clients").bearer("good-1").send(&gateway.url());
    let id = passed.header("X-Request-Id").unwrap();
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#) && line.contains(id));
    assert!(line.contains("caller.client_id"), "a known caller of a pass-through request: {line}");
    let passed = Request::new("GET", "/api/v2/clients").bearer("good-2").send(&gateway.url());
    assert_eq!((passed.status, introspection.calls("good-2")), (200, 0), "the request does not wait for it");
    let results = counted(&gateway, "sessiongate_introspections_total");
    assert_eq!(results, counts(&[("active", 1), ("inactive", 3)]));
    let cached = counted(&gateway, "sessiongate_introspections_cached_total");
    assert_eq!(cached, counts(&[("active", 3)]));
    let log = gateway.log().join("\n");
    assert!(!log.contains("good-1") && !log.contains("s3cret"), "{log}");
}

#[test]
fn claims_of_active_tokens_are_checked_as_those_of_jwts() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", negative_ttl: 5m");
    let cases = [
        ("iss missing", json!({"iss": null}), "token_malformed"),
        ("another issuer", json!({"iss": "https://evil.example/"}), "token_issuer"),
        ("an issuer that is a list", json!({"iss": [ISSUER]}), "token_malformed"),
        ("aud missing", json!({"aud": null}), "token_malformed"),
        ("aud that is null in a list", json!({"aud": [null]}), "token_malformed"),
        ("another audience", json!({"aud": "https://evil.example/"}), "token_audience"),
        ("no audience", json!({"aud": []}), "token_audience"),
        ("exp missing", json!({"exp": null}), "token_malformed"),
        ("exp as text", json!({"exp": "9999999999"}), "token_malformed"),
        ("expired", json!({"exp": now() - 100}), "token_expired"),
        ("not valid yet", json!({"nbf": now() + 100}), "token_not_yet_valid"),
        ("bound to a key", json!({"token_type": "DPoP"}), "token_type"),
        ("bound to a certificate", json!({"cnf": {"x5t#S256": "hash"}}), "token_malformed"),
        ("too many scopes", json!({"scope": "read:sessions ".repeat(600)}), "token_malformed"),
        ("scope of another type", json!({"scope": 5}), "token_malformed"),
        ("inactive", json!({"active": false}), "token_inactive"),
    ];
    for (number, (why, changes, expected)) in cases.iter().enumerate() {
        let changes = changes.clone();
        introspection.respond(move |_| active(changes.clone()));
        let token = format!("case-{number}");
        let response = read(&gateway, &token);
        is_rejected(&response, 401, why);
        assert_eq!(reason(&gateway, &response), *expected, "{why}");
        is_rejected(&read(&gateway, &token), 401, why);
        assert_eq!(introspection.calls(&token), 1, "{why}: rejected without another introspection");
    }
    introspection.respond(|_| active(json!({"scope": "update:sessions"})));
    assert_eq!(read(&gateway, "other-scope").status, 403);
    introspection.respond(|_| active(json!({"scope": ["read:sessions"], "aud": AUDIENCE, "exp": now() + 60})));
    assert_eq!(read(&gateway, "good").status, 200);
    assert_eq!(introspection.world.provider.received().len(), 1, "only for the good one");
}

/// The issuer itself says that the token is active, so that the option is probably wrong.
#[test]
fn first_active_token_that_is_rejected_names_the_option() {
    const MESSAGE: &str = "first token of the issuer rejected; the option may be wrong";
    let introspection = Introspection::new();
    for (changes, cause, option, expected) in [
        (json!({"iss": "https://evil.example/"}), "token_issuer", "issuer", ISSUER),
        (json!({"aud": "https://evil.example/"}), "token_audience", "audience", AUDIENCE),
    ] {
        let gateway = introspection.gateway("");
        introspection.respond(|_| inactive());
        is_rejected(&read(&gateway, "inactive"), 401, "not because of an option");
        introspection.respond(move |_| active(changes.clone()));
        for number in 0..2 {
            is_rejected(&read(&gateway, &format!("other-{number}")), 401, cause);
        }
        let line: Value = serde_json::from_str(&gateway.wait_for_log(|line| line.contains(MESSAGE))).unwrap();
        assert_eq!(
            json!([line["level"], line["upstream"], line["cause"], line["option"], line["expected"]]),
            json!(["WARN", "auth0", cause, format!("upstreams.auth0.auth.{option}"), expected])
        );
        assert_eq!(gateway.log().iter().filter(|line| line.contains(MESSAGE)).count(), 1);
    }
}

#[test]
fn without_a_usable_response_no_caller_is_accepted() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", timeout: 1s");
    let good = active(json!({}));
    let huge = format!(r#"{{"active":true,"more":"{}"}}"#, "x".repeat(100 << 10));
    let text = good.text();
    let with = |status: u16| Response { status, ..good.clone() };
    let mut moved = with(302);
    moved.headers.push(("Location".into(), introspection.endpoint.url()));
    let mut coded = good.clone();
    coded.headers.push(("Content-Encoding".into(), "br".into()));
    let cases = [
        ("500", with(500), "status"),
        ("201", with(201), "status"),
        ("204", with(204), "status"),
        ("a redirect", moved, "status"),
        ("429", with(429), "status"),
        ("401", with(401), "client"),
        ("403", with(403), "client"),
        ("HTML", json_response(200, "<html>"), "document"),
        ("nothing", json_response(200, ""), "document"),
        ("a list", json_response(200, &format!("[{text}]")), "document"),
        ("two values", json_response(200, &format!("{text}{text}")), "document"),
        ("half of it", json_response(200, &text[..text.len() / 2]), "document"),
        ("no active", active(json!({"active": null})), "document"),
        ("active as text", active(json!({"active": "true"})), "document"),
        ("active as a number", active(json!({"active": 1})), "document"),
        ("active twice", json_response(200, &text.replacen('{', r#"{"active":false,"#, 1)), "document"),
        ("huge", json_response(200, &huge), "response"),
        ("an unknown coding", coded, "response"),
    ];
    let failures = || {
        let lines = gateway.log();
        let lines = lines.iter().filter(|line| line.contains(r#""message":"cannot introspect "#));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let mut logged = BTreeSet::new();
    for (number, (why, response, cause)) in cases.into_iter().enumerate() {
        introspection.respond(move |_| response.clone());
        let token = format!("evil-{number}");
        let response = read(&gateway, &token);
        is_rejected(&response, 503, why);
        assert_eq!(response.header("Retry-After"), Some("1"), "{why}");
        assert_eq!(reason(&gateway, &response), "introspection_failed", "{why}");
        logged.insert(cause);
        wait_for("the cause in the log", || failures().iter().any(|line| line["cause"] == cause).then_some(()));
        introspection.respond(|_| inactive());
        is_rejected(&read(&gateway, &token), 401, "failures are not cached");
    }
    introspection.respond(|_| active(json!({})));
    assert_eq!(read(&gateway, "good").status, 200);
    assert_eq!(introspection.world.provider.received().len(), 1, "only for the good one");
    let recovered = r#""message":"tokens can be introspected again""#;
    gateway.wait_for_log(|line| line.contains(recovered));
    assert_eq!(failures()[0]["upstream"], "auth0");
    assert_eq!(failures().len(), logged.len(), "no cause again so soon");
    let ready = Request::new("GET", "/readyz").send(&gateway.admin_url());
    assert_eq!(ready.status, 200);
}

#[test]
fn endpoint_that_cannot_be_reached_is_named_in_the_log() {
    let introspection = Introspection::new();
    let refused = unused_address([127, 0, 9, 6]);
    // The system accepts connections; no response follows.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    for (url, cause) in [
        (format!("http://{refused}"), "connect"),
        (format!("http://{silent}"), "timeout"),
        (format!("https://127.0.0.1:{}", introspection.endpoint.port()), "tls"),
        ("https://introspection.invalid".to_owned(), "dns"),
    ] {
        let options = introspection.options(&url, ", timeout: 1s");
        let gateway = introspection.world.gateway(&options);
        is_rejected(&read(&gateway, "good"), 503, cause);
        let line = gateway.wait_for_log(|line| line.contains(r#""message":"cannot introspect tokens""#));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["cause"], cause, "{line}");
        assert!(line["reason"].as_str().unwrap().starts_with(&format!("{url}/introspect: ")), "{line}");
        assert_eq!(read(&gateway, &introspection.key.good()).status, 200, "JWTs are not concerned");
    }
}

#[test]
fn revoked_token_is_rejected_after_its_ttl() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", ttl: 2s");
    assert_eq!(read(&gateway, "good").status, 200);
    introspection.respond(|_| inactive());
    let revoked = Instant::now();
    wait_for("the revoked token to be rejected", || {
        let status = read(&gateway, "good").status;
        assert!([200, 401].contains(&status), "{status}");
        assert!(status == 401 || revoked.elapsed() < Duration::from_secs(4), "accepted for too long");
        (status == 401).then_some(())
    });
    let gateway = introspection.gateway(", ttl: 0s");
    introspection.respond(|_| active(json!({})));
    assert_eq!(read(&gateway, "good").status, 200);
    introspection.respond(|_| inactive());
    is_rejected(&read(&gateway, "good"), 401, "at once without a cache, although the session is cached");
}

#[test]
fn active_token_is_never_accepted_after_exp() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", ttl: 1h, max_stale: 1h");
    introspection.respond(|_| active(json!({"exp": now() + 2})));
    assert_eq!(read(&gateway, "good").status, 200);
    introspection.respond(|_| json_response(500, ""));
    wait_for("the token to expire", || (read(&gateway, "good").status == 503).then_some(()));
}

#[test]
fn known_tokens_survive_an_outage_only_if_it_is_declared() {
    let introspection = Introspection::new();
    let strict = introspection.gateway(", ttl: 1s");
    let lenient = introspection.gateway(", ttl: 1s, max_stale: 1h");
    for gateway in [&strict, &lenient] {
        assert_eq!(read(gateway, "good-known").status, 200);
    }
    introspection.respond(|_| json_response(503, ""));
    wait_for("the result to expire", || (read(&strict, "good-known").status == 503).then_some(()));
    for gateway in [&strict, &lenient] {
        let response = read(gateway, "good-new");
        is_rejected(&response, 503, "no new caller is accepted");
        assert_eq!(response.header("Retry-After"), Some("1"));
    }
    let stale = || counted(&lenient, "sessiongate_introspections_cached_total").get("stale").copied();
    wait_for("a known caller to be accepted nevertheless", || {
        assert_eq!(read(&lenient, "good-known").status, 200);
        stale()
    });
    let calls = introspection.calls("good-known");
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(read(&lenient, "good-known").status, 200, "a known caller");
    }
    let more = introspection.calls("good-known") - calls;
    let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    assert!(more <= most, "{more} introspections in {:?}", began.elapsed());
    assert!(stale().unwrap() > 50);
    introspection.respond(|_| inactive());
    wait_for("the revocation to be noticed", || (read(&lenient, "good-known").status == 401).then_some(()));
}

/// Others may be introspected, so that only the state of the endpoint counts.
#[test]
fn revoked_token_does_not_survive_while_the_endpoint_works() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", ttl: 0s, max_stale: 1h");
    for token in ["good-1", "good-2", "good-3"] {
        assert_eq!(read(&gateway, token).status, 200);
    }
    for status in [400, 404, 429, 403, 401] {
        introspection.respond(move |token| match token {
            "good-1" => json_response(status, r#"{"error":"invalid_token"}"#),
            _ => active(json!({})),
        });
        for _ in 0..3 {
            let response = read(&gateway, "good-1");
            is_rejected(&response, 503, "the endpoint works");
            assert_eq!(reason(&gateway, &response), "introspection_failed", "{status}");
            assert_eq!(read(&gateway, "good-2").status, 200);
        }
    }
    introspection.respond(|_| json_response(500, ""));
    for token in ["good-2", "good-3"] {
        assert_eq!(read(&gateway, token).status, 200, "an outage");
    }
    introspection.respond(|token| if token == "good-2" { inactive() } else { active(json!({})) });
    wait_for("the outage to end", || (read(&gateway, "good-new").status == 200).then_some(()));
    is_rejected(&read(&gateway, "good-2"), 401, "at once");
    let wrong = |line: &String| line.contains("does not accept the gateway's client");
    assert_eq!(gateway.log().iter().filter(|line| wrong(line)).count(), 1, "only for 401");
    let one = |line: &String| line.contains(r#""message":"cannot introspect a token""#);
    assert_eq!(gateway.log().iter().filter(|line| one(line)).count(), 1, "not again so soon");
}

/// The gateway itself has too many introspections: that is no outage of the endpoint.
#[test]
fn busy_gateway_does_not_admit_revoked_tokens() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", ttl: 0s, max_stale: 1h, in_flight: 2, timeout: 2s");
    for number in 0..3 {
        assert_eq!(read(&gateway, &format!("good-{number}")).status, 200);
    }
    let gate = introspection.respond_behind_gate(inactive);
    let received = introspection.endpoint.received().len();
    thread::scope(|scope| {
        for number in 0..2 {
            let gateway = &gateway;
            scope.spawn(move || read(gateway, &format!("good-{number}")));
        }
        let both = || (introspection.endpoint.received().len() == received + 2).then_some(());
        wait_for("both to be in flight", both);
        let third = read(&gateway, "good-2");
        is_rejected(&third, 503, "it waited for its turn");
        assert_eq!(reason(&gateway, &third), "introspection_busy");
        gate.set(true);
    });
    is_rejected(&read(&gateway, "good-2"), 401, "revoked");
}

#[test]
fn requests_with_one_token_are_introspected_once() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", per_source: 1, timeout: 1m");
    let gate = introspection.respond_behind_gate(|| active(json!({})));
    thread::scope(|scope| {
        let reads: Vec<_> = (0..16).map(|_| scope.spawn(|| read(&gateway, "good").status)).collect();
        wait_for("all requests to wait", || {
            let waiting = series(&gateway.metrics());
            let waiting = waiting.iter().find(|one| one.name == "sessiongate_requests_in_flight")?;
            (waiting.value >= 16.0).then_some(())
        });
        gate.set(true);
        let statuses: BTreeSet<u16> = reads.into_iter().map(|read| read.join().unwrap()).collect();
        assert_eq!(statuses, [200].into());
    });
    assert_eq!(introspection.calls("good"), 1);
}

/// Strangers send different tokens, of which the endpoint knows none, and it is slow to say so.
#[test]
fn flood_of_strangers_does_not_keep_known_callers_out() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", ttl: 0s, in_flight: 4, per_source: 100, timeout: 30s");
    assert_eq!(read(&gateway, "good-known").status, 200);
    let gate = Gate::closed();
    introspection.respond({
        let gate = gate.clone();
        move |token| {
            if token == "good-known" {
                return active(json!({}));
            }
            gate.pass();
            inactive()
        }
    });
    let strangers = || introspection.endpoint.received().iter().filter(|one| form(one)["token"].len() > 20).count();
    thread::scope(|scope| {
        let flood: Vec<_> = (0..24)
            .map(|number| {
                let token = format!("stranger-with-a-long-token-{number}");
                let gateway = &gateway;
                scope.spawn(move || read(gateway, &token))
            })
            .collect();
        wait_for("the strangers' permits to be in use", || (strangers() == 2).then_some(()));
        wait_for("the others to be rejected", || {
            (flood.iter().filter(|one| one.is_finished()).count() == 18).then_some(())
        });
        let began = Instant::now();
        for _ in 0..20 {
            assert_eq!(read(&gateway, "good-known").status, 200, "introspected each time, through the flood");
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(strangers(), 2, "no more of them");
        let new = read(&gateway, "good-new");
        is_rejected(&new, 503, "too many unknown tokens");
        assert_eq!(reason(&gateway, &new), "introspection_busy");
        gate.set(true);
        let mut statuses = BTreeMap::new();
        for one in flood {
            *statuses.entry(one.join().unwrap().status).or_insert(0) += 1;
        }
        assert_eq!(statuses, [(401, 6), (503, 18)].into(), "two permits, and two waiting for each");
    });
    assert_eq!(introspection.world.provider.received().len(), 1, "the session is cached; no stranger came so far");
}

#[test]
fn unknown_tokens_of_one_source_are_bounded() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", per_source: 2, timeout: 30s");
    let gate = introspection.respond_behind_gate(inactive);
    thread::scope(|scope| {
        for number in 0..2 {
            let gateway = &gateway;
            scope.spawn(move || is_rejected(&read(gateway, &format!("stranger-{number}")), 401, "in the end"));
        }
        wait_for("both to be in flight", || (introspection.endpoint.received().len() == 2).then_some(()));
        let third = read(&gateway, "stranger-2");
        assert_eq!((third.status, reason(&gateway, &third).as_str()), (429, "source_busy"));
        gate.set(true);
    });
    is_rejected(&read(&gateway, "stranger-2"), 401, "its turn");
}

#[test]
fn assertions_are_signed_and_never_repeated() {
    let introspection = Introspection::new();
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_ref()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(document.as_ref()));
    std::fs::write(&file, pem).unwrap();
    let gateway = introspection.world.gateway(&format!(
        "introspection: {{ url: {}/introspect, client_id: gate, private_key: {{ file: {} }}, key_id: k1, \
        algorithm: EdDSA }}",
        introspection.endpoint.url(),
        file.display()
    ));
    let mut unique = BTreeSet::new();
    for number in 0..3 {
        assert_eq!(read(&gateway, &format!("good-{number}")).status, 200);
    }
    for request in introspection.endpoint.received() {
        assert_eq!(request.header("Authorization"), None);
        let form = form(&request);
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        assert_eq!(form["client_assertion_type"], kind);
        let (message, signature) = form["client_assertion"].rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
        public.verify(message.as_bytes(), &signature).unwrap();
        let parts = message.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
        let parts: Vec<Value> = parts.map(|part| serde_json::from_slice(&part).unwrap()).collect();
        assert_eq!(parts[0], json!({"typ": "JWT", "alg": "EdDSA", "kid": "k1"}));
        let (claims, time) = (&parts[1], now());
        assert_eq!(json!([claims["iss"], claims["sub"], claims["aud"]]), json!(["gate", "gate", ISSUER]));
        let issued = claims["iat"].as_u64().unwrap();
        assert!(issued <= time && issued + 60 > time && claims["exp"].as_u64().unwrap() > time, "{claims}");
        unique.insert(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(unique.len(), 3);
}

#[test]
fn changed_secret_is_used_after_a_reload_and_known_tokens_stay_known() {
    let introspection = Introspection::new();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "first").unwrap();
    let gateway = introspection.world.gateway(&format!(
        "introspection: {{ url: {}/introspect, client_id: gate, client_secret: {{ file: {} }}, ttl: 1h }}",
        introspection.endpoint.url(),
        secret.display()
    ));
    assert_eq!(read(&gateway, "good-1").status, 200);
    std::fs::write(&secret, "second\n").unwrap();
    gateway.signal("HUP");
    gateway.wait_for_log(|line| line.contains("\"configuration applied\""));
    assert_eq!(read(&gateway, "good-1").status, 200);
    assert_eq!(read(&gateway, "good-2").status, 200);
    let sent: Vec<String> = introspection.endpoint.received().iter().map(|one| form(one)["token"].clone()).collect();
    assert_eq!(sent, ["good-1", "good-2"], "the first is still cached");
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("gate:{secret}")));
    let received = introspection.endpoint.received();
    let used: Vec<_> = received.iter().map(|one| one.header("Authorization").unwrap().to_owned()).collect();
    assert_eq!(used, [basic("first"), basic("second")]);
    let results = counted(&gateway, "sessiongate_introspections_total");
    assert_eq!(results, counts(&[("active", 2)]), "the counters go on");
}

#[test]
fn lowered_times_apply_to_cached_tokens_after_a_reload() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway(", ttl: 1h, negative_ttl: 5m");
    assert_eq!(read(&gateway, "good").status, 200);
    is_rejected(&read(&gateway, "new"), 401, "inactive");
    introspection.respond(|token| if token == "new" { active(json!({})) } else { inactive() });
    assert_eq!(read(&gateway, "good").status, 200, "cached");
    is_rejected(&read(&gateway, "new"), 401, "cached");
    let lowered = introspection.options(&introspection.endpoint.url(), ", ttl: 0s, negative_ttl: 0s");
    gateway.rewrite(&introspection.world.config_with(&lowered));
    gateway.signal("HUP");
    gateway.wait_for_log(|line| line.contains("\"configuration applied\""));
    is_rejected(&read(&gateway, "good"), 401, "revoked");
    assert_eq!(read(&gateway, "new").status, 200, "active meanwhile");
}

#[test]
fn endpoint_is_reached_like_the_keys() {
    let introspection = Introspection::new();
    let authority = Authority::new("ours");
    let endpoint = Scripted::start_tls(Arc::new(authority.certify(&["localhost"], |_| {})), |_| active(json!({})));
    let proxy = ForwardProxy::start();
    let url = format!("https://localhost:{}", endpoint.port());
    let trusted = format!(
        "{}\n      ca_file: {}\n      egress_proxy: {{ url: {} }}",
        introspection.options(&url, ""),
        authority.file.display(),
        proxy.url()
    );
    let gateway = introspection.world.gateway(&trusted);
    let before = proxy.heads().len();
    assert_eq!(read(&gateway, "good").status, 200);
    let heads = proxy.heads();
    assert!(heads[before..].iter().any(|head| head.starts_with(&format!("CONNECT localhost:{} ", endpoint.port()))));
    assert_eq!(endpoint.received()[0].header("Host"), Some(format!("localhost:{}", endpoint.port()).as_str()));
    let gateway = introspection.world.gateway(&introspection.options(&url, ""));
    is_rejected(&read(&gateway, "good"), 503, "an unknown CA");
    assert_eq!(endpoint.received().len(), 1, "no token goes to a server that is not verified");
}

#[test]
fn introspected_callers_share_cached_sessions() {
    let introspection = Introspection::new();
    let gateway = introspection.gateway("");
    for token in ["good-1", "good-2"] {
        assert_eq!(read(&gateway, token).status, 200);
    }
    assert_eq!(read(&gateway, &introspection.key.good()).status, 200);
    let reads = introspection.world.provider.received();
    assert_eq!(reads.iter().filter(|one| one.path == SESSION).count(), 1, "one for all");
}
