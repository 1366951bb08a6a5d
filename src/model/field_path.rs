//! The paths of fields in messages to callers.

use super::violations::truncated;

/// The maximum length of a key in a path, in bytes.
const MAX_KEY_SHOWN: usize = 300;

/// The path of an entry: `name.key` if the key is plain, `name["key"]` otherwise.
pub fn field_path(name: &str, key: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    // A caller's key may be as long as its body.
    let key = truncated(key.to_owned(), MAX_KEY_SHOWN);
    if !key.is_empty() && key.chars().all(plain) { format!("{name}.{key}") } else { format!("{name}[{key:?}]") }
}
