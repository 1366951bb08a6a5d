//! A compiled policy.

use super::challenges::ChallengeRule;
use super::checks::{CheckRule, SessionTokenRule};
use super::keys::{KeyPattern, KeyPatterns};
use super::lifetime::LifetimeRule;
use super::normalize::Normalize;
use super::rules::{FieldRule, Limits};
use std::sync::Arc;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// Whether violations reject requests: the `mode` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum Mode {
    /// A violation rejects the request.
    #[default]
    Enforce,
    /// Violations are only recorded. The request is forwarded as the caller wrote it, without edits.
    Audit,
}

/// How to treat a request that removes all metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wipe {
    /// Allowed, unless it removes a required or protected key.
    #[default]
    Allow,
    /// A violation.
    Reject,
}

/// A compiled policy.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The name in the configuration; `None` if only the provider's own limits apply.
    pub name: Option<Arc<str>>,
    /// Whether violations reject requests.
    pub mode: Mode,
    /// How to treat a request that removes all metadata.
    pub wipe: Wipe,
    /// The provider's limits, or tighter ones.
    pub limits: Limits,
    /// The keys that may be set; `None` allows all.
    pub allowed: Option<KeyPatterns>,
    /// At least one key must match each of these.
    pub required: Vec<KeyPattern>,
    /// Keys that callers may not add, change or remove.
    pub protected: KeyPatterns,
    /// The rules for single keys. The first match applies.
    pub fields: Vec<(KeyPattern, FieldRule)>,
    /// What to normalize before the evaluation.
    pub normalize: Normalize,
    /// The bounds of a session's lifetime.
    pub lifetime: LifetimeRule,
    /// Whether a write must carry the session's token.
    pub session_token: SessionTokenRule,
    /// The checks that a write may request.
    pub checks: CheckRule,
    /// The challenges that a write may request.
    pub challenges: ChallengeRule,
}
