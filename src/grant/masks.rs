//! What a caller does not see of a session.

use crate::policy::KeyPatterns;
use ring::digest::{Context, SHA256};

/// The path of a field in a session, from the session down: `device`, `last_ip`. The names are the provider's; of
/// messages with a schema, those of protocol buffers.
pub type FieldPath = Vec<String>;

/// What a caller does not see of a session: never empty.
#[derive(Debug, Clone)]
pub struct Masks {
    masked: Vec<FieldPath>,
    dropped: Vec<FieldPath>,
    keys: Option<KeyPatterns>,
    hash: [u8; 16],
}

impl Masks {
    /// Masks these fields, drops those, and drops the metadata keys that are none of `keys`. `None` if that is nothing.
    pub fn new(masked: Vec<FieldPath>, dropped: Vec<FieldPath>, keys: Option<KeyPatterns>) -> Option<Masks> {
        if masked.is_empty() && dropped.is_empty() && keys.is_none() {
            return None;
        }
        let hash = hash(&masked, &dropped, keys.as_ref());
        Some(Masks { masked, dropped, keys, hash })
    }

    /// The fields whose texts are replaced.
    pub fn masked(&self) -> &[FieldPath] {
        &self.masked
    }

    /// The fields that are removed.
    pub fn dropped(&self) -> &[FieldPath] {
        &self.dropped
    }

    /// Whether the caller sees this metadata key.
    pub fn shows_key(&self, key: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.matches(key))
    }

    /// Whether some metadata keys are removed.
    pub fn hides_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Identifies what is hidden: equal for equal masks, also in another process.
    pub fn hash(&self) -> [u8; 16] {
        self.hash
    }
}

fn hash(masked: &[FieldPath], dropped: &[FieldPath], keys: Option<&KeyPatterns>) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    for paths in [masked, dropped] {
        part(&(paths.len() as u64).to_be_bytes());
        for path in paths {
            part(path.join("\0").as_bytes());
        }
    }
    for pattern in keys.iter().flat_map(|keys| &keys.0) {
        part(pattern.source().as_bytes());
    }
    part(&[u8::from(keys.is_some())]);
    let mut hash = [0; 16];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
