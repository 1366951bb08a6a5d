//! The key of a client, and the assertions that it signs (RFC 7523, section 2.2; OpenID Connect Core 1.0, section 9).

use super::ring_provider;
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header};
use serde::Serialize;
use std::fmt;

/// How long an assertion is valid, in seconds: longer than clocks differ.
const LIFETIME: u64 = 300;

/// The private key of a client.
#[derive(Clone)]
pub struct ClientKey {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

/// The claims of an assertion.
#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: &'a str,
    iat: u64,
    exp: u64,
}

impl ClientKey {
    /// The private key `der`, which the authorization server knows as `id`. Fails unless it can sign with `algorithm`.
    pub fn new(id: String, algorithm: Algorithm, der: &[u8]) -> Result<ClientKey> {
        let key = match algorithm.family() {
            AlgorithmFamily::Rsa => EncodingKey::from_rsa_der(der),
            AlgorithmFamily::Ec => EncodingKey::from_ec_der(der),
            AlgorithmFamily::Ed => EncodingKey::from_ed_der(der),
            AlgorithmFamily::Hmac => return Err(ErrorKind::InvalidAlgorithm.into()),
        };
        ring_provider::signer(&algorithm, &key)?;
        Ok(ClientKey { id, algorithm, key })
    }

    /// An assertion of the client `client_id` for the authorization server `audience`, at `now` (seconds since the
    /// epoch). `unique` must not be used twice.
    pub fn assertion(&self, client_id: &str, audience: &str, unique: &str, now: u64) -> Result<String> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        let exp = now.saturating_add(LIFETIME);
        let claims = Assertion { iss: client_id, sub: client_id, aud: audience, jti: unique, iat: now, exp };
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &ClientKey) -> bool {
        (&self.id, self.algorithm, self.key.as_bytes()) == (&other.id, other.algorithm, other.key.as_bytes())
    }
}

impl Eq for ClientKey {}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("ClientKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
