//! An issuer of tokens whose keys the test has, and a gateway that trusts it.

use crate::harness::{Gateway, Request, Response, Scripted, json_response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub const SESSION: &str = "/api/v2/sessions/tokens";
pub const ISSUER: &str = "http://127.0.0.1/";
pub const AUDIENCE: &str = "http://127.0.0.1/api/v2/";

/// A key of an issuer's.
pub struct Signer {
    id: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub fn new(id: &'static str) -> Signer {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        Signer { id, pair }
    }

    /// Its entry in a JWKS document.
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.id, "x": x})
    }

    /// A token with these changes of a good header and good claims; `null` takes a member out.
    pub fn token(&self, header: Value, claims: Value) -> String {
        let signed = unsigned(self.id, header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub fn good(&self) -> String {
        // No two are alike, so that none is remembered.
        self.token(json!({}), json!({"jti": format!("{:?}", Instant::now())}))
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn unsigned(key: &str, header: Value, claims: Value) -> String {
    let good_header = json!({"alg": "EdDSA", "typ": "JWT", "kid": key});
    let good_claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "client@clients",
        "exp": now() + 3600,
        "scope": "read:sessions update:sessions delete:sessions",
    });
    let part = |good: Value, changes: Value| URL_SAFE_NO_PAD.encode(laid_over(good, changes).to_string());
    format!("{}.{}", part(good_header, header), part(good_claims, claims))
}

fn laid_over(mut good: Value, changes: Value) -> Value {
    let members = good.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    good
}

/// A provider that takes everything, and the document of an issuer's keys.
pub struct World {
    pub provider: Scripted,
    issuer: Scripted,
    document: Arc<Mutex<Response>>,
}

pub fn document(keys: &[&Signer]) -> Response {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json_response(200, &json!({ "keys": keys }).to_string())
}

impl World {
    pub fn new(keys: &[&Signer]) -> World {
        let shared = Arc::new(Mutex::new(document(keys)));
        let own = shared.clone();
        World {
            provider: Scripted::start(|_| json_response(200, r#"{"id":"tokens"}"#)),
            issuer: Scripted::start(move |_| own.lock().unwrap().clone()),
            document: shared,
        }
    }

    /// A gateway, and it has the keys.
    pub fn gateway(&self, more: &str) -> Gateway {
        let gateway = Gateway::start(&config(&self.provider.url(), &self.issuer.url(), more));
        gateway.ready();
        gateway
    }

    pub fn config(&self) -> String {
        self.config_with("")
    }

    /// The same with more options of `auth`.
    pub fn config_with(&self, more: &str) -> String {
        config(&self.provider.url(), &self.issuer.url(), more)
    }

    pub fn publish(&self, response: Response) {
        *self.document.lock().unwrap() = response;
    }

    pub fn fetches(&self) -> usize {
        self.issuer.received().len()
    }
}

pub fn config(provider: &str, issuer: &str, more: &str) -> String {
    format!(
        "clients: {{ limits: {{ header: 16KiB }} }}
upstreams:
  auth0:
    dialect: auth0
    url: {provider}
    cache: {{}}
    auth:
      issuer: {ISSUER}
      audience: {AUDIENCE}
      jwks: {issuer}/jwks
      algorithms: [EdDSA, RS256]
      {more}
"
    )
}

pub fn read(gateway: &Gateway, token: &str) -> Response {
    Request::new("GET", SESSION).bearer(token).send(&gateway.url())
}

/// Whether it is a rejection in Auth0's shape that contains nothing of the token.
pub fn is_rejected(response: &Response, status: u16, why: &str) {
    assert_eq!(response.status, status, "{why}: {}", response.text());
    let body = response.json();
    assert_eq!(body["statusCode"], status, "{why}");
    let error = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        _ => "Service Unavailable",
    };
    assert_eq!(body["error"], error, "{why}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{why}");
    if status == 401 {
        assert_eq!(response.header("WWW-Authenticate"), Some("Bearer"), "{why}");
    }
    assert!(!response.text().contains("evil"), "{why}: repeats the token: {}", response.text());
}
