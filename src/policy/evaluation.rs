//! The evaluation of a write, and its result.

use super::challenges::ReturnCode;
use super::compiled_policy::{Mode, Policy};
use super::keys::KeyPatterns;
use super::metadata::ResultingMetadata;
use crate::model::{
    ChallengeKind, Edit, EditKind, EditRecords, Field, Lifetime, MetadataChange, Rule, SessionPatch, Violation,
    Violations, field_path,
};

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

    /// The edits as metrics and log show them. `patch` is the write that was evaluated.
    pub fn records(&self, patch: &SessionPatch) -> EditRecords {
        let mut records = EditRecords::default();
        self.edits.iter().for_each(|edit| records.push(edit.kind(), || path_of(edit, patch)));
        records
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
        self.evaluate_owned(patch, current, None)
    }

    /// Evaluates a write of a caller who owns only these keys; `None` is every key. It adds no default and requires no
    /// key that may be another's. `current` has no key of others.
    pub fn evaluate_owned(
        &self,
        patch: &SessionPatch,
        current: Option<&[Field]>,
        own: Option<&KeyPatterns>,
    ) -> Evaluation {
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
        let resulting_metadata = self.resulting_metadata(patch, (current, own), &mut violations);
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

    /// Adds the one-time codes that the policy removes from the response to this write.
    pub fn add_stripped_codes(&self, patch: &SessionPatch, records: &mut EditRecords) {
        if self.challenges.return_code != ReturnCode::Strip {
            return;
        }
        let returned = patch.challenges.iter().filter(|challenge| match &challenge.kind {
            ChallengeKind::WebAuthN => false,
            ChallengeKind::OtpSms { returns_code } | ChallengeKind::OtpEmail { returns_code, .. } => *returns_code,
        });
        returned.for_each(|one| records.push(EditKind::CodesStripped, || one.path.clone()));
    }

    /// Whether one-time codes must be removed from responses. In audit mode nothing is removed.
    pub fn strips_codes(&self) -> bool {
        self.mode == Mode::Enforce && self.challenges.return_code == ReturnCode::Strip
    }
}

/// What an edit changes, in the caller's own spelling.
fn path_of(edit: &Edit, patch: &SessionPatch) -> String {
    let own = |field: usize| match &patch.metadata {
        MetadataChange::Replace(fields) => fields.get(field).map_or("", |field| field.key.as_str()),
        MetadataChange::Absent | MetadataChange::Wipe | MetadataChange::Malformed(_) => "",
    };
    match edit {
        Edit::Rename { field, .. } | Edit::Set { field, .. } | Edit::Remove { field } => {
            field_path(patch.name, own(*field))
        }
        Edit::Insert { key, .. } => field_path(patch.name, key),
        Edit::Lifetime(_) => match &patch.lifetime {
            Lifetime::Given { path, .. } | Lifetime::Absent(path) => path.clone(),
            Lifetime::NotOffered => String::new(),
        },
    }
}
