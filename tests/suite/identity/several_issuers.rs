//! Several issuers of one upstream: `iss` and form of a token decide who verifies it, and no other way is tried.

use crate::harness::issuer::{AUDIENCE, Signer, document, is_rejected, now, read, unsigned};
use crate::harness::{Gateway, Request, Response, Scripted, json_response, series, wait_for};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SHOP: &str = "http://127.0.0.1/shop";
const CRM: &str = "http://127.0.0.1/crm";

/// Two issuers, whose keys have the same ID, and a provider that accepts everything.
struct Issuers {
    shop: Signer,
    crm: Signer,
    shop_keys: Scripted,
    crm_keys: Scripted,
    crm_document: Arc<Mutex<Response>>,
    provider: Scripted,
}

impl Issuers {
    fn new() -> Issuers {
        let (shop, crm) = (Signer::new("one"), Signer::new("one"));
        let (of_shop, of_crm) = (document(&[&shop]), Arc::new(Mutex::new(document(&[&crm]))));
        let own = of_crm.clone();
        Issuers {
            shop_keys: Scripted::start(move |_| of_shop.clone()),
            crm_keys: Scripted::start(move |_| own.lock().unwrap().clone()),
            crm_document: of_crm,
            provider: Scripted::start(|_| json_response(200, r#"{"id":"tokens"}"#)),
            shop,
            crm,
        }
    }

    /// A configuration with more options of the second issuer.
    fn config(&self, more: &str) -> String {
        format!(
            "log: {{ requests: true }}
upstreams:
  auth0:
    dialect: auth0
    url: {}
    cache: {{}}
    auth:
      - {{ issuer: {SHOP}, audience: {AUDIENCE}, jwks: {}/jwks, algorithms: [EdDSA] }}
      - {{ issuer: {CRM}, audience: {AUDIENCE}, jwks: {}/jwks, algorithms: [EdDSA], min_interval: 1s {more} }}
",
            self.provider.url(),
            self.shop_keys.url(),
            self.crm_keys.url(),
        )
    }

    fn gateway(&self, more: &str) -> Gateway {
        let gateway = Gateway::start(&self.config(more));
        gateway.ready();
        gateway
    }
}

/// A token of this issuer, unlike any other.
fn of(signer: &Signer, issuer: &str) -> String {
    signer.token(json!({}), json!({"iss": issuer, "jti": format!("{:?}", std::time::Instant::now())}))
}

/// The `reason` in the access log.
fn reason(gateway: &Gateway, response: &Response) -> String {
    let id = response.header("X-Request-Id").unwrap();
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#) && line.contains(id));
    serde_json::from_str::<Value>(&line).unwrap()["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn keys_of_an_issuer_vouch_for_its_own_tokens_alone() {
    let issuers = Issuers::new();
    let gateway = issuers.gateway("");
    let Issuers { shop, crm, .. } = &issuers;
    for (signer, issuer) in [(shop, SHOP), (crm, CRM)] {
        let token = of(signer, issuer);
        for _ in 0..2 {
            assert_eq!(read(&gateway, &token).status, 200, "{issuer}");
        }
    }
    let sent = issuers.provider.received().len();
    let forged = |claims: &str| {
        let [header, claims] = [r#"{"alg":"EdDSA","kid":"one"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{claims}.AAAA")
    };
    let twice = format!(r#"{{"iss":"{SHOP}","iss":"{CRM}","aud":"{AUDIENCE}","exp":9999999999}}"#);
    for (why, token, expected) in [
        ("the other's keys", of(shop, CRM), "token_signature"),
        ("the other's keys", of(crm, SHOP), "token_signature"),
        ("another issuer", of(shop, "http://127.0.0.1/evil"), "token_issuer"),
        ("nearly the issuer", of(shop, &format!("{SHOP}/")), "token_issuer"),
        ("no issuer", shop.token(json!({}), json!({"iss": null})), "token_malformed"),
        ("two issuers", shop.token(json!({}), json!({"iss": [SHOP, CRM]})), "token_malformed"),
        ("an issuer twice", forged(&twice), "token_malformed"),
        ("claims that are no JSON", forged("evil"), "token_malformed"),
        ("no signature", format!("{}.", unsigned("one", json!({}), json!({"iss": SHOP}))), "token_signature"),
        ("expired", crm.token(json!({}), json!({"iss": CRM, "exp": now() - 60})), "token_expired"),
        ("another audience", crm.token(json!({}), json!({"iss": CRM, "aud": "evil"})), "token_audience"),
    ] {
        let response = read(&gateway, &token);
        is_rejected(&response, 401, why);
        assert_eq!(reason(&gateway, &response), expected, "{why}");
    }
    for (why, token) in [("opaque", "opaque-evil"), ("five parts", "e.v.i.l.x")] {
        is_rejected(&read(&gateway, token), 400, why);
    }
    assert_eq!(issuers.provider.received().len(), sent, "no rejected token reaches the provider");
}

#[test]
fn callers_of_different_issuers_share_no_cached_response() {
    let issuers = Issuers::new();
    let gateway = issuers.gateway("");
    let cached = |token: &str| {
        let response = read(&gateway, token);
        assert_eq!(response.status, 200);
        response.header("Cache-Status").unwrap_or_default().contains("hit")
    };
    assert!(!cached(&of(&issuers.shop, SHOP)));
    assert!(!cached(&of(&issuers.crm, CRM)), "the provider may treat callers of another issuer differently");
    assert!(cached(&of(&issuers.shop, SHOP)) && cached(&of(&issuers.crm, CRM)));
    let deleted = Request::new("DELETE", crate::harness::issuer::SESSION).bearer(&of(&issuers.crm, CRM));
    assert_eq!(deleted.send(&gateway.url()).status, 200);
    assert_eq!(read(&gateway, &of(&issuers.shop, SHOP)).status, 404, "a write invalidates for callers of all issuers");
}

#[test]
fn opaque_tokens_are_introspected_at_the_issuer_that_declares_it() {
    let issuers = Issuers::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s3cret").unwrap();
    // It says of every token that it is active, with the issuer that the token names.
    let endpoint = Scripted::start(|request| {
        let form = String::from_utf8(request.body.clone()).unwrap();
        let issuer = if form.contains("shop") { SHOP } else { CRM };
        let claims = json!({"active": true, "iss": issuer, "aud": AUDIENCE, "sub": "x", "exp": now() + 60,
            "scope": "read:sessions"});
        json_response(200, &claims.to_string())
    });
    let more = format!(
        ", introspection: {{ url: {}/introspect, client_id: gate, client_secret: {{ file: {}/secret }} }}",
        endpoint.url(),
        folder.path().display()
    );
    let gateway = issuers.gateway(&more);
    assert_eq!(read(&gateway, "token-of-crm").status, 200);
    let foreign = read(&gateway, "token-of-shop");
    is_rejected(&foreign, 401, "the endpoint of one issuer does not vouch for another");
    assert_eq!(reason(&gateway, &foreign), "token_issuer");
    let calls = endpoint.received().len();
    is_rejected(&read(&gateway, &of(&issuers.shop, CRM)), 401, "a JWT that fails is not introspected");
    is_rejected(&read(&gateway, &of(&issuers.crm, "evil")), 401, "nor one of an unknown issuer");
    assert_eq!(endpoint.received().len(), calls);
}

/// The usable keys in the metrics.
fn keys(gateway: &Gateway) -> f64 {
    series(&gateway.metrics()).iter().find(|one| one.name == "sessiongate_jwks_keys").unwrap().value
}

#[test]
fn issuer_without_keys_fails_for_its_own_tokens_alone() {
    let issuers = Issuers::new();
    *issuers.crm_document.lock().unwrap() = json_response(500, "{}");
    let gateway = Gateway::start(&format!("readiness_timeout: 0s\n{}", issuers.config("")));
    gateway.ready();
    let shop = of(&issuers.shop, SHOP);
    wait_for("the keys of the first issuer", || (read(&gateway, &shop).status == 200).then_some(()));
    is_rejected(&read(&gateway, &of(&issuers.crm, CRM)), 503, "its keys are missing");
    let ready = Request::new("GET", "/readyz").send(&gateway.admin_url()).json();
    let problem = ready["checks"]["upstream.auth0.keys"].as_str().unwrap();
    assert!(problem.contains(CRM) && !problem.contains(SHOP), "{ready}");
    assert_eq!(keys(&gateway), 0.0, "of the issuer that is worst off");
    *issuers.crm_document.lock().unwrap() = document(&[&issuers.crm]);
    wait_for("its keys", || (read(&gateway, &of(&issuers.crm, CRM)).status == 200).then_some(()));
    assert_eq!(keys(&gateway), 1.0);
}

/// The issuers in this order, with the keys that are at these addresses.
fn listed(issuers: &Issuers, all: &[(&str, &Scripted)]) -> String {
    let item = |(issuer, keys): &(&str, &Scripted)| {
        format!(
            "      - {{ issuer: {issuer}, audience: {AUDIENCE}, jwks: {}/jwks, algorithms: [EdDSA], min_interval: 1s }}\n",
            keys.url()
        )
    };
    let items: String = all.iter().map(item).collect();
    let url = issuers.provider.url();
    format!("upstreams:\n  auth0:\n    dialect: auth0\n    url: {url}\n    cache: {{}}\n    auth:\n{items}")
}

/// Activates a configuration.
fn reload(gateway: &Gateway, text: &str) {
    let activated = || {
        let all = series(&gateway.metrics());
        let reloads = all.iter().filter(|one| one.name == "sessiongate_config_reloads_total");
        reloads.filter(|one| one.labels["result"] == "applied").map(|one| one.value).sum::<f64>()
    };
    let before = activated();
    gateway.rewrite(text);
    gateway.signal("HUP");
    wait_for("the configuration to be activated", || (activated() > before).then_some(()));
}

#[test]
fn reload_keeps_keys_and_tokens_wherever_an_issuer_is_in_the_list() {
    let issuers = Issuers::new();
    let Issuers { shop_keys, crm_keys, .. } = &issuers;
    let silent = Scripted::start(|_| json_response(500, "{}"));
    let gateway = Gateway::start(&listed(&issuers, &[(SHOP, shop_keys), (CRM, crm_keys)]));
    gateway.ready();
    let (shop, crm) = (of(&issuers.shop, SHOP), of(&issuers.crm, CRM));
    let served = || (read(&gateway, &shop).status, read(&gateway, &crm).status);
    let verified = || {
        let all = series(&gateway.metrics());
        let checks = all.iter().filter(|one| one.name == "sessiongate_token_checks_total");
        checks.filter(|one| one.labels["result"] == "verified").map(|one| one.value).sum::<f64>()
    };
    assert_eq!((served(), verified()), ((200, 200), 2.0));
    let fetches = shop_keys.received().len() + crm_keys.received().len();
    let new = ("http://127.0.0.1/new", &silent);
    for list in [
        vec![(CRM, crm_keys), (SHOP, shop_keys)],
        vec![new, (SHOP, shop_keys), (CRM, crm_keys)],
        vec![(CRM, crm_keys), new, (SHOP, shop_keys)],
    ] {
        reload(&gateway, &listed(&issuers, &list));
        assert_eq!(served(), (200, 200), "also if a new issuer has no keys yet");
    }
    assert_eq!(shop_keys.received().len() + crm_keys.received().len(), fetches, "no keys were fetched again");
    assert_eq!(verified(), 2.0, "no token was verified again");
    reload(&gateway, &listed(&issuers, &[new, (CRM, crm_keys)]));
    assert_eq!(served(), (401, 200), "an issuer can be removed while a new one has no keys");
}

#[test]
fn reload_with_another_issuer_keeps_the_keys_and_tokens_of_the_others() {
    let issuers = Issuers::new();
    let one = "upstreams:\n  auth0:\n    dialect: auth0\n    url: URL\n    cache: {}\n    auth:\n      \
        - { issuer: SHOP, audience: AUDIENCE, jwks: KEYS/jwks, algorithms: [EdDSA] }\n";
    let one = one.replace("URL", &issuers.provider.url()).replace("SHOP", SHOP).replace("AUDIENCE", AUDIENCE);
    let one = one.replace("KEYS", &issuers.shop_keys.url());
    let gateway = Gateway::start(&one);
    gateway.ready();
    let (shop, crm) = (of(&issuers.shop, SHOP), of(&issuers.crm, CRM));
    assert_eq!((read(&gateway, &shop).status, read(&gateway, &crm).status), (200, 401));
    let fetches = issuers.shop_keys.received().len();
    let reload = |text: &str, expected: u16| {
        gateway.rewrite(text);
        gateway.signal("HUP");
        wait_for("the configuration to be activated", || {
            assert_eq!(read(&gateway, &shop).status, 200);
            (read(&gateway, &crm).status == expected).then_some(())
        });
    };
    reload(&issuers.config(""), 200);
    assert_eq!(issuers.shop_keys.received().len(), fetches, "the keys were not fetched again");
    reload(&one, 401);
}
