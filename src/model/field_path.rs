//! The paths of fields in messages to callers.

use super::violations::truncated;
use std::fmt;

/// The maximum length of a key in a path, in bytes.
const MAX_KEY_SHOWN: usize = 300;

/// The path of an entry: `name.key` if the key is plain, `name["key"]` otherwise. Its text is made where it is shown.
#[derive(Debug, Clone, Copy)]
pub struct EntryPath<'a> {
    /// The name of what has the entry.
    pub name: &'a str,
    /// The key of the entry.
    pub key: &'a str,
}

impl fmt::Display for EntryPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let EntryPath { name, key } = self;
        // A caller's key may be as long as its body.
        let key = if key.len() > MAX_KEY_SHOWN { &truncated((*key).to_owned(), MAX_KEY_SHOWN) } else { *key };
        if !key.is_empty() && key.chars().all(is_plain) {
            write!(f, "{name}.{key}")
        } else {
            write!(f, "{name}[{key:?}]")
        }
    }
}

/// The text of an [`EntryPath`].
pub fn field_path(name: &str, key: &str) -> String {
    EntryPath { name, key }.to_string()
}
