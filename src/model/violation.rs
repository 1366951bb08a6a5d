//! One violation of a write, and the rule that it violates.

use crate::telemetry::Label;
use std::fmt;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The rule that a write violates: the `rule` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum Rule {
    /// The body changes nothing.
    EmptyBody,
    /// The metadata, or a value in it, has the wrong type.
    Type,
    /// Too many entries.
    Count,
    /// A key is too long.
    KeyLength,
    /// A key has characters that are not allowed.
    KeyCharacters,
    /// A value is too short or too long.
    ValueLength,
    /// The key is not in the list of allowed keys.
    Allowed,
    /// A required key is missing.
    Required,
    /// A protected key would be added, changed or removed.
    Protected,
    /// The value does not match the regular expression.
    Pattern,
    /// The value is not in the list of allowed values.
    OneOf,
    /// All metadata would be removed, on purpose or as a side effect of normalization.
    Wipe,
    /// Two keys become the same after normalization.
    Collision,
    /// The provider's own constraint.
    Provider,
    /// The session's lifetime is missing or out of bounds.
    Lifetime,
    /// The session's token is missing.
    SessionToken,
    /// The check is not in the list of allowed checks.
    Check,
    /// The write requests that one-time codes are returned to the caller.
    ReturnCode,
    /// The link in an email leads to a scheme or host that is not allowed.
    UrlTemplate,
}

/// One violation of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, in the caller's own spelling: `session_metadata.Team`.
    pub path: String,
    /// The rule.
    pub rule: Rule,
    /// What was found and what is allowed. Never contains a value from the body.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.message, self.rule.name())
    }
}
