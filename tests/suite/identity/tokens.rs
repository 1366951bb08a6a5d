//! Which tokens authenticate a caller.

use crate::harness::issuer::{AUDIENCE, SESSION, Signer, World, is_rejected, now, read, unsigned};
use crate::harness::{Gateway, Request, Tenant};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

#[test]
fn valid_tokens_are_accepted() {
    let key = Signer::new("one");
    let world = World::new(&[&key, &Signer::new("two")]);
    let gateway = world.gateway("");
    for (why, header, claims) in [
        ("as it should be", json!({}), json!({})),
        ("expired within the leeway", json!({}), json!({"exp": now() - 10})),
        ("begins within the leeway", json!({}), json!({"nbf": now() + 10})),
        ("several audiences", json!({}), json!({"aud": ["https://other.example/", AUDIENCE]})),
        ("a time with a fraction", json!({}), json!({"exp": now() as f64 + 60.5})),
        ("an access token by its type", json!({"typ": "at+jwt"}), json!({})),
        ("no type", json!({"typ": null}), json!({})),
        ("the algorithm's other name", json!({"alg": "Ed25519"}), json!({})),
        ("a list of scopes", json!({}), json!({"scope": ["read:sessions"]})),
        ("unknown members", json!({"x": 1}), json!({"permissions": [{}], "org_id": "a"})),
    ] {
        let response = read(&gateway, &key.token(header, claims));
        assert_eq!(response.status, 200, "{why}: {}", response.text());
    }
    let lower = Request::new("GET", SESSION).header("authorization", &format!("bearer {}", key.good()));
    assert_eq!(lower.send(&gateway.url()).status, 200, "schemes have no case");
}

#[test]
fn invalid_tokens_are_rejected() {
    let key = Signer::new("one");
    let stranger = Signer::new("one");
    let world = World::new(&[&key, &Signer::new("two")]);
    let gateway = world.gateway("min_interval: 1s");
    let good = key.good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let more_scope = unsigned("one", json!({}), json!({"sub": "evil"}));
    let (_, other_claims) = more_scope.split_once('.').unwrap();
    let token = |header: Value, claims: Value| key.token(header, claims);
    let plain = json!({});
    let cases = [
        ("expired", 401, token(plain.clone(), json!({"exp": now() - 31}))),
        ("expired long ago", 401, token(plain.clone(), json!({"exp": 0}))),
        ("expired before the epoch", 401, token(plain.clone(), json!({"exp": -1}))),
        ("no expiry", 401, token(plain.clone(), json!({"exp": null}))),
        ("an expiry that is text", 401, token(plain.clone(), json!({"exp": "9999999999"}))),
        ("not valid yet", 401, token(plain.clone(), json!({"nbf": now() + 100}))),
        ("a beginning that is text", 401, token(plain.clone(), json!({"nbf": "0"}))),
        ("another audience", 401, token(plain.clone(), json!({"aud": "https://evil.example/"}))),
        ("an audience that begins alike", 401, token(plain.clone(), json!({"aud": format!("{AUDIENCE}evil")}))),
        ("no audience", 401, token(plain.clone(), json!({"aud": null}))),
        ("an empty list of audiences", 401, token(plain.clone(), json!({"aud": []}))),
        ("an audience that is a number", 401, token(plain.clone(), json!({"aud": 1}))),
        ("another issuer", 401, token(plain.clone(), json!({"iss": "https://evil.example/"}))),
        ("an issuer that is nearly ours", 401, token(plain.clone(), json!({"iss": "http://127.0.0.1"}))),
        ("no issuer", 401, token(plain.clone(), json!({"iss": null}))),
        ("a scope that is an object", 401, token(plain.clone(), json!({"scope": {"read:sessions": true}}))),
        ("no algorithm", 400, token(json!({"alg": null}), plain.clone())),
        ("another algorithm", 401, token(json!({"alg": "ES256"}), plain.clone())),
        ("an algorithm that is not the key's", 401, token(json!({"alg": "RS256"}), plain.clone())),
        ("an extension that must be understood", 401, token(json!({"crit": ["exp"]}), plain.clone())),
        ("an empty list of extensions", 401, token(json!({"crit": []}), plain.clone())),
        ("an identity token by its type", 401, token(json!({"typ": "dpop+jwt"}), plain.clone())),
        ("an unknown key", 401, token(json!({"kid": "evil"}), plain.clone())),
        ("no key named where there are several", 401, token(json!({"kid": null}), plain.clone())),
        ("another key of the issuer's", 401, token(json!({"kid": "two"}), plain.clone())),
        ("a key of the same name", 401, stranger.good()),
        ("a key that it brings along", 401, stranger.token(json!({"jwk": stranger.jwk()}), plain.clone())),
        ("no signature at all", 401, format!("{}.", unsigned("one", json!({"alg": "none"}), plain.clone()))),
        ("algorithm None", 401, format!("{}.", unsigned("one", json!({"alg": "None"}), plain.clone()))),
        ("an empty signature", 401, format!("{signed}.")),
        ("a shortened signature", 401, format!("{signed}.{}", &signature[..signature.len() - 4])),
        ("the signature of another token", 401, format!("{head}.{other_claims}.{signature}")),
        ("two parts", 400, signed.to_owned()),
        ("four parts", 400, format!("{good}.{signature}")),
        ("no base64", 400, format!("e%vil.{claims}.{signature}")),
        ("base64 with padding", 401, format!("{good}=")),
        ("no JSON", 400, format!("ZXZpbA.{claims}.{signature}")),
        ("too long", 401, token(plain.clone(), json!({"evil": "x".repeat(9000)}))),
    ];
    for (why, status, token) in &cases {
        is_rejected(&read(&gateway, token), *status, why);
    }
    assert_eq!(world.provider.received().len(), 0, "the provider saw none of them");
    assert_eq!(read(&gateway, &good).status, 200, "and the good one is good");
}

#[test]
fn authorization_other_than_one_bearer_token_is_rejected() {
    let key = Signer::new("one");
    let world = World::new(&[&key]);
    let gateway = world.gateway("");
    let good = key.good();
    let with = |values: &[&str]| {
        let request = Request::new("GET", SESSION);
        let request = values.iter().fold(request, |request, value| request.header("Authorization", value));
        request.send(&gateway.url())
    };
    is_rejected(&with(&[]), 401, "none");
    for value in
        ["", "Bearer", "Bearer ", "Basic ZXZpbDpldmls", &good, &format!("Bearer {good} x"), &format!("Bearer {good},x")]
    {
        is_rejected(&with(&[value]), 400, value);
    }
    let two = with(&[&format!("Bearer {good}"), &format!("Bearer {good}")]);
    assert_eq!(two.status, 400, "two of them: {}", two.text());
    let query = Request::new("GET", &format!("{SESSION}?access_token={good}")).send(&gateway.url());
    assert!([400, 401].contains(&query.status), "in the query: {}", query.text());
    assert_eq!(world.provider.received().len(), 0);
}

/// A published key is not a secret: anyone could sign with it.
#[test]
fn public_key_is_not_accepted_as_hmac_secret() {
    let tenant = Tenant::start();
    let gateway = Gateway::start(&tenant.upstream("cache: {}"));
    gateway.ready();
    let keys = Request::new("GET", "/.well-known/jwks.json").send(&tenant.url()).json();
    let jwk = &keys["keys"][0];
    let n = jwk["n"].as_str().unwrap();
    let claims = json!({"iss": format!("{}/", tenant.url()), "aud": format!("{}/api/v2/", tenant.url())});
    let header = json!({"alg": "HS256", "kid": jwk["kid"]});
    let signed = unsigned("", header, claims);
    for secret in [n.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(n).unwrap(), jwk.to_string().into_bytes(), Vec::new()]
    {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
        let request = Request::new("GET", &tenant.session_path()).bearer(&token);
        is_rejected(&request.send(&gateway.url()), 401, "HS256");
    }
    assert_eq!(tenant.calls(), 0);
}

#[test]
fn claims_of_tenant_tokens_are_verified() {
    let tenant = Tenant::start();
    let gateway = Gateway::start(&tenant.upstream(""));
    gateway.ready();
    let status = |claims: Value| {
        let request = Request::new("GET", &tenant.session_path()).bearer(&tenant.sign(claims));
        request.send(&gateway.url()).status
    };
    assert_eq!(status(json!({})), 200);
    assert_eq!(status(json!({"scope": "read:sessions"})), 200);
    assert_eq!(status(json!({"scope": "update:sessions"})), 403);
    assert_eq!(status(json!({"scope": null})), 403);
    assert_eq!(status(json!({"scope": "read:sessions_all read:session"})), 403);
    assert_eq!(status(json!({"exp": now() - 3600})), 401);
    assert_eq!(status(json!({"iss": "https://other.example/"})), 401);
}
