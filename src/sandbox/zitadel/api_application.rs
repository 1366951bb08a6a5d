//! An application of type API: the client that introspects tokens, with a secret and a key.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Map, Value};

use super::authority::decode;
use super::store::Random;

/// How long ago an assertion may have been made, in seconds.
const MAX_AGE: u64 = 3_600;

/// An application of type API. Its key is shown once, as ZITADEL does.
pub struct ApiApplication {
    /// The client ID.
    pub client_id: String,
    /// The client secret.
    pub secret: String,
    /// The ID of the key.
    pub key_id: String,
    /// The private key in PEM format, for ES256.
    pub private_key: String,
    public: Vec<u8>,
}

impl ApiApplication {
    /// `None` if the key cannot be generated.
    pub(super) fn new(random: &mut Random) -> Option<Self> {
        let (system, scheme) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(scheme, &system).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(scheme, document.as_ref(), &system).ok()?;
        let body = STANDARD.encode(document.as_ref());
        Some(Self {
            client_id: random.id(),
            secret: random.text(64),
            key_id: random.id(),
            private_key: format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"),
            public: pair.public_key().as_ref().to_vec(),
        })
    }

    /// Whether an assertion (RFC 7523) is the application's, and for this issuer at `now`.
    pub(super) fn asserts(&self, assertion: &str, issuer: &str, now: u64) -> bool {
        self.claims(assertion).is_some_and(|claims| {
            let is_client = |name: &str| claims.get(name).and_then(Value::as_str) == Some(&self.client_id);
            let time = |name: &str| claims.get(name).and_then(Value::as_u64);
            let audience = match claims.get("aud") {
                Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(issuer)),
                Some(one) => one.as_str() == Some(issuer),
                None => false,
            };
            let in_time = time("exp").is_some_and(|expiry| now < expiry)
                && time("iat").is_some_and(|issued| issued <= now + 1 && now < issued + MAX_AGE);
            is_client("iss") && is_client("sub") && audience && in_time
        })
    }

    /// The claims of an assertion that the key signed.
    fn claims(&self, assertion: &str) -> Option<Map<String, Value>> {
        let (signed, signature) = assertion.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = decode(header)?;
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        if text("alg") != Some("ES256") || text("kid") != Some(&self.key_id) {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public);
        public.verify(signed.as_bytes(), &signature).ok()?;
        decode(claims)
    }
}
