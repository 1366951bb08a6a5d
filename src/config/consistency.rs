//! Checks for contradictions within a policy, which no write could satisfy.
//!
//! Wherever possible the policy itself is evaluated, so the checks cannot disagree with it.

use super::FindingId;
use super::declared::DeclaredPolicy;
use super::error::Problem;
use super::section::{Context, Spanned};
use crate::model::{EntryPath, Field, MetadataChange, Rule, SessionPatch, Value, Violations};
use crate::policy::{Evaluation, KeyCase, Limits, Normalize, Policy};

/// Rejects keys that normalization would change, and rules for keys that are not allowed.
pub(super) fn check_keys(declared: &DeclaredPolicy, context: &mut Context) {
    let policy = &declared.policy;
    for Spanned { location, value: key } in declared.keys.iter().chain(&declared.protected) {
        if is_changed(policy.normalize, key, "value") {
            context.reject(location, conflict("`normalize` changes this key, so it never matches"));
        }
    }
    let Some(allowed) = &policy.allowed else {
        return;
    };
    for Spanned { location, value: key } in &declared.keys {
        if !allowed.matches(key) && !policy.protected.matches(key) {
            context.reject(location, conflict("is not in `keys.allowed`"));
        }
    }
}

/// Rejects defaults and allowed values that the policy's own rules would reject.
pub(super) fn check_values(declared: &DeclaredPolicy, context: &mut Context) {
    let normalize = Normalize { key_case: KeyCase::Keep, ..declared.policy.normalize };
    for Spanned { location, value: (pattern, rule, value) } in &declared.values {
        let mut violations = Violations::new();
        rule.check(EntryPath { name: "", key: "" }, value, &mut violations);
        for violation in violations {
            let found = match violation.rule {
                Rule::Pattern => "does not match `regex`".to_owned(),
                Rule::OneOf => "is not in `one_of`".to_owned(),
                _ => violation.message,
            };
            context.reject(location, conflict(found));
        }
        if is_changed(normalize, "key", value) {
            context.reject(location, conflict("`normalize` changes this value, so it never matches"));
        }
        let is_default = location.path.ends_with(".default");
        if is_default && pattern.exact().is_some_and(|key| declared.policy.protected.matches(key)) {
            context.reject(location, conflict("a protected key cannot have a default"));
        }
    }
}

/// Rejects keys and values beyond the limits, of the policy alone or together with those of an upstream.
pub(super) fn check_limits(declared: &DeclaredPolicy, limits: Limits, upstream: Option<&str>, context: &mut Context) {
    let keys = declared.keys.iter().map(|Spanned { location, value: key }| (location, key.as_str(), "v"));
    let values =
        declared.values.iter().map(|Spanned { location, value: (_, _, value) }| (location, "k", value.as_str()));
    for (location, key, value) in keys.chain(values) {
        let policy = Policy { limits, ..Policy::default() };
        let Evaluation::Reject(violations) = policy.evaluate(&single_entry_patch(key, value), None) else {
            continue;
        };
        for violation in violations {
            let whose = upstream.map_or("`limits`".to_owned(), |name| format!("upstream `{name}`"));
            context.reject(location, conflict(format!("rejected by {whose}: {}", violation.message)));
        }
    }
}

fn conflict(found: impl Into<String>) -> Problem {
    Problem::new(found).id(FindingId::PolicyConflict)
}

/// Whether normalization would change this key or value.
fn is_changed(normalize: Normalize, key: &str, value: &str) -> bool {
    let policy = Policy { normalize, ..Policy::default() };
    match policy.evaluate(&single_entry_patch(key, value), None) {
        Evaluation::Permit(permit) => !permit.edits().is_empty(),
        Evaluation::Reject(_) | Evaluation::Need(_) => true,
    }
}

/// A write of one entry.
fn single_entry_patch(key: &str, value: &str) -> SessionPatch {
    let field = Field { key: key.into(), value: Value::Text(value.into()) };
    SessionPatch { metadata: MetadataChange::Replace(vec![field]), ..SessionPatch::default() }
}
