//! An issuer's keys, from its JWKS document.

use super::jwk::{Jwk, Unusable};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The maximum number of keys in a document.
pub const MAX_KEYS: usize = 100;

/// A public key that verifies tokens.
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

    /// Parses an entry. Fails unless it is a public key that can verify signatures of a supported kind.
    fn parse(entry: &str, allowed: &[Algorithm]) -> Result<Key, Unusable> {
        let public: Jwk =
            serde_json::from_str(entry).map_err(|error| Unusable::wrong(format!("it cannot be parsed: {error}")))?;
        public.verifies()?;
        let algorithms = public.algorithms(allowed)?;
        Ok(Key { id: public.id(), algorithms, decoding: public.decoding()? })
    }
}

/// An entry of a document that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedKey {
    /// The entry's `kid` or number, and the reason. Bounded in length.
    pub what: String,
    /// Whether the issuer may sign tokens with this key. Keys for other purposes are normal.
    pub may_sign: bool,
}

/// The maximum length of a `kid` and of a reason in a message, in characters.
const MAX_SHOWN: (usize, usize) = (64, 200);

impl UnusedKey {
    fn new(at: usize, entry: &str, Unusable { why, may_sign }: Unusable) -> UnusedKey {
        #[derive(Deserialize)]
        struct Named {
            kid: String,
        }
        let cut = |text: &str, most| text.chars().take(most).collect::<String>();
        let name = match serde_json::from_str(entry) {
            Ok(Named { kid }) => format!("key `{}`", cut(&kid, MAX_SHOWN.0)),
            Err(_) => format!("key number {}", at + 1),
        };
        UnusedKey { what: format!("{name}: {}", cut(&why, MAX_SHOWN.1)), may_sign }
    }
}

/// The keys of one issuer.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    unused_keys: Vec<UnusedKey>,
}

/// Describes the first few unused entries, and how many more there are, for one log line.
pub fn describe_unused<'l>(unused_keys: impl Iterator<Item = &'l UnusedKey> + Clone) -> String {
    const MOST: usize = 5;
    let shown: Vec<&str> = unused_keys.clone().take(MOST).map(|one| one.what.as_str()).collect();
    match unused_keys.count().saturating_sub(MOST) {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

/// Entries are parsed one by one, so an entry of an unknown kind does not affect the others.
#[derive(Deserialize)]
struct Entries {
    keys: Vec<Box<RawValue>>,
}

impl KeySet {
    /// Parses a JWKS document for tokens with these algorithms. Entries that cannot verify any are left out.
    ///
    /// # Errors
    ///
    /// If the document is invalid or has no usable key.
    pub fn parse(document: &[u8], allowed: &[Algorithm]) -> Result<KeySet, String> {
        let entries: Entries =
            serde_json::from_slice(document).map_err(|error| format!("not a JWKS document: {error}"))?;
        if entries.keys.len() > MAX_KEYS {
            return Err(format!("has {} keys; at most {MAX_KEYS} are allowed", entries.keys.len()));
        }
        let mut set = KeySet::default();
        for (at, entry) in entries.keys.iter().enumerate() {
            match Key::parse(entry.get(), allowed) {
                Ok(key) => set.keys.push(key),
                Err(unusable) => set.unused_keys.push(UnusedKey::new(at, entry.get(), unusable)),
            }
        }
        match (set.keys.as_slice(), set.unused_keys.as_slice()) {
            ([], []) => Err("has no keys".into()),
            ([], unused_keys) => Err(format!("has no usable key: {}", describe_unused(unused_keys.iter()))),
            _ => Ok(set),
        }
    }

    /// The entries that are not used.
    pub fn unused_keys(&self) -> &[UnusedKey] {
        &self.unused_keys
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that may have signed a token with this header: those with its `kid`, or all if it has none.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        let named = move |key: &&Key| kid.is_none() || key.id.as_deref() == kid;
        self.keys.iter().filter(named).filter(move |key| key.algorithms.contains(&algorithm))
    }
}
