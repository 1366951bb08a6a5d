//! Policies: what a write may do. Evaluation is pure: it sees a [`SessionPatch`], and no bytes, sockets or clocks.

mod challenges;
mod checks;
mod keys;
mod lifetime;
mod metadata;
mod normalize;
mod rules;
mod template;

pub use challenges::{ChallengeRule, ReturnCode};
pub use checks::{CheckRule, SessionTokenRule};
pub use keys::{KeyPattern, KeyPatterns};
pub use lifetime::{LifetimeRule, OutsideBounds};
pub use normalize::{KeyCase, Normalize};
pub use rules::{FieldRule, Limits};
pub use template::{HostPattern, Scheme, TemplateRule};

use crate::model::{Edit, Field, Rule, SessionPatch, Violation, Violations};
use metadata::ResultingMetadata;

/// Whether violations reject requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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

/// The proof that a write was evaluated and is allowed after these edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    edits: Vec<Edit>,
}

impl Permit {
    /// The edits to apply before the document is forwarded.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }
}

/// What the evaluation needs from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The session's current metadata.
    CurrentMetadata,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluation {
    /// The write is allowed with these edits.
    Permit(Permit),
    /// The write is not allowed: all violations.
    Reject(Violations),
    /// No violation so far. Evaluate again with this.
    Need(Need),
}

impl Policy {
    /// Evaluates a write. `current` is the session's current metadata, which is needed only if keys are protected.
    pub fn evaluate(&self, patch: &SessionPatch, current: Option<&[Field]>) -> Evaluation {
        // A session that is about to be created has no metadata.
        let current = if patch.creates { Some(&[][..]) } else { current };
        let mut violations: Violations = patch.constraint_violations.iter().cloned().collect();
        if patch.empty {
            violations.push(Violation {
                path: "body".into(),
                rule: Rule::EmptyBody,
                message: format!("is empty; expected `{}`", patch.name),
            });
        }
        let resulting_metadata = self.resulting_metadata(patch, current, &mut violations);
        let lifetime = self.lifetime.check(&patch.lifetime, patch.creates, &mut violations);
        self.session_token.check(&patch.token, &mut violations);
        self.checks.check(&patch.checks, &patch.unknown_checks, &mut violations);
        self.challenges.check(&patch.challenges, &patch.unknown_challenges, &mut violations);
        if let Some(resulting_metadata) = resulting_metadata
            .as_ref()
            .filter(|resulting_metadata| violations.is_empty() && self.may_change_protected(resulting_metadata))
        {
            let Some(current) = current else {
                return Evaluation::Need(Need::CurrentMetadata);
            };
            self.check_protected(resulting_metadata, current, &mut violations);
        }
        if !violations.is_empty() {
            return Evaluation::Reject(violations);
        }
        let metadata = resulting_metadata.as_ref().map(ResultingMetadata::edits).unwrap_or_default();
        Evaluation::Permit(Permit { edits: metadata.into_iter().chain(lifetime).collect() })
    }

    /// Whether one-time codes must be removed from responses. In audit mode nothing is removed.
    pub fn strips_codes(&self) -> bool {
        self.mode == Mode::Enforce && self.challenges.return_code == ReturnCode::Strip
    }
}

#[cfg(test)]
mod tests;
