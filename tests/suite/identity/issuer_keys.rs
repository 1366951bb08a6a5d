//! Keys of issuers: rotation, failed fetches, and keys that cannot be used.

use crate::harness::issuer::{ISSUER, Signer, World, config, document, is_rejected, read};
use crate::harness::{
    Authority, DnsServer, Gateway, Request, Response, Scripted, json_response, long, series, skipped, unused_address,
    wait_for,
};
use rustls::ServerConfig;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn rotated_key_is_fetched_on_its_first_token() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let world = World::new(&[&old]);
    let gateway = world.gateway("min_interval: 1s");
    let remembered = old.good();
    assert_eq!(read(&gateway, &remembered).status, 200);
    world.publish(document(&[&new]));
    wait_for("a token of the new key to be believed", || (read(&gateway, &new.good()).status == 200).then_some(()));
    is_rejected(&read(&gateway, &old.good()), 401, "the old key is gone");
    is_rejected(&read(&gateway, &remembered), 401, "a token that was remembered goes with its key");
}

/// A reload that makes another issuer of the same keys must not look like a rotation.
#[test]
fn keys_are_updated_only_if_they_change() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let world = World::new(&[&old]);
    let gateway = world.gateway("min_interval: 1s");
    let logged = |what: &str| {
        let message = format!(r#""message":"issuer keys {what}""#);
        gateway.log().iter().filter(|line| line.contains(&message)).count()
    };
    gateway.wait_for_log(|line| line.contains("issuer keys fetched"));
    let text = std::fs::read_to_string(gateway.folder().join("gateway.yaml")).unwrap();
    let other = text.replace(&format!("issuer: {ISSUER}\n"), "issuer: https://other.test/\n");
    assert_ne!(text, other);
    gateway.rewrite(&other);
    gateway.signal("HUP");
    wait_for("the keys of the other issuer", || (logged("fetched") == 2).then_some(()));
    world.publish(document(&[&new]));
    let of_new =
        || new.token(json!({}), json!({ "iss": "https://other.test/", "jti": format!("{:?}", Instant::now()) }));
    wait_for("a token of the new key to be accepted", || (read(&gateway, &of_new()).status == 200).then_some(()));
    gateway.wait_for_log(|line| line.contains("issuer keys updated"));
    assert_eq!((logged("fetched"), logged("updated")), (2, 1));
}

/// Tokens with unknown key IDs use up the allowed fetches just before the keys change.
#[test]
fn unknown_key_probes_do_not_delay_key_rotation() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let world = World::new(&[&old]);
    let gateway = world.gateway("min_interval: 2s");
    let probe = || read(&gateway, &old.token(json!({"kid": "nobody's"}), json!({})));
    is_rejected(&probe(), 401, "a key that nobody has");
    world.publish(document(&[&old, &new]));
    let (before, began) = (world.fetches(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| is_rejected(&probe(), 401, "a key that nobody has"));
        }
        for number in 0..32 {
            let (gateway, new) = (&gateway, &new);
            let token = move || new.token(json!({}), json!({ "sub": format!("caller {number}") }));
            scope.spawn(move || assert_eq!(read(gateway, &token()).status, 200, "a token of the new key"));
        }
    });
    // One at once, and one in each interval that they take, which is one where the machine is not busy.
    let most = began.elapsed().as_secs() / 2 + 2;
    let fetches = world.fetches() - before;
    assert!((1..=most).contains(&(fetches as u64)), "{fetches} fetches for all of them");
}

#[test]
fn unknown_keys_cause_one_fetch_per_min_interval() {
    let key = Signer::new("one");
    let world = World::new(&[&key]);
    let flood = |gateway: &Gateway, lasts: Duration, status: u16| {
        let began = Instant::now();
        let ask = || {
            while began.elapsed() < lasts {
                let token = key.token(json!({"kid": format!("{:?}", Instant::now())}), json!({}));
                let response = read(gateway, &token);
                is_rejected(&response, status, "an unknown key");
                let rest = response.header("Retry-After").map_or(0, |rest| rest.parse::<u64>().unwrap());
                assert!(status == 401 || (3000..=3601).contains(&rest), "the rest of the interval: {rest}");
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(ask);
            }
        });
        began.elapsed()
    };
    let gateway = world.gateway("min_interval: 1h");
    let before = world.fetches();
    flood(&gateway, Duration::from_millis(500), 503);
    assert_eq!(world.fetches(), before, "fetched again within the interval");
    drop(gateway);
    let gateway = world.gateway("min_interval: 1s");
    let before = world.fetches();
    let took = flood(&gateway, Duration::from_millis(2500), 401);
    let fetches = world.fetches() - before;
    assert!(fetches >= 1, "never fetched");
    assert!(fetches as u64 <= took.as_secs() + 1, "{fetches} fetches in {took:?}");
}

#[test]
fn previous_keys_stay_in_use_while_the_issuer_fails() {
    let key = Signer::new("one");
    let world = World::new(&[&key]);
    let gateway = world.gateway("min_interval: 1s");
    let failures = || {
        let text = gateway.metrics();
        let mut lines = text.lines().filter(|line| line.starts_with("sessiongate_jwks_fetches_total{"));
        let line = lines.find(|line| line.contains(r#"result="failed""#));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let huge = format!(r#"{{"keys":[],"more":"{}"}}"#, "x".repeat(300 * 1024));
    for (ill, response) in [
        ("fails", json_response(500, "{}")),
        ("is something else", json_response(200, "<html>")),
        ("has no keys", json_response(200, r#"{"keys":[]}"#)),
        ("has no key that is of use", json_response(200, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#)),
        ("is huge", json_response(200, &huge)),
    ] {
        let before = failures();
        world.publish(response);
        wait_for("a fetch that fails", || {
            let unknown = key.token(json!({"kid": "other"}), json!({}));
            is_rejected(&read(&gateway, &unknown), 503, "nobody can say whether there is such a key");
            (failures() > before).then_some(())
        });
        assert_eq!(read(&gateway, &key.good()).status, 200, "while the document {ill}");
        let ready = Request::new("GET", "/readyz").send(&gateway.admin_url());
        assert_eq!(ready.status, 200, "while the document {ill}");
    }
    let log = gateway.log().join("\n");
    assert!(log.contains("cannot fetch issuer keys"), "{log}");
}

#[test]
fn gateway_waits_at_start_for_an_unreachable_issuer() {
    let key = Signer::new("one");
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let away = unused_address([127, 0, 9, 2]);
    let text = config(&provider.url(), &format!("http://{away}"), "min_interval: 1s");
    let gateway = Gateway::start(&text);
    let admin = gateway.admin_url();
    assert_eq!(Request::new("GET", "/livez").send(&admin).status, 200);
    let ready = Request::new("GET", "/readyz").send(&admin);
    assert_eq!(ready.status, 503);
    let reasons = ready.json()["reasons"].to_string();
    assert!(reasons.contains("upstream.auth0") && reasons.contains("keys"), "{reasons}");
    let rejected = read(&gateway, &key.good());
    is_rejected(&rejected, 503, "no keys yet");
    assert!(rejected.header("Retry-After").is_some());
    let passed = Request::new("GET", "/api/v2/anything").send(&gateway.url());
    assert_eq!(passed.status, 200, "what is not governed needs no keys");
    assert_eq!(provider.received().len(), 1);
    let jwk = key.jwk();
    let _back = Scripted::start_at(away, move |_| json_response(200, &json!({ "keys": [jwk] }).to_string()));
    gateway.ready();
    assert_eq!(read(&gateway, &key.good()).status, 200);
}

#[test]
fn hanging_issuer_does_not_block_the_gateway() {
    let key = Signer::new("one");
    let provider = Scripted::start(|_| json_response(200, "{}"));
    // The system accepts connections; no response follows.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", silent.local_addr().unwrap());
    let mut gateway = Gateway::start(&config(&provider.url(), &issuer, "fetch_timeout: 3s"));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| is_rejected(&read(&gateway, &key.good()), 503, "no keys yet"));
        }
    });
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn expired_keys_are_no_longer_accepted() {
    if !long() {
        return skipped("keys that are too old (takes 15 s; --long)");
    }
    let key = Signer::new("one");
    let world = World::new(&[&key]);
    let gateway = world.gateway("refresh: 10s\n      max_stale: 10s\n      min_interval: 1s");
    world.publish(json_response(500, "{}"));
    wait_for("old keys to be no longer believed", || (read(&gateway, &key.good()).status == 503).then_some(()));
    world.publish(document(&[&key]));
    wait_for("new keys to be believed", || (read(&gateway, &key.good()).status == 200).then_some(()));
}

/// An issuer over TLS whose discovery document sends to `jwks`, or to itself where that is empty.
fn issuer_over_tls(config: ServerConfig, keys: &Response, jwks: &str) -> Scripted {
    let (keys, jwks) = (keys.clone(), jwks.to_owned());
    Scripted::start_tls(Arc::new(config), move |request| match request.path.as_str() {
        "/keys" => keys.clone(),
        "/.well-known/openid-configuration" => {
            let own = format!("https://{}/keys", request.header("Host").unwrap());
            let jwks = if jwks.is_empty() { &own } else { &jwks };
            json_response(200, &json!({ "jwks_uri": jwks }).to_string())
        }
        _ => json_response(404, "{}"),
    })
}

#[test]
fn keys_are_fetched_over_tls_with_certificate_verification() {
    let key = Signer::new("one");
    let keys = document(&[&key]);
    let authority = Authority::new("ours");
    let trusted = format!("ca_file: {}", authority.file.display());
    let certified = |name: &str| authority.certify(&[name], |_| {});
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let name = |issuer: &Scripted| format!("https://localhost:{}/", issuer.port());
    let start = |issuer: &Scripted, trusted: &str| {
        Gateway::start(&format!(
            "upstreams:
  auth0:
    dialect: auth0
    url: {}
    auth:
      issuer: {}
      audience: here
      algorithms: [EdDSA]
      {trusted}
",
            provider.url(),
            name(issuer)
        ))
    };
    let token = |issuer: &Scripted| key.token(json!({}), json!({"iss": name(issuer), "aud": "here"}));
    let good = issuer_over_tls(certified("localhost"), &keys, "");
    let gateway = start(&good, &trusted);
    gateway.ready();
    assert_eq!(read(&gateway, &token(&good)).status, 200);
    let plain = Scripted::start({
        let keys = keys.clone();
        move |_| keys.clone()
    });
    for (why, issuer, trusted) in [
        ("unknown authority", issuer_over_tls(certified("localhost"), &keys, ""), ""),
        ("another name", issuer_over_tls(certified("other.example"), &keys, ""), &*trusted),
        ("keys in the clear", issuer_over_tls(certified("localhost"), &keys, &plain.url()), &trusted),
    ] {
        let gateway = start(&issuer, trusted);
        gateway.wait_for_log(|line| line.contains("cannot fetch issuer keys"));
        is_rejected(&read(&gateway, &token(&issuer)), 503, why);
        let ready = Request::new("GET", "/readyz").send(&gateway.admin_url());
        assert_eq!(ready.status, 503, "{why}");
    }
    assert_eq!(plain.received().len(), 0, "keys in the clear are not even asked for");
}

#[test]
fn log_tells_causes_of_failed_key_fetches_apart() {
    let keys = document(&[&Signer::new("one")]);
    let provider = Scripted::start(|_| json_response(200, "{}"));
    let dns = DnsServer::start(&[]);
    // The system accepts connections; no response follows.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = unused_address([127, 0, 9, 4]);
    let tls = issuer_over_tls(Authority::new("ours").certify(&["localhost"], |_| {}), &keys, "");
    let issuer = Scripted::start(move |request| match request.path.as_str() {
        "/moved/jwks" => {
            let mut moved = json_response(301, "");
            moved.headers.push(("Location".into(), "https://id.example/keys".into()));
            moved
        }
        "/html/jwks" => json_response(200, "<html>"),
        "/huge/jwks" => json_response(200, &"x".repeat(300 * 1024)),
        _ => json_response(404, "{}"),
    });
    for (url, cause, reason) in [
        ("http://nowhere.test".to_owned(), "dns", "unknown host"),
        (format!("http://{away}"), "connect", "no connection: "),
        (format!("https://localhost:{}", tls.port()), "tls", "TLS handshake failed: invalid peer certificate"),
        (format!("https://127.0.0.1:{}", issuer.port()), "tls", "TLS handshake failed: "),
        (format!("http://{}", silent.local_addr().unwrap()), "timeout", "no complete response within 1000 ms"),
        (issuer.url(), "status", "response 404 Not Found"),
        (format!("{}/moved", issuer.url()), "redirect", "a redirect to https://id.example/keys"),
        (format!("{}/html", issuer.url()), "document", "not a JWKS document"),
        (format!("{}/huge", issuer.url()), "response", "the response has more than 262144 bytes"),
    ] {
        let more = "allow_http: true\n      fetch_timeout: 1s";
        let dns = format!("dns: {{ servers: ['{}'] }}\n", dns.address());
        let gateway = Gateway::start(&(dns + &config(&provider.url(), &url, more)));
        let line = gateway.wait_for_log(|line| line.contains(r#""message":"cannot fetch issuer keys""#));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["cause"], cause, "{line}");
        let shown = line["reason"].as_str().unwrap();
        assert!(shown.starts_with(&format!("{url}/jwks: ")) && shown.contains(reason), "{line}");
    }
}

#[test]
fn another_cause_of_failed_fetches_is_logged_again() {
    let key = Signer::new("one");
    let world = World::new(&[]);
    let gateway = Gateway::start(&world.config());
    let failure = |cause: &str| {
        let cause = format!(r#""cause":"{cause}""#);
        gateway.wait_for_log(|line| line.contains("cannot fetch issuer keys") && line.contains(&cause))
    };
    failure("document");
    world.publish(json_response(500, "{}"));
    failure("status");
    world.publish(document(&[&key]));
    gateway.wait_for_log(|line| line.contains("issuer keys can be fetched again"));
    assert_eq!(gateway.log().iter().filter(|line| line.contains("cannot fetch issuer keys")).count(), 2);
}

#[test]
fn unusable_keys_are_logged_and_not_counted() {
    let (good, same_name) = (Signer::new("one"), Signer::new("one"));
    let world = World::new(&[&good]);
    let wrong = json!({"kty": "OKP", "crv": "Ed25519", "kid": "wrong", "x": "Ag".repeat(16)});
    let unread = json!({"kty": "RSA", "kid": "unread", "n": 5, "e": "AQAB"});
    let encrypts = json!({"kty": "RSA", "kid": "encrypts", "use": "enc", "n": "AQAB", "e": "AQAB"});
    let keys = json!([wrong, unread, encrypts, same_name.jwk(), good.jwk()]);
    world.publish(json_response(200, &json!({ "keys": keys }).to_string()));
    let gateway = world.gateway("");
    let line = gateway.wait_for_log(|line| line.contains("issuer keys not usable"));
    assert!(line.contains("key `wrong`: its `x`") && line.contains("key `unread`: it cannot be parsed"), "{line}");
    assert!(!line.contains("encrypts"), "{line}");
    gateway.wait_for_log(|line| line.contains("other uses") && line.contains("key `encrypts`: its `use` is `enc`"));
    assert!(gateway.metrics().contains("sessiongate_jwks_keys{upstream=\"auth0\"} 2"), "those that are usable");
    assert_eq!(read(&gateway, &good.good()).status, 200, "the second of its name");
    assert_eq!(read(&gateway, &same_name.good()).status, 200, "and the first");
}

/// An issuer whose discovery document names the issuer that `name` has, after its own URL.
fn discovered(keys: &Response, name: &Arc<Mutex<&'static str>>) -> Scripted {
    let (keys, name) = (keys.clone(), name.clone());
    Scripted::start(move |request| match request.path.as_str() {
        "/.well-known/openid-configuration" => {
            let own = format!("http://{}", request.header("Host").unwrap());
            let issuer = format!("{own}{}", name.lock().unwrap());
            json_response(200, &json!({ "issuer": issuer, "jwks_uri": format!("{own}/keys") }).to_string())
        }
        _ => keys.clone(),
    })
}

/// The check of the only upstream's issuer, in the body of `/readyz`.
fn issuer_check(body: &Value) -> Option<String> {
    let (_, result) = body["checks"].as_object().unwrap().iter().find(|(name, _)| name.ends_with(".auth0.issuer"))?;
    result.as_str().map(str::to_owned)
}

#[test]
fn discovery_of_another_issuer_is_reported_and_does_not_end_readiness() {
    let key = Signer::new("one");
    let name = Arc::new(Mutex::new("/"));
    let issuer = discovered(&document(&[&key]), &name);
    let provider = Scripted::start(|_| json_response(200, r#"{"id":"tokens"}"#));
    let own = issuer.url();
    let more = format!("auth: {{ issuer: '{own}', audience: here, algorithms: [EdDSA], min_interval: 1s }}");
    let gateway =
        Gateway::start(&format!("upstreams:\n  auth0:\n    dialect: auth0\n    url: {}\n    {more}\n", provider.url()));
    gateway.ready();
    let message = r#""message":"the issuer's discovery document names another issuer""#;
    let line: Value = serde_json::from_str(&gateway.wait_for_log(|line| line.contains(message))).unwrap();
    let hint = format!("set `upstreams.auth0.auth.issuer` to `{own}/`: the configured value lacks the final `/`");
    assert_eq!(
        line.as_object().unwrap().iter().filter(|(name, _)| *name != "timestamp").collect::<Vec<_>>(),
        json!({
            "level": "ERROR", "message": "the issuer's discovery document names another issuer", "upstream": "auth0",
            "configured": own, "discovered": format!("{own}/"), "hint": hint, "target": "sessiongate::jwks::state_log",
        })
        .as_object()
        .unwrap()
        .iter()
        .collect::<Vec<_>>()
    );
    let check = || {
        let ready = Request::new("GET", "/readyz").send(&gateway.admin_url());
        assert_eq!(ready.status, 200, "{}", ready.text());
        issuer_check(&ready.json()).unwrap()
    };
    let gauge = || gauges(&gateway.metrics(), "sessiongate_issuer_mismatch");
    assert_eq!(gauge(), [("auth0".to_owned(), 1.0)]);
    let shown = check();
    assert!(shown.contains(&format!("names the issuer `{own}/`, not `{own}`")) && shown.contains(&hint), "{shown}");
    let with = |issuer: &str| key.token(json!({}), json!({ "iss": issuer, "aud": "here" }));
    assert_eq!(read(&gateway, &with(&own)).status, 200, "the keys are used, for the configured issuer");
    is_rejected(&read(&gateway, &with(&format!("{own}/"))), 401, "the document's issuer is not trusted");
    // Each token with an unknown key causes a fetch.
    let fetch = || {
        let before = issuer.received().len();
        wait_for("both documents to be fetched", || {
            read(&gateway, &key.token(json!({"kid": "other"}), json!({})));
            (issuer.received().len() >= before + 2).then_some(())
        });
    };
    fetch();
    *name.lock().unwrap() = "";
    fetch();
    gateway.wait_for_log(|line| line.contains("the issuer's discovery document names the configured issuer"));
    assert_eq!(check(), "ok");
    assert_eq!(gauge(), [("auth0".to_owned(), 0.0)]);
    assert_eq!(gateway.log().iter().filter(|line| line.contains(message)).count(), 1, "not repeated while it lasts");
    gateway.rewrite(&format!(
        "upstreams:\n  other:\n    dialect: auth0\n    url: {}\n    auth: forward\n",
        provider.url()
    ));
    gateway.signal("HUP");
    wait_for("the series to be removed with the upstream", || gauge().is_empty().then_some(()));
}

/// The values of a gauge, each with its upstream.
fn gauges(text: &str, name: &str) -> Vec<(String, f64)> {
    let of_name = series(text).into_iter().filter(|one| one.name == name);
    of_name.map(|one| (one.labels["upstream"].clone(), one.value)).collect()
}

#[test]
fn configured_key_url_needs_no_discovery() {
    let world = World::new(&[&Signer::new("one")]);
    let gateway = world.gateway("");
    let body = Request::new("GET", "/readyz").send(&gateway.admin_url()).json();
    assert!(body["checks"].is_object() && issuer_check(&body).is_none(), "{body}");
    assert!(gauges(&gateway.metrics(), "sessiongate_issuer_mismatch").is_empty());
}
