//! A policy as written, before it is bound to an upstream.

use super::error::Location;
use super::section::Spanned;
use crate::dialect::PolicySubject;
use crate::policy::{FieldRule, KeyPattern, Policy};

/// A policy that is not bound to an upstream yet.
#[derive(Debug)]
pub(super) struct DeclaredPolicy {
    pub policy: Policy,
    /// The exact keys that it names, except protected ones, which may be older than any limit.
    pub keys: Vec<Spanned<String>>,
    /// The exact keys that it protects.
    pub protected: Vec<Spanned<String>>,
    /// The values that it names, each with its key or pattern and its rule.
    pub values: Vec<Spanned<(KeyPattern, FieldRule, String)>>,
    pub limits: Vec<Spanned<(LimitKind, usize)>>,
    /// Its options, each with what it is about: an option has an effect only with dialects that have that.
    pub rules: Vec<(PolicySubject, Location)>,
    pub location: Location,
    /// Whether it has no errors, so it can be evaluated again with an upstream's limits.
    pub is_valid: bool,
    pub used: bool,
}

/// A field of [`crate::policy::Limits`].
#[derive(Debug, Clone, Copy)]
pub(super) enum LimitKind {
    Properties,
    KeyLength,
    ValueLength,
}
