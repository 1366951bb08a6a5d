//! The keys of an issuer, as its JWKS document declares them.

use super::public::{Jwk, Unusable};
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

    /// The key of one entry. An error where it is not a public key for verifying signatures of a kind that is
    /// supported.
    fn parse(entry: &str, allowed: &[Algorithm]) -> Result<Key, Unusable> {
        let public: Jwk =
            serde_json::from_str(entry).map_err(|error| Unusable::wrong(format!("it cannot be read: {error}")))?;
        public.verifies()?;
        let algorithms = public.algorithms(allowed)?;
        Ok(Key { id: public.id(), algorithms, decoding: public.decoding()? })
    }
}

/// An entry of a document that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedKey {
    /// Its `kid`, or which one it is, and the reason. Bounded.
    pub what: String,
    /// Whether tokens may come that it signed. Keys for other uses are normal.
    pub meant: bool,
}

/// The most characters of a `kid`, and of a reason, in a message.
const SHOWN: (usize, usize) = (64, 200);

impl UnusedKey {
    fn new(at: usize, entry: &str, Unusable { why, meant }: Unusable) -> UnusedKey {
        #[derive(Deserialize)]
        struct Named {
            kid: String,
        }
        let cut = |text: &str, most| text.chars().take(most).collect::<String>();
        let name = match serde_json::from_str(entry) {
            Ok(Named { kid }) => format!("key `{}`", cut(&kid, SHOWN.0)),
            Err(_) => format!("key number {}", at + 1),
        };
        UnusedKey { what: format!("{name}: {}", cut(&why, SHOWN.1)), meant }
    }
}

/// The keys of one issuer.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    unused_keys: Vec<UnusedKey>,
}

/// Entries that are not used, in words: as many as a line of the log should hold.
pub fn listed<'l>(unused_keys: impl Iterator<Item = &'l UnusedKey> + Clone) -> String {
    const MOST: usize = 5;
    let shown: Vec<&str> = unused_keys.clone().take(MOST).map(|one| one.what.as_str()).collect();
    match unused_keys.count().saturating_sub(MOST) {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

/// Entries are read one by one, so that one of a new kind does not cost the others.
#[derive(Deserialize)]
struct Entries {
    keys: Vec<Box<RawValue>>,
}

impl KeySet {
    /// Reads a JWKS document, for tokens with these algorithms. Entries that cannot verify any are left out; a document
    /// without any usable key is an error.
    pub fn parse(document: &[u8], allowed: &[Algorithm]) -> Result<KeySet, String> {
        let entries: Entries =
            serde_json::from_slice(document).map_err(|error| format!("not a JWKS document: {error}"))?;
        if entries.keys.len() > MAX_KEYS {
            return Err(format!("has {} keys, at most {MAX_KEYS} are read", entries.keys.len()));
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
            ([], unused_keys) => Err(format!("has no usable key: {}", listed(unused_keys.iter()))),
            _ => Ok(set),
        }
    }

    /// The entries of the document that are not used.
    pub fn unused_keys(&self) -> &[UnusedKey] {
        &self.unused_keys
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
