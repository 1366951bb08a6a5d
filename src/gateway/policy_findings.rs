//! What a policy found in a write, for metrics and the access log.

use crate::model::{EditRecords, Rule, Violations};
use crate::policy::{Mode, Policy};
use std::sync::Arc;

/// What a policy found in a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyFindings {
    /// The policy's name in the configuration; `None` if only the provider's own limits apply.
    pub policy: Option<Arc<str>>,
    /// The policy's mode.
    pub mode: Mode,
    /// The violations.
    pub violations: Violations,
    /// The edits of the write; in audit mode those that would have been made.
    pub edits: EditRecords,
    /// Whether the current metadata was needed for the evaluation, but is not available.
    pub unevaluated: bool,
    /// Whether the write is one of an owner of keys, merged with the session's other keys.
    pub merged: bool,
}

impl PolicyFindings {
    /// Nothing found.
    pub(super) fn none(policy: &Policy) -> PolicyFindings {
        PolicyFindings { policy: policy.name.clone(), mode: policy.mode, ..PolicyFindings::default() }
    }

    /// In audit mode: whether the same write would not have been forwarded in enforce mode.
    pub fn would_reject(&self) -> Option<bool> {
        match self.mode {
            Mode::Audit => Some(self.unevaluated || !self.violations.is_empty()),
            Mode::Enforce => None,
        }
    }

    /// The violated rules, each once, in the order of the reference.
    pub fn rules(&self) -> Vec<Rule> {
        let mut rules = self.violations.rules().to_vec();
        rules.sort_unstable();
        rules
    }
}
