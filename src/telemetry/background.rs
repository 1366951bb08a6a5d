//! Labels of work in the background: reloads and issuers.

use enum_map::Enum;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The result of a configuration reload: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum ReloadResult {
    /// The new configuration is active.
    Applied,
    /// The new configuration is invalid or cannot work; the previous one stays active.
    Rejected,
    /// The configuration has not changed.
    Unchanged,
    /// The configuration could not be read: too many open files. It may be valid; with `reload.watch` it is
    /// tried again.
    Unread,
}

/// The result of fetching an issuer's keys: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum KeyFetch {
    /// A fetch that got keys.
    Good,
    /// A fetch that failed.
    Failed,
}

/// How a valid token was verified: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum TokenCheck {
    /// By its signature.
    Verified,
    /// The result of an earlier verification was cached.
    Cached,
}
