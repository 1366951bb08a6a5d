//! Policies: what a write may do. A pure judgement over the view of a write; it never sees bytes, sockets or clocks.

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
use metadata::Written;

/// Whether a policy's verdicts count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// A violation rejects the request.
    #[default]
    Enforce,
    /// A violation is only recorded; the request goes on as the caller wrote it, without edits.
    Audit,
}

/// What a request that removes all metadata meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wipe {
    /// It may pass, as long as no required or protected key would be lost.
    #[default]
    Allow,
    /// It is a violation.
    Reject,
}

/// A compiled policy.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Whether its verdicts count.
    pub mode: Mode,
    /// What a wipe meets.
    pub wipe: Wipe,
    /// The limits: the provider's, or tighter ones.
    pub limits: Limits,
    /// The keys that may be set; all of them where there is no list.
    pub allowed: Option<KeyPatterns>,
    /// The keys that must be there: at least one for each pattern.
    pub required: Vec<KeyPattern>,
    /// The keys that callers may neither add, change nor remove.
    pub protected: KeyPatterns,
    /// The rules of single keys: the first whose pattern matches counts.
    pub fields: Vec<(KeyPattern, FieldRule)>,
    /// What is rewritten before it is evaluated.
    pub normalize: Normalize,
    /// How long sessions may live.
    pub lifetime: LifetimeRule,
    /// Whether a session's token has to come with a write that could carry it.
    pub session_token: SessionTokenRule,
    /// What the provider may be asked to check.
    pub checks: CheckRule,
    /// What the provider may be asked to challenge with.
    pub challenges: ChallengeRule,
}

/// The proof that a write was evaluated: the edits that make the document what was evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    edits: Vec<Edit>,
}

impl Permit {
    /// What has to change in the document before it is forwarded.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }
}

/// What the judgement needs to know from outside before it can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The session's metadata as it is now.
    CurrentMetadata,
}

/// The outcome of a judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluation {
    /// The write may pass, with these edits.
    Permit(Permit),
    /// The write may not pass: everything that is wrong with it.
    Reject(Violations),
    /// Nothing is wrong so far; ask again with the evidence.
    Need(Need),
}

impl Policy {
    /// Judges a write. `current` is the session's metadata as it is now: only asked for where keys are protected.
    pub fn evaluate(&self, patch: &SessionPatch, current: Option<&[Field]>) -> Evaluation {
        // A session that does not exist yet holds nothing.
        let current = if patch.creates { Some(&[][..]) } else { current };
        let mut violations: Violations = patch.constraint_violations.iter().cloned().collect();
        if patch.empty {
            violations.push(Violation {
                path: "body".into(),
                rule: Rule::EmptyBody,
                message: format!("is empty; expected `{}`", patch.name),
            });
        }
        let written = self.written(patch, current, &mut violations);
        let lifetime = self.lifetime.check(&patch.lifetime, patch.creates, &mut violations);
        self.session_token.check(&patch.token, &mut violations);
        self.checks.check(&patch.checks, &patch.unknown_checks, &mut violations);
        self.challenges.check(&patch.challenges, &patch.unknown_challenges, &mut violations);
        if let Some(written) =
            written.as_ref().filter(|written| violations.is_empty() && self.may_change_protected(written))
        {
            let Some(current) = current else {
                return Evaluation::Need(Need::CurrentMetadata);
            };
            self.check_protected(written, current, &mut violations);
        }
        if !violations.is_empty() {
            return Evaluation::Reject(violations);
        }
        let metadata = written.as_ref().map(Written::edits).unwrap_or_default();
        Evaluation::Permit(Permit { edits: metadata.into_iter().chain(lifetime).collect() })
    }

    /// Whether one-time codes are to be taken out of responses: a policy that only records takes nothing out.
    pub fn strips_codes(&self) -> bool {
        self.mode == Mode::Enforce && self.challenges.return_code == ReturnCode::Strip
    }
}

#[cfg(test)]
mod tests;
