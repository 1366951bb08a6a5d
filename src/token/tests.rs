use super::*;
use jsonwebtoken::DecodingKey;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::sync::LazyLock;

const NOW: u64 = 1_800_000_000;
const BOUND: &str = "its claim `cnf` binds it to a key, and only bearer tokens are accepted";

static SIGNER: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    install_crypto_provider();
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap()
});

/// The demonstration key of the sandbox, in DER.
static RSA_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pem = include_bytes!("../sandbox/auth0_demo_key.pem");
    PrivateKeyDer::from_pem_slice(pem).unwrap().secret_der().to_vec()
});

fn jwk(members: Value) -> Value {
    let point = SIGNER.public_key().as_ref();
    let (x, y) = point[1..].split_at(32);
    let mut jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    jwk
}

const ALL: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn keys(jwks: &[Value]) -> Result<KeySet, String> {
    KeySet::parse(json!({ "keys": jwks }).to_string().as_bytes(), ALL)
}

fn signed(header: Value, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let signature = SIGNER.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn good_header() -> Value {
    json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" })
}

fn claims(changes: Value) -> String {
    let mut claims = json!({
        "iss": "https://i/", "aud": ["other", "https://a/"], "sub": "me", "exp": NOW + 100, "scope": "read:sessions a",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims.to_string()
}

fn names() -> ClaimNames {
    let client_id = vec!["client_id".to_owned(), "azp".to_owned()];
    ClaimNames { scopes: "scope".into(), client_id, ..ClaimNames::default() }
}

fn expectations() -> Expectations {
    Expectations {
        issuers: vec!["https://i/".into()],
        audiences: vec!["https://a/".into()],
        algorithms: vec![Algorithm::ES256, Algorithm::RS256],
        leeway: 10,
        claims: names(),
        token_type: None,
    }
}

fn verified(token: &str) -> Result<Verified, VerificationError> {
    verify(token, &keys(&[jwk(json!({}))]).unwrap(), &expectations(), NOW)
}

fn rejection(token: &str) -> Rejection {
    match verified(token).unwrap_err() {
        VerificationError::Rejected(rejection) => rejection,
        VerificationError::UnknownKey => panic!("unknown key"),
    }
}

fn rejected_claims(changes: Value) -> Rejection {
    rejection(&signed(good_header(), &claims(changes)))
}

#[test]
fn a_good_token_names_its_caller() {
    let verified = verified(&signed(good_header(), &claims(json!({})))).unwrap();
    assert_eq!(verified.caller().subject, "me");
    assert!(verified.caller().has_scope("read:sessions") && !verified.caller().has_scope("read"));
    assert!(verified.is_valid_at(NOW + 99) && !verified.is_valid_at(NOW + 100));
}

#[test]
fn client_is_named_by_the_first_claim_that_has_it() {
    let client = |payload: &str| verified(&signed(good_header(), payload)).unwrap().caller().client_id.clone();
    let long = "x".repeat(1025);
    for (changes, expected) in [
        (json!({}), None),
        (json!({ "client_id": "a" }), Some("a")),
        (json!({ "azp": "b" }), Some("b")),
        (json!({ "client_id": "a", "azp": "b" }), Some("a")),
        (json!({ "client_id": 5, "azp": "b" }), Some("b")),
        (json!({ "client_id": ["a"] }), None),
        (json!({ "client_id": "" }), None),
        (json!({ "client_id": &long[1..] }), Some(&long[1..])),
        (json!({ "client_id": long }), None),
    ] {
        assert_eq!(client(&claims(changes.clone())).as_deref(), expected, "{changes}");
    }
    let twice = claims(json!({ "client_id": "a" })).replace("\"sub\"", "\"client_id\":\"a\",\"sub\"");
    assert_eq!(client(&twice), None, "a duplicate");
    let null = claims(json!({})).replace("\"sub\"", "\"client_id\":null,\"sub\"");
    assert_eq!(client(&null), None, "null");
}

#[test]
fn every_required_claim_is_required_in_its_only_form() {
    for (changes, reason) in [
        (json!({ "iss": null }), "its claim `iss` is missing"),
        (json!({ "aud": null }), "its claim `aud` is missing"),
        (json!({ "exp": null }), "its claim `exp` is missing"),
        (json!({ "iss": ["https://i/"] }), "its claim `iss` is malformed"),
        (json!({ "aud": 5 }), "its claim `aud` is malformed"),
        (json!({ "aud": ["https://a/", 5] }), "its claim `aud` is malformed"),
        (json!({ "exp": "1900000000" }), "its claim `exp` is malformed"),
        (json!({ "nbf": "0" }), "its claim `nbf` is malformed"),
        (json!({ "sub": 1 }), "its claim `sub` is malformed"),
        (json!({ "scope": { "read:sessions": true } }), "its claim `scope` is malformed"),
    ] {
        assert_eq!(rejected_claims(changes.clone()), Rejection::TokenMalformed(reason.into()), "{changes}");
    }
    let good = claims(json!({}));
    for (payload, reason) in [
        (good.replace("\"sub\"", "\"iss\":\"https://evil/\",\"sub\""), "its claim `iss` is duplicated"),
        (good.replace("\"sub\"", "\"\\u0073cope\":\"all\",\"sub\""), "its claim `scope` is duplicated"),
        (good.replace("\"exp\":", "\"exp\":null,\"exp\":"), "its claim `exp` is duplicated"),
        (good.replace("\"exp\":", "\"exp\":1e999,\"x\":"), "its claim `exp` is malformed"),
        (good.replace("\"exp\":", "\"exp\":null,\"x\":"), "its claim `exp` is missing"),
        (good.replace("\"exp\":", "\"cnf\":{},\"exp\":"), BOUND),
        (good.replace("\"exp\":", "\"cnf\":null,\"cnf\":null,\"exp\":"), "its claim `cnf` is duplicated"),
        (format!("[{good}]"), "its claims are not a JSON object"),
        (good.replace('}', ""), "its claims are not a JSON object"),
        (String::new(), "its claims are not a JSON object"),
    ] {
        assert_eq!(rejection(&signed(good_header(), &payload)), Rejection::TokenMalformed(reason.into()), "{payload}");
    }
    for (name, value) in [("x5t#S256", "hash"), ("jkt", "hash")] {
        assert_eq!(rejected_claims(json!({ "cnf": { name: value } })), Rejection::TokenMalformed(BOUND.into()));
    }
    let null = good.replace("\"exp\":", "\"cnf\":null,\"exp\":");
    assert!(verified(&signed(good_header(), &null)).is_ok(), "bound to nothing");
    let listed = verified(&signed(good_header(), &claims(json!({ "scope": ["read:sessions", "a"] })))).unwrap();
    assert!(listed.caller().has_scope("read:sessions") && listed.caller().has_scope("a"));
    assert_eq!(rejected_claims(json!({ "iss": "https://i" })), Rejection::TokenIssuer);
    assert_eq!(rejected_claims(json!({ "aud": "https://a" })), Rejection::TokenAudience("https://a/".into()));
}

#[test]
fn times_are_checked_with_the_leeway_and_no_more() {
    assert!(verified(&signed(good_header(), &claims(json!({ "exp": NOW - 9 })))).is_ok());
    assert_eq!(rejected_claims(json!({ "exp": NOW - 10 })), Rejection::TokenExpired);
    assert_eq!(rejected_claims(json!({ "exp": -1 })), Rejection::TokenExpired);
    assert!(verified(&signed(good_header(), &claims(json!({ "nbf": NOW + 10 })))).is_ok());
    assert_eq!(rejected_claims(json!({ "nbf": NOW + 11 })), Rejection::TokenNotYetValid);
    assert!(verified(&signed(good_header(), &claims(json!({ "exp": 1e300 })))).is_ok());
}

#[test]
fn headers_cannot_choose_how_they_are_checked() {
    let with = |changes: Value| {
        let mut header = good_header();
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        signed(header, &claims(json!({})))
    };
    for crit in
        [json!(["b64"]), json!([]), json!(null), json!(["exp"]), json!("exp"), json!({}), json!(false), json!(0)]
    {
        assert_eq!(rejection(&with(json!({ "crit": crit }))), Rejection::TokenExtension("crit"), "{crit}");
    }
    for b64 in [json!(false), json!(true), json!(null)] {
        assert_eq!(rejection(&with(json!({ "b64": b64 }))), Rejection::TokenExtension("b64"), "{b64}");
    }
    assert_eq!(rejection(&with(json!({ "typ": "logout+jwt" }))), Rejection::TokenType);
    for algorithm in ["none", "HS256", "ES384", "es256"] {
        assert_eq!(rejection(&with(json!({ "alg": algorithm }))), Rejection::TokenAlgorithm, "{algorithm}");
    }
    assert_eq!(
        verified(&with(json!({ "alg": "RS256" }))),
        Err(VerificationError::UnknownKey),
        "allowed, but not with this key"
    );
    assert_eq!(verified(&with(json!({ "kid": "k2" }))), Err(VerificationError::UnknownKey));
    assert!(verified(&with(json!({ "jwk": {}, "jku": "https://evil/" }))).is_ok(), "what it offers is not looked at");
}

#[test]
fn headers_are_read_strictly() {
    let claims = claims(json!({}));
    let spelled = |header: &str| {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
        let signature = SIGNER.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        verified(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    };
    assert!(spelled(r#" {"alg":"ES256","kid":"k1"} "#).is_ok());
    for header in [
        r#"{"alg":"ES256","kid":"k1","alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"k2","kid":"k1"}"#,
        r#"{"alg":"ES256","kid":"k1","x":1,"x":1}"#,
        r#"{"alg":"ES256","kid":"k1","\u006bid":"k1"}"#,
        r#"{"alg":"ES256","kid":"k1","jwk":{"a":1,"a":2}}"#,
        r#"{"alg":"ES256","kid":null}"#,
        r#"{"alg":"ES256","kid":"k1","typ":null}"#,
        r#"{"alg":["ES256"],"kid":"k1"}"#,
        r#"{"kid":"k1"}"#,
        r#"{"alg":"ES256","kid":"k1"} {}"#,
        r#"{"alg":"ES256","kid":"k1",}"#,
        r#"{"alg":"ES256","kid":"k1","x":"\ud800"}"#,
        r#"["ES256","k1"]"#,
        "null",
        "",
    ] {
        assert_eq!(spelled(header), Err(VerificationError::Rejected(Rejection::CredentialMalformed)), "{header}");
    }
}

#[test]
fn modified_tokens_are_rejected() {
    let token = signed(good_header(), &claims(json!({})));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let other = URL_SAFE_NO_PAD.encode(claims(json!({ "scope": "delete:sessions" })));
    assert_eq!(rejection(&format!("{header}.{other}.{signature}")), Rejection::TokenSignature);
    assert_eq!(rejection(&format!("{message}.")), Rejection::TokenSignature);
    for malformed in ["", "a", "a.b", "a.b.c.d", "!.b.c", &format!("{header}..")] {
        let rejection = rejection(malformed);
        assert!(
            matches!(rejection, Rejection::CredentialMalformed | Rejection::TokenSignature),
            "{malformed}: {rejection:?}"
        );
    }
}

#[test]
fn only_keys_for_signatures_are_taken_from_a_document() {
    assert!(keys(&[jwk(json!({ "use": "enc" }))]).is_err());
    assert!(keys(&[json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "k1" })]).is_err());
    for used in [
        json!({}),
        json!({ "key_ops": ["verify"] }),
        json!({ "key_ops": ["sign", "verify"] }),
        json!({ "alg": "ES256" }),
        json!({ "x5c": ["MIIB"], "x5t": "a", "x5u": "https://evil/", "ext": true, "new": {} }),
    ] {
        assert_eq!(keys(&[jwk(used.clone())]).map(|keys| keys.len()), Ok(1), "{used}");
    }
    let length = |length: usize| URL_SAFE_NO_PAD.encode(vec![1; length]);
    for unused in [
        json!({ "use": "SIG" }),
        json!({ "use": "" }),
        json!({ "use": null }),
        json!({ "use": ["sig"] }),
        json!({ "key_ops": ["encrypt"] }),
        json!({ "key_ops": ["sign"] }),
        json!({ "key_ops": [] }),
        json!({ "key_ops": null }),
        json!({ "key_ops": "verify" }),
        json!({ "key_ops": ["verify", "verify"] }),
        json!({ "key_ops": ["Verify"] }),
        json!({ "key_ops": ["verify"], "use": "enc" }),
        json!({ "key_ops": ["deriveKey"], "use": "sig" }),
        json!({ "d": length(32) }),
        json!({ "d": null }),
        json!({ "k": "c2VjcmV0" }),
        json!({ "alg": null }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "es256" }),
        json!({ "kid": 1 }),
        json!({ "crv": "P-384" }),
        json!({ "crv": "secp256k1" }),
        json!({ "kty": "ec" }),
        json!({ "kty": "RSA" }),
        json!({ "x": length(31) }),
        json!({ "y": length(33) }),
        json!({ "x": "*" }),
        json!({ "x": null }),
    ] {
        assert!(keys(&[jwk(unused.clone())]).is_err(), "{unused}");
    }
    let twice = jwk(json!({})).to_string().replacen('{', r#"{"use":"sig","#, 1);
    assert!(KeySet::parse(format!(r#"{{"keys":[{twice}]}}"#).as_bytes(), ALL).is_err(), "a member twice");
    let only_certificate = json!({ "kty": "EC", "crv": "P-256", "kid": "k1", "x5c": ["MIIB"] });
    assert!(keys(&[only_certificate]).is_err());
    assert!(keys(&[jwk(json!({ "alg": "ES384" }))]).is_err(), "named for another algorithm");
    assert_eq!(keys(&[json!({ "kty": "NEW" }), json!(5), jwk(json!({}))]).unwrap().len(), 1);
    assert!(keys(&vec![jwk(json!({})); 101]).is_err());
    assert!(KeySet::parse(b"<html>", ALL).is_err());
}

#[test]
fn weak_keys_are_not_used() {
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa =
        |n: &[u8], e: &[u8]| keys(&[json!({ "kty": "RSA", "kid": "k1", "n": number(n), "e": number(e) })]).is_ok();
    let modulus = |length: usize, first: u8, last: u8| {
        let mut bytes = vec![0xa5; length];
        (bytes[0], bytes[length - 1]) = (first, last);
        bytes
    };
    let good = modulus(256, 0x80, 1);
    assert!(rsa(&good, &[1, 0, 1]) && rsa(&good, &[3]) && rsa(&modulus(1024, 0xff, 1), &[1, 0, 1]));
    assert!(rsa(&[&[0][..], &good].concat(), &[0, 1, 0, 1]), "a byte before it changes nothing of its value");
    for (n, why) in [
        (modulus(256, 0x7f, 1), "2047 bits"),
        (modulus(128, 0xff, 1), "1024 bits"),
        ([vec![0; 128], modulus(128, 0xff, 1)].concat(), "1024 bits that look like 2048"),
        (modulus(1025, 1, 1), "more than 8192 bits"),
        (modulus(256, 0x80, 2), "even"),
        (vec![], "none"),
        (vec![0; 256], "zero"),
    ] {
        assert!(!rsa(&n, &[1, 0, 1]), "{why}");
    }
    for e in [&[][..], &[0], &[1], &[2], &[4], &[1, 0, 0], &[4, 0, 0, 0, 1], &[1; 6]] {
        assert!(!rsa(&good, e), "{e:?}");
    }
    let private = json!({ "kty": "RSA", "kid": "k1", "n": number(&good), "e": "AQAB", "p": "AQ" });
    assert!(keys(&[private]).is_err());
    let edwards = |x: &[u8]| keys(&[json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": number(x) })]).is_ok();
    let point = |first: u8, rest: u8, last: u8| {
        let mut point = [rest; 32];
        (point[0], point[31]) = (first, last);
        point
    };
    assert!(edwards(&point(9, 0x33, 0x7f)));
    for weak in [point(0, 0, 0), point(1, 0, 0), point(1, 0, 0x80), point(0xec, 0xff, 0x7f), point(0xed, 0xff, 0xff)] {
        assert!(!edwards(&weak), "{weak:?}");
    }
    assert!(!edwards(&[9; 31]) && !edwards(&[9; 33]));
}

/// The caller of a token with these claims, if they are read as grants need them.
fn granted(changes: Value) -> Result<Caller, Rejection> {
    let names = ClaimNames {
        scopes: "permissions".into(),
        client_id: vec!["azp".into(), "app".into()],
        client_decides: true,
        client_is_declared: false,
        roles: Some("roles".into()),
        groups: Some("https://i/groups".into()),
        organization: Some("org".into()),
        session: Some("sid".into()),
        others: vec!["gty".into(), "absent".into()],
    };
    let payload = claims(changes);
    Claims::parse(payload.as_bytes(), &names).map(|claims| claims.caller)
}

#[test]
fn claims_say_who_the_caller_is() {
    let caller = granted(json!({
        "permissions": ["a", "", "b c"], "azp": "", "app": ["shop"], "org": ["o"], "sid": "s", "gty": true,
        "roles": { "admin": { "123": "acme.example" }, "support": {}, "b": true, "c": "",
            "d": false, "e": null, "f": 1, "g": [] }, "https://i/groups": ["x", 7, 1.50, false],
    }));
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let expected = Caller {
        issuer: "https://i/".into(),
        client_id: Some("shop".into()),
        subject: "me".into(),
        scopes: texts(&["a", "b c"]),
        roles: texts(&["admin", "b", "c", "support"]),
        groups: texts(&["x", "7", "1.5", "false"]),
        organization: Some("o".into()),
        session: Some("s".into()),
        claims: vec![("gty".into(), texts(&["true"])), ("absent".into(), Vec::new())],
        expires_at: 0,
    };
    assert_eq!(caller, Ok(expected));
    let none = granted(json!({ "org": [], "sid": "", "roles": null, "gty": {} })).unwrap();
    assert_eq!((none.client_id, none.organization, none.session, none.roles), (None, None, None, Vec::new()));
}

/// A claim that grants match never loses a part silently.
#[test]
fn a_malformed_claim_that_decides_makes_the_token_invalid() {
    let long = "x".repeat(1025);
    let many: Vec<usize> = (0..257).collect();
    for (changes, fault) in [
        (json!({ "roles": ["a", null] }), "`roles` is malformed"),
        (json!({ "roles": ["a", ["b"]] }), "`roles` is malformed"),
        (json!({ "roles": [{ "a": 1 }] }), "`roles` is malformed"),
        (json!({ "roles": ["a", long.clone()] }), "`roles` is too large"),
        (json!({ "gty": many }), "`gty` is too large"),
        (json!({ "https://i/groups": { long.clone(): {} } }), "`https://i/groups` is too large"),
        (json!({ "org": ["a", "b"] }), "`org` is malformed"),
        (json!({ "sid": { "a": {} } }), "`sid` is malformed"),
        (json!({ "sid": [["a"]] }), "`sid` is malformed"),
        (json!({ "org": 5 }), "`org` is malformed"),
        (json!({ "org": true }), "`org` is malformed"),
        (json!({ "org": long.clone() }), "`org` is too large"),
        (json!({ "azp": 5, "app": "shop" }), "`azp` is malformed"),
        (json!({ "azp": { "shop": {} } }), "`azp` is malformed"),
        (json!({ "azp": ["shop", "other"] }), "`azp` is malformed"),
        (json!({ "permissions": "a ".repeat(513) }), "`permissions` is too large"),
        (json!({ "permissions": vec!["a"; 513] }), "`permissions` is too large"),
        (json!({ "permissions": ["a", long.clone()] }), "`permissions` is too large"),
        (json!({ "permissions": vec!["x".repeat(1000); 9] }), "`permissions` is too large"),
        (json!({ "app": long }), "`app` is too large"),
        (json!({ "permissions": { "a": 1 } }), "`permissions` is malformed"),
    ] {
        let expected = Rejection::TokenMalformed(format!("its claim {fault}"));
        assert_eq!(granted(changes.clone()), Err(expected), "{changes}");
    }
    let names = ClaimNames { roles: Some("roles".into()), ..names() };
    for payload in [
        r#""roles":"a","roles":"a""#,
        r#""roles":"\ud800""#,
        r#""roles":{"a":{},"a":{}}"#,
        r#""roles":{"a":{},"\u0061":false}"#,
    ] {
        let payload = claims(json!({})).replace("\"sub\"", &format!("{payload},\"sub\""));
        assert!(Claims::parse(payload.as_bytes(), &names).is_err(), "{payload}");
    }
}

/// A key with a zero byte before its modulus is the same key.
#[test]
fn a_modulus_with_a_leading_zero_verifies() {
    install_crypto_provider();
    let expected = Expectations {
        issuers: vec!["http://127.0.0.1:18301/".into()],
        audiences: vec!["http://127.0.0.1:18301/api/v2/".into()],
        algorithms: vec![Algorithm::RS256],
        leeway: 0,
        claims: names(),
        token_type: None,
    };
    let token = include_str!("../../tests/cases/keys/leading-zero-modulus/token.txt").trim();
    let plain: Value =
        serde_json::from_str(include_str!("../../tests/cases/keys/leading-zero-modulus/plain.jwks.json")).unwrap();
    let jwk = plain["keys"][0].clone();
    let n = jwk["n"].as_str().unwrap().to_owned();
    let with = |name: &str, value: String| {
        let mut jwk = jwk.clone();
        jwk[name] = value.into();
        jwk
    };
    for (jwk, why) in [
        (jwk.clone(), "as it should be"),
        (with("n", format!("AAAA{n}")), "three zero bytes"),
        (with("n", format!("{n}==")), "padding"),
        (with("n", n.replace('-', "+").replace('_', "/")), "the other alphabet"),
        (with("e", "AAEAAQ==".into()), "a zero byte before the exponent, and padding"),
    ] {
        assert!(verify(token, &keys(&[jwk]).unwrap(), &expected, NOW).is_ok(), "{why}");
    }
    let zero = include_bytes!("../../tests/cases/keys/leading-zero-modulus/jwks.json");
    assert!(
        verify(token, &KeySet::parse(zero, ALL).unwrap(), &expected, NOW).is_ok(),
        "a zero byte before the modulus"
    );
}

/// A key pair with a coordinate that has a leading zero byte, and its `x` and `y`.
fn short_pair() -> (EcdsaKeyPair, Vec<u8>, Vec<u8>) {
    let random = SystemRandom::new();
    loop {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        if x[0] == 0 || y[0] == 0 {
            let (x, y) = (x.to_vec(), y.to_vec());
            return (pair, x, y);
        }
    }
}

#[test]
fn coordinates_with_too_few_or_many_zeros_verify() {
    install_crypto_provider();
    let (pair, x, y) = short_pair();
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(good_header().to_string()), URL_SAFE_NO_PAD.encode(claims(json!({}))));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    let stripped = |bytes: &[u8]| bytes[bytes.iter().take_while(|byte| **byte == 0).count()..].to_vec();
    let padded = |bytes: &[u8]| [&[0], bytes].concat();
    for (x, y) in
        [(x.clone(), y.clone()), (stripped(&x), stripped(&y)), (padded(&x), y.clone()), (padded(&x), padded(&y))]
    {
        let keys = keys(&[jwk(json!({ "x": URL_SAFE_NO_PAD.encode(&x), "y": URL_SAFE_NO_PAD.encode(&y) }))]).unwrap();
        assert!(verify(&token, &keys, &expected(ALL), NOW).is_ok(), "{} and {} bytes", x.len(), y.len());
    }
}

fn expected(algorithms: &[Algorithm]) -> Expectations {
    Expectations {
        issuers: vec!["https://i/".into()],
        audiences: vec!["https://a/".into()],
        algorithms: algorithms.to_vec(),
        leeway: 0,
        claims: names(),
        token_type: None,
    }
}

/// Unusable keys are left out, and each is listed with its reason.
#[test]
fn unusable_keys_are_left_out_and_listed() {
    let off = URL_SAFE_NO_PAD.encode([7; 32]);
    let long = URL_SAFE_NO_PAD.encode([7; 33]);
    let edwards = |x: &[u8]| json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": URL_SAFE_NO_PAD.encode(x) });
    let mut none = [0; 32];
    none[0] = 2;
    let rsa = |n: &[u8]| json!({ "kty": "RSA", "kid": "rsa", "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB" });
    for (entry, said, may_sign) in [
        (jwk(json!({ "x": off })), "key `k1`: its point does not lie on its curve", true),
        (jwk(json!({ "x": long })), "key `k1`: a coordinate of it has more than 32 bytes", true),
        (jwk(json!({ "y": "*" })), "key `k1`: its `y` is not base64url", true),
        (jwk(json!({ "alg": "ES512" })), "key `k1`: its `alg` is `ES512`, which does not match its type", true),
        (jwk(json!({ "crv": "P-521" })), "key `k1`: its type `EC` with curve `P-521` is not supported", true),
        (jwk(json!({ "use": "enc" })), "key `k1`: its `use` is `enc`", false),
        (jwk(json!({ "key_ops": ["sign"] })), "key `k1`: its `key_ops` has no `verify`", false),
        (
            jwk(json!({ "d": "AA" })),
            "key `k1`: it is a private or symmetric key: everyone who reads it could sign tokens",
            true,
        ),
        (edwards(&none), "key `ed`: its point does not lie on its curve", true),
        (edwards(&[9; 31]), "key `ed`: its `x` has 31 bytes, not 32", true),
        (rsa(&[0xa5; 128]), "key `rsa`: its modulus has 1024 bits, not 2048 to 8192", true),
        (rsa(&[0xa4; 256]), "key `rsa`: its modulus is even", true),
        (json!({ "kty": "RSA", "n": "AQAB" }), "key number 2: it has no `e`", true),
    ] {
        let found = keys(&[jwk(json!({ "kid": "good" })), entry.clone()]).unwrap();
        assert_eq!(found.len(), 1, "{entry}");
        let unused_keys = UnusedKey { what: said.to_owned(), may_sign };
        assert_eq!(found.unused_keys(), [unused_keys], "{entry}");
        assert_eq!(
            keys(&[entry]).map(|_| ()).unwrap_err().replace("number 1", "number 2"),
            format!("has no usable key: {said}")
        );
    }
    let document = json!({ "keys": [jwk(json!({}))] }).to_string();
    let error = KeySet::parse(document.as_bytes(), &[Algorithm::RS256]).map(|_| ()).unwrap_err();
    assert_eq!(error, "has no usable key: key `k1`: it is for ES256, which `algorithms` does not allow");
    let long = jwk(json!({ "kid": "k".repeat(10_000), "alg": "x".repeat(10_000) }));
    let error = keys(&vec![long; 20]).map(|_| ()).unwrap_err();
    assert!(error.len() < 2000 && error.ends_with("; and 15 more"), "{error}");
}

#[test]
fn all_keys_of_one_name_are_tried() {
    let (_, x, y) = short_pair();
    let other = jwk(json!({ "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) }));
    let token = signed(good_header(), &claims(json!({})));
    for set in [[other.clone(), jwk(json!({}))], [jwk(json!({})), other.clone()]] {
        assert!(verify(&token, &keys(&set).unwrap(), &expected(ALL), NOW).is_ok());
    }
    let set = keys(&[other.clone(), other]).unwrap();
    assert_eq!(verify(&token, &set, &expected(ALL), NOW), Err(Rejection::TokenSignature.into()));
}

/// RFC 9864 has a name of its own for the one curve of `EdDSA`.
#[test]
fn ed25519_is_eddsa_in_keys_and_tokens() {
    install_crypto_provider();
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    for of_key in [json!("EdDSA"), json!("Ed25519")] {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "alg": of_key, "x": x });
        for of_token in ["EdDSA", "Ed25519"] {
            let header = json!({ "alg": of_token, "kid": "k1" }).to_string();
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims(json!({}))));
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())));
            let keys = keys(std::slice::from_ref(&key)).unwrap();
            let verdict = verify(&token, &keys, &expected(&[Algorithm::EdDSA]), NOW);
            assert!(verdict.is_ok(), "{of_key} {of_token}: {verdict:?}");
            let verdict = verify(&token, &keys, &expected(&[Algorithm::ES256]), NOW);
            assert_eq!(verdict, Err(Rejection::TokenAlgorithm.into()));
        }
    }
}

#[test]
fn a_token_without_kid_needs_a_single_candidate() {
    let expected = Expectations {
        issuers: vec!["https://i/".into()],
        audiences: vec!["https://a/".into()],
        algorithms: vec![Algorithm::ES256],
        leeway: 0,
        claims: names(),
        token_type: None,
    };
    let token = signed(json!({ "alg": "ES256" }), &claims(json!({})));
    assert!(verify(&token, &keys(&[jwk(json!({}))]).unwrap(), &expected, NOW).is_ok());
    let two = keys(&[jwk(json!({})), jwk(json!({ "kid": "k2" }))]).unwrap();
    assert!(verify(&token, &two, &expected, NOW).is_err());
}

/// Wycheproof: of its signatures, exactly the valid ones verify.
#[test]
fn wycheproof_signatures_verify_only_if_valid() {
    install_crypto_provider();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpora/jwt");
    let suites = [
        ("rsa_signature_2048_sha256_test.json", Algorithm::RS256),
        ("ecdsa_secp256r1_sha256_p1363_test.json", Algorithm::ES256),
        ("ed25519_test.json", Algorithm::EdDSA),
    ];
    for (name, algorithm) in suites {
        let text = std::fs::read(format!("{folder}/{name}")).unwrap();
        let suite: Value = serde_json::from_slice(&text).unwrap();
        let mut cases = 0;
        for group in suite["testGroups"].as_array().unwrap() {
            let pem = group["publicKeyPem"].as_str().unwrap().as_bytes();
            let key = match algorithm {
                Algorithm::RS256 => DecodingKey::from_rsa_pem(pem),
                Algorithm::ES256 => DecodingKey::from_ec_pem(pem),
                _ => DecodingKey::from_ed_pem(pem),
            };
            let Ok(key) = key else { continue };
            for case in group["tests"].as_array().unwrap() {
                let bytes = |name: &str| {
                    let digits = case[name].as_str().unwrap();
                    (0..digits.len())
                        .step_by(2)
                        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                        .collect::<Vec<u8>>()
                };
                let signature = URL_SAFE_NO_PAD.encode(bytes("sig"));
                let good = jsonwebtoken::crypto::verify(&signature, &bytes("msg"), &key, algorithm).unwrap_or(false);
                match case["result"].as_str().unwrap() {
                    "valid" => assert!(good, "{name} {}", case["tcId"]),
                    "invalid" => assert!(!good, "{name} {}", case["tcId"]),
                    _ => {}
                }
                cases += 1;
            }
        }
        assert!(cases > 100, "{name}: only {cases} cases");
    }
}

/// The same for whole tokens with their own keys: keys, headers and signatures.
#[test]
fn wycheproof_tokens_verify_only_if_valid() {
    install_crypto_provider();
    let text = include_str!("../../tests/corpora/jwt/json_web_signature_test.json");
    let suite: Value = serde_json::from_str(text).unwrap();
    let algorithms = "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA";
    let expected = Expectations {
        issuers: Vec::new(),
        audiences: Vec::new(),
        algorithms: algorithms.split(' ').map(|name| name.parse().unwrap()).collect(),
        leeway: 0,
        claims: names(),
        token_type: None,
    };
    let (mut good, mut bad) = (0, 0);
    for group in suite["testGroups"].as_array().unwrap() {
        let Ok(keys) = keys(std::slice::from_ref(&group["public"])) else { continue };
        for case in group["tests"].as_array().unwrap() {
            let Some(token) = case["jws"].as_str() else { continue };
            let verdict = verify(token, &keys, &expected, NOW);
            // Their payloads are not claims, which is detected only after a valid signature.
            let signed = verdict == Err(Rejection::TokenMalformed("its claims are not a JSON object".into()).into());
            match case["result"].as_str().unwrap() {
                "invalid" => {
                    assert!(!signed, "{} {}: {verdict:?}", case["tcId"], case["comment"]);
                    bad += 1;
                }
                _ if signed => good += 1,
                // Its key is for another algorithm than the token's.
                _ => assert_eq!(verdict, Err(VerificationError::UnknownKey), "{} {}", case["tcId"], case["comment"]),
            }
        }
    }
    assert!(good >= 3 && bad > 200, "{good} good, {bad} bad");
}

fn claims_of_shop() -> String {
    claims(json!({ "active": true, "client_id": "shop" }))
}

fn introspect(changes: Value) -> Result<Verified, IntrospectionError> {
    let mut response: Value = serde_json::from_str(&claims(changes)).unwrap();
    if response["active"].is_null() {
        response["active"] = json!(true);
    }
    introspected(response.to_string().as_bytes(), "opaque.token", &expectations(), NOW)
}

#[test]
fn active_opaque_token_has_the_claims_of_a_jwt() {
    let verified = introspect(json!({ "client_id": "shop", "token_type": "bearer" })).unwrap();
    let caller = verified.caller();
    assert_eq!((caller.subject.as_str(), caller.client_id.as_deref()), ("me", Some("shop")));
    assert_eq!(
        (caller.scopes.as_slice(), caller.expires_at),
        (&["read:sessions".to_owned(), "a".into()][..], NOW + 100)
    );
    assert!(verified.is_valid_at(NOW + 99) && !verified.is_valid_at(NOW + 100));
    let other = introspected(claims(json!({"active": true})).as_bytes(), "opaque.other", &expectations(), NOW).unwrap();
    assert_ne!(verified.fingerprint(), other.fingerprint(), "the whole token counts");
    assert_eq!(other.caller().client_id, None);
    let claims_only = ClaimNames { client_id: vec!["app".into()], ..names() };
    for (client_is_declared, found) in [(false, Some("shop")), (true, None)] {
        let claims = ClaimNames { client_is_declared, ..claims_only.clone() };
        let expected = Expectations { claims, ..expectations() };
        let response = claims_of_shop();
        let verified = introspected(response.as_bytes(), "opaque", &expected, NOW).unwrap();
        assert_eq!(verified.caller().client_id.as_deref(), found, "another claim names no client if one is declared");
    }
}

#[test]
fn only_claims_of_an_acceptable_jwt_are_accepted_of_an_active_token() {
    let malformed = |text: &str| Rejection::TokenMalformed(text.into());
    for (changes, rejection) in [
        (json!({"active": false}), Rejection::TokenInactive),
        (json!({"iss": null}), malformed("its claim `iss` is missing")),
        (json!({"iss": ["https://i/"]}), malformed("its claim `iss` is malformed")),
        (json!({"iss": "https://other/"}), Rejection::TokenIssuer),
        (json!({"aud": null}), malformed("its claim `aud` is missing")),
        (json!({"aud": []}), Rejection::TokenAudience("https://a/".into())),
        (json!({"aud": "https://b/"}), Rejection::TokenAudience("https://a/".into())),
        (json!({"exp": null}), malformed("its claim `exp` is missing")),
        (json!({"exp": "1900000000"}), malformed("its claim `exp` is malformed")),
        (json!({"exp": NOW - 10}), Rejection::TokenExpired),
        (json!({"nbf": NOW + 11}), Rejection::TokenNotYetValid),
        (json!({"sub": 5}), malformed("its claim `sub` is malformed")),
        (json!({"scope": {}}), malformed("its claim `scope` is malformed")),
        (json!({"token_type": "DPoP"}), Rejection::TokenType),
        (json!({"token_type": "Bearer", "cnf": {"x5t#S256": "hash"}}), malformed(BOUND)),
        (json!({"scope": "x ".repeat(513)}), malformed("its claim `scope` is too large")),
        (json!({"token_type": 1}), malformed("its claim `token_type` is malformed")),
    ] {
        let error = introspect(changes.clone()).unwrap_err();
        assert_eq!(error, IntrospectionError::Rejected(rejection), "{changes}");
    }
}

#[test]
fn responses_without_a_literal_active_say_nothing() {
    let good = claims(json!({}));
    let with = |active: &str| good.replacen('{', &format!("{{{active},"), 1);
    for response in [
        String::new(),
        "<html>".into(),
        "[]".into(),
        "true".into(),
        good.clone(),
        with(r#""active":"true""#),
        with(r#""active":1"#),
        with(r#""active":null"#),
        with(r#""active":[true]"#),
        with(r#""Active":true"#),
        with(r#""active":true,"active":true"#),
        with(r#""active":true"#) + "{}",
    ] {
        let error = introspected(response.as_bytes(), "t", &expectations(), NOW).unwrap_err();
        assert_eq!(error, IntrospectionError::Unusable, "{response}");
    }
    assert!(introspected(with(r#""active":true"#).as_bytes(), "t", &expectations(), NOW).is_ok());
    let twice = with(r#""active":true,"aud":"https://a/""#);
    let error = introspected(twice.as_bytes(), "t", &expectations(), NOW).unwrap_err();
    assert_eq!(error, IntrospectionError::Rejected(Rejection::TokenMalformed("its claim `aud` is duplicated".into())));
}

#[test]
fn assertions_of_each_kind_of_key_can_be_verified() {
    install_crypto_provider();
    let random = SystemRandom::new();
    let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let p384 = EcdsaKeyPair::generate_pkcs8(&ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let edwards = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let rsa = RsaKeyPair::from_pkcs8(&RSA_KEY).unwrap();
    let curve =
        |scheme, key: &[u8]| EcdsaKeyPair::from_pkcs8(scheme, key, &random).unwrap().public_key().as_ref().to_vec();
    let of_p256 = curve(&ECDSA_P256_SHA256_FIXED_SIGNING, p256.as_ref());
    let of_p384 = curve(&ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING, p384.as_ref());
    let of_edwards = Ed25519KeyPair::from_pkcs8(edwards.as_ref()).unwrap().public_key().as_ref().to_vec();
    let of_rsa = rsa.public_key().as_ref().to_vec();
    let rsa_algorithms =
        [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
    let rsa = rsa_algorithms.map(|algorithm| (algorithm, RSA_KEY.as_slice(), DecodingKey::from_rsa_der(&of_rsa)));
    let others = [
        (Algorithm::ES256, p256.as_ref(), DecodingKey::from_ec_der(&of_p256)),
        (Algorithm::ES384, p384.as_ref(), DecodingKey::from_ec_der(&of_p384)),
        (Algorithm::EdDSA, edwards.as_ref(), DecodingKey::from_ed_der(&of_edwards)),
    ];
    for (algorithm, private, public) in rsa.into_iter().chain(others) {
        let key = ClientKey::new("k1".into(), algorithm, private).unwrap();
        let assertion = key.assertion("gate", "https://i/", "once", NOW).unwrap();
        let (message, signature) = assertion.rsplit_once('.').unwrap();
        let verified = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &public, algorithm);
        assert_eq!(verified, Ok(true), "{algorithm:?}");
        let parts: Vec<Value> = message
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0], json!({"typ": "JWT", "alg": format!("{algorithm:?}"), "kid": "k1"}));
        let expected = json!({
            "iss": "gate", "sub": "gate", "aud": "https://i/", "jti": "once", "iat": NOW, "exp": NOW + 300,
        });
        assert_eq!(parts[1], expected);
        assert!(!format!("{key:?}").contains("content"), "{key:?}");
    }
    for (algorithm, private) in [
        (Algorithm::RS256, p256.as_ref()),
        (Algorithm::ES384, p256.as_ref()),
        (Algorithm::EdDSA, p256.as_ref()),
        (Algorithm::ES256, edwards.as_ref()),
        (Algorithm::HS256, b"secret".as_slice()),
        (Algorithm::RS256, b"".as_slice()),
    ] {
        assert!(ClientKey::new("k1".into(), algorithm, private).is_err(), "{algorithm:?}");
    }
}
