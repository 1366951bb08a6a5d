//! Which tokens authenticate a caller.

use crate::harness::issuer::{AUDIENCE, ISSUER, SESSION, Signer, World, is_rejected, now, read, unsigned};
use crate::harness::{Gateway, Request, Tenant};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};
use sessiongate::model::Rejection;
use std::collections::BTreeSet;

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
        ("expired", 401, "token_expired", token(plain.clone(), json!({"exp": now() - 31}))),
        ("expired long ago", 401, "token_expired", token(plain.clone(), json!({"exp": 0}))),
        ("expired before the epoch", 401, "token_expired", token(plain.clone(), json!({"exp": -1}))),
        ("no expiry", 401, "token_malformed", token(plain.clone(), json!({"exp": null}))),
        ("an expiry that is text", 401, "token_malformed", token(plain.clone(), json!({"exp": "9999999999"}))),
        ("not valid yet", 401, "token_not_yet_valid", token(plain.clone(), json!({"nbf": now() + 100}))),
        ("a beginning that is text", 401, "token_malformed", token(plain.clone(), json!({"nbf": "0"}))),
        ("another audience", 401, "token_audience", token(plain.clone(), json!({"aud": "https://evil.example/"}))),
        (
            "an audience that begins alike",
            401,
            "token_audience",
            token(plain.clone(), json!({"aud": format!("{AUDIENCE}evil")})),
        ),
        ("no audience", 401, "token_malformed", token(plain.clone(), json!({"aud": null}))),
        ("an empty list of audiences", 401, "token_audience", token(plain.clone(), json!({"aud": []}))),
        ("an audience that is a number", 401, "token_malformed", token(plain.clone(), json!({"aud": 1}))),
        ("another issuer", 401, "token_issuer", token(plain.clone(), json!({"iss": "https://evil.example/"}))),
        (
            "an issuer that is nearly ours",
            401,
            "token_issuer",
            token(plain.clone(), json!({"iss": "http://127.0.0.1"})),
        ),
        ("no issuer", 401, "token_malformed", token(plain.clone(), json!({"iss": null}))),
        (
            "a scope that is an object",
            401,
            "token_malformed",
            token(plain.clone(), json!({"scope": {"read:sessions": true}})),
        ),
        ("no algorithm", 400, "credential_malformed", token(json!({"alg": null}), plain.clone())),
        ("another algorithm", 401, "token_algorithm", token(json!({"alg": "ES256"}), plain.clone())),
        ("an algorithm that is not the key's", 401, "token_key", token(json!({"alg": "RS256"}), plain.clone())),
        (
            "an extension that must be understood",
            401,
            "token_extension",
            token(json!({"crit": ["exp"]}), plain.clone()),
        ),
        ("an empty list of extensions", 401, "token_extension", token(json!({"crit": []}), plain.clone())),
        ("an identity token by its type", 401, "token_type", token(json!({"typ": "dpop+jwt"}), plain.clone())),
        ("an unknown key", 401, "token_key", token(json!({"kid": "evil"}), plain.clone())),
        ("no key named where there are several", 401, "token_kid_missing", token(json!({"kid": null}), plain.clone())),
        ("another key of the issuer's", 401, "token_signature", token(json!({"kid": "two"}), plain.clone())),
        ("a key of the same name", 401, "token_signature", stranger.good()),
        (
            "a key that it brings along",
            401,
            "token_signature",
            stranger.token(json!({"jwk": stranger.jwk()}), plain.clone()),
        ),
        (
            "no signature at all",
            401,
            "token_algorithm",
            format!("{}.", unsigned("one", json!({"alg": "none"}), plain.clone())),
        ),
        (
            "algorithm None",
            401,
            "token_algorithm",
            format!("{}.", unsigned("one", json!({"alg": "None"}), plain.clone())),
        ),
        ("an empty signature", 401, "token_signature", format!("{signed}.")),
        ("a shortened signature", 401, "token_signature", format!("{signed}.{}", &signature[..signature.len() - 4])),
        ("the signature of another token", 401, "token_signature", format!("{head}.{other_claims}.{signature}")),
        ("two parts", 400, "credential_malformed", signed.to_owned()),
        ("four parts", 400, "credential_malformed", format!("{good}.{signature}")),
        ("no base64", 400, "credential_malformed", format!("e%vil.{claims}.{signature}")),
        ("base64 with padding", 401, "token_signature", format!("{good}=")),
        ("no JSON", 400, "credential_malformed", format!("ZXZpbA.{claims}.{signature}")),
        ("too long", 401, "token_too_long", token(plain.clone(), json!({"evil": "x".repeat(9000)}))),
    ];
    for (why, status, reason, token) in &cases {
        let response = read(&gateway, token);
        is_rejected(&response, *status, why);
        let id = response.header("X-Request-Id").unwrap();
        let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#) && line.contains(id));
        assert!(line.contains(&format!(r#""reason":"{reason}""#)), "{why}: expected {reason}: {line}");
    }
    let reasons: BTreeSet<&str> = cases.iter().map(|(_, _, reason, _)| *reason).collect();
    // That of opaque tokens is in another file.
    let of_jwts = |name: &&&str| name.starts_with("token_") && **name != "token_inactive";
    let names = Rejection::names().iter().filter(of_jwts);
    assert_eq!(names.filter(|name| !reasons.contains(**name)).collect::<Vec<_>>(), [&""; 0], "reasons without a case");
    assert_eq!(world.provider.received().len(), 0, "the provider saw none of them");
    assert_eq!(read(&gateway, &good).status, 200, "and the good one is good");
}

/// A configured value that fits no token of the issuer is named; a token that fits no configured value is not.
#[test]
fn first_rejected_token_names_the_option_that_may_be_wrong() {
    const MESSAGE: &str = "first token of the issuer rejected; the option may be wrong";
    let key = Signer::new("one");
    let world = World::new(&[&key]);
    for (claims, reason, option, expected) in [
        (json!({"iss": "http://127.0.0.1"}), "token_issuer", "issuer", ISSUER),
        (json!({"aud": "https://evil.example/"}), "token_audience", "audience", AUDIENCE),
    ] {
        let gateway = world.gateway("");
        is_rejected(&read(&gateway, &key.token(json!({}), json!({"exp": 0}))), 401, "not because of an option");
        is_rejected(&read(&gateway, &Signer::new("one").token(json!({}), claims.clone())), 401, "not the issuer's");
        for _ in 0..2 {
            is_rejected(&read(&gateway, &key.token(json!({}), claims.clone())), 401, reason);
        }
        let line: Value = serde_json::from_str(&gateway.wait_for_log(|line| line.contains(MESSAGE))).unwrap();
        let option = format!("upstreams.auth0.auth.{option}");
        assert_eq!(
            json!([line["level"], line["upstream"], line["cause"], line["option"], line["expected"]]),
            json!(["WARN", "auth0", reason, option, expected])
        );
        assert_eq!(gateway.log().iter().filter(|line| line.contains(MESSAGE)).count(), 1);
    }
    let gateway = world.gateway("");
    assert_eq!(read(&gateway, &key.good()).status, 200);
    let response = read(&gateway, &key.token(json!({}), json!({"iss": "http://127.0.0.1"})));
    let id = response.header("X-Request-Id").unwrap();
    gateway.wait_for_log(|line| line.contains(r#""message":"request""#) && line.contains(id));
    assert!(!gateway.log().iter().any(|line| line.contains(MESSAGE)), "another token was accepted before");
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
