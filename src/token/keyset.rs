//! The keys of an issuer, as its JWKS document declares them.

use super::public::Public;
use jsonwebtoken::{Algorithm, DecodingKey};
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

    /// The key of one entry; none where it is not a public key for verifying signatures of a kind that is supported.
    fn parse(entry: &str) -> Option<Key> {
        let public: Public = serde_json::from_str(entry).ok()?;
        let decoding = public.decoding()?;
        let algorithms = public.algorithms();
        (!algorithms.is_empty()).then(|| Key { id: public.id(), algorithms, decoding })
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
    /// Reads a JWKS document. Entries that are not for verifying tokens are left out; a document without any usable key is an error.
    pub fn parse(document: &[u8]) -> Result<KeySet, String> {
        let entries: Entries =
            serde_json::from_slice(document).map_err(|error| format!("not a JWKS document: {error}"))?;
        if entries.keys.len() > MAX_KEYS {
            return Err(format!("has {} keys, at most {MAX_KEYS} are read", entries.keys.len()));
        }
        let keys: Vec<Key> = entries.keys.iter().filter_map(|entry| Key::parse(entry.get())).collect();
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
