//! The metadata keys that a caller may set and clear.

use crate::policy::KeyPatterns;

/// The metadata keys that a caller may set and clear. `None` is any key.
#[derive(Debug, Clone, Default)]
pub struct KeyGrant {
    /// The keys that it may set or change.
    pub set: Option<KeyPatterns>,
    /// The keys that it may remove.
    pub clear: Option<KeyPatterns>,
}
