//! A policy as it is written, before an upstream takes it.

use super::fault::Location;
use super::section::Spanned;
use crate::policy::{FieldRule, KeyPattern, Policy};

/// A policy that is not bound to an upstream yet.
#[derive(Debug)]
pub(super) struct DeclaredPolicy {
    pub policy: Policy,
    /// The keys that it names, and where; less the protected ones, which may be older than any limit.
    pub keys: Vec<Spanned<String>>,
    /// The protected keys that it names, and where.
    pub protected: Vec<Spanned<String>>,
    /// The values that it names: the key or pattern, its rule, and the value.
    pub values: Vec<Spanned<(KeyPattern, FieldRule, String)>>,
    pub limits: Vec<Spanned<(LimitKind, usize)>>,
    /// The options that only some dialects have a use for.
    pub session_rules: Vec<Location>,
    pub location: Location,
    /// Whether nothing was wrong with it, so that it may be evaluated again with an upstream's limits.
    pub is_valid: bool,
    pub used: bool,
}

/// One of the numbers of [`crate::policy::Limits`].
#[derive(Debug, Clone, Copy)]
pub(super) enum LimitKind {
    Properties,
    KeyLength,
    ValueLength,
}
