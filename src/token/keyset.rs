//! The keys of an issuer, as its JWKS document declares them.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The most keys that a document may hold.
pub const MAX_KEYS: usize = 100;

/// One public key that may sign tokens.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl Key {
    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// The key of one JWKS entry; none where it is not a public key for signatures of a kind that is supported.
    /// Shared secrets (`oct`) are never taken from a document that others publish.
    fn from_jwk(jwk: &Jwk) -> Option<Key> {
        if matches!(jwk.common.public_key_use, Some(ref usage) if *usage != PublicKeyUse::Signature) {
            return None;
        }
        let own: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => &[Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => return None,
        };
        let named = jwk.common.key_algorithm.map(|named| named.to_string());
        let algorithms: Vec<Algorithm> =
            own.iter().copied().filter(|one| named.as_ref().is_none_or(|named| *named == format!("{one:?}"))).collect();
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        (!algorithms.is_empty() && decoding.family() != AlgorithmFamily::Hmac).then(|| Key {
            id: jwk.common.key_id.clone(),
            algorithms,
            decoding,
        })
    }
}

/// The keys of one issuer.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Entries are read one by one, so that one of a new kind does not cost the others.
#[derive(Deserialize)]
struct Entries {
    keys: Vec<Box<RawValue>>,
}

impl KeySet {
    /// Reads a JWKS document. Entries that cannot sign tokens are left out; a document without any usable key is an error.
    pub fn parse(document: &[u8]) -> Result<KeySet, String> {
        let entries: Entries =
            serde_json::from_slice(document).map_err(|error| format!("not a JWKS document: {error}"))?;
        if entries.keys.len() > MAX_KEYS {
            return Err(format!("has {} keys, at most {MAX_KEYS} are read", entries.keys.len()));
        }
        let jwks = entries.keys.iter().filter_map(|entry| serde_json::from_str::<Jwk>(entry.get()).ok());
        let keys: Vec<Key> = jwks.filter_map(|jwk| Key::from_jwk(&jwk)).collect();
        if keys.is_empty() { Err("has no usable key".into()) } else { Ok(KeySet { keys }) }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that may have signed a token with this header: those of that id, or all where the token names none.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        let named = move |key: &&Key| kid.is_none() || key.id.as_deref() == kid;
        self.keys.iter().filter(named).filter(move |key| key.algorithms.contains(&algorithm))
    }
}
