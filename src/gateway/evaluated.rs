//! The evaluation of a decoded request by its policy.

use super::Gateway;
use super::current_state::CurrentState;
use super::decoded::{DecodedRequest, Read, Write, WriteDecision};
use super::granted::Granted;
use super::policy_findings::PolicyFindings;
use super::session_proof::Proven;
use crate::model::{Edit, Field, Rejection, SessionPatch};
use crate::policy::{Evaluation, KeyPatterns, Mode, Need, Policy};
use bytes::Bytes;
use std::borrow::Cow;

/// What comes of a request, and what its policy found.
#[derive(Debug)]
pub struct Evaluated<T> {
    /// What the policy found; `None` if it did not evaluate the request. If it rejects the request, the rejection has
    /// the violations.
    pub findings: Option<Box<PolicyFindings>>,
    /// What comes of the request.
    pub result: Result<T, Rejection>,
}

impl DecodedRequest {
    /// Evaluates a read, and gives it for this caller.
    ///
    /// # Errors
    ///
    /// Rejects violations of the provider's own constraints, unless in audit mode.
    pub fn read(self, gateway: &Gateway) -> Evaluated<Read> {
        let constraints = self.patch().map(|patch| patch.map(|patch| patch.constraint_violations).unwrap_or_default());
        let violations = match constraints {
            Ok(none) if none.is_empty() => return Evaluated { findings: None, result: Ok(self.into_read(gateway)) },
            Ok(violations) => violations.into_iter().collect(),
            Err(rejection) => return Evaluated { findings: None, result: Err(rejection) },
        };
        let mut findings = Box::new(PolicyFindings::none(self.policy()));
        let result = match findings.mode {
            Mode::Enforce => Err(Rejection::Violations(violations)),
            Mode::Audit => {
                findings.violations = violations;
                Ok(self.into_read(gateway))
            }
        };
        Evaluated { findings: Some(findings), result }
    }

    /// Evaluates a write. `current` is the current state, if an earlier call needed it.
    ///
    /// # Errors
    ///
    /// Rejects violations of the policy, a write of what is not the caller's, and keys that it may not change.
    pub fn decide(&self, current: Option<&[CurrentState]>) -> Evaluated<WriteDecision> {
        // Before the policy, whose verdict may depend on the current state.
        let proven = match self.proof.proven(current) {
            Ok(proven) => proven,
            Err(rejection) => return Evaluated { findings: None, result: Err(rejection) },
        };
        match self.patch() {
            Ok(Some(patch)) => self.evaluate(&patch, proven, current),
            Ok(None) => Evaluated { findings: None, result: self.forward(proven, self.body.clone(), &[], current) },
            Err(rejection) => Evaluated { findings: None, result: Err(rejection) },
        }
    }

    fn evaluate(
        &self,
        patch: &SessionPatch,
        proven: Option<Proven>,
        current: Option<&[CurrentState]>,
    ) -> Evaluated<WriteDecision> {
        let policy = self.policy();
        let mut findings = Box::new(PolicyFindings::none(policy));
        let metadata = current.and_then(|current| current.first()?.metadata.as_ref());
        let metadata = metadata.map(|metadata| self.seen(patch.name, metadata.fields()));
        let metadata = metadata.as_deref();
        // The policy has no rules for deletions, but the provider's constraints apply.
        let evaluation = if self.governed().route.effect.ends_session() {
            Policy::default().evaluate(patch, metadata)
        } else {
            policy.evaluate_owned(patch, metadata, self.owned_keys())
        };
        let result = match (evaluation, policy.mode) {
            (Evaluation::Need(Need::CurrentMetadata), _) if current.is_some() => Err(Rejection::UpstreamFailed),
            (Evaluation::Need(Need::CurrentMetadata), _) => {
                findings.unevaluated = true;
                Ok(WriteDecision::NeedsCurrent)
            }
            (Evaluation::Reject(violations), Mode::Enforce) => Err(Rejection::Violations(violations)),
            (Evaluation::Reject(violations), Mode::Audit) => {
                findings.violations = violations;
                self.forward(proven, self.body.clone(), &[], current)
            }
            (Evaluation::Permit(permit), mode) => {
                findings.edits = permit.records(patch);
                policy.add_stripped_codes(patch, &mut findings.edits);
                let edits = if mode == Mode::Audit { &[] } else { permit.edits() };
                self.forward(proven, self.edited(edits), edits, current)
            }
        };
        findings.merged = matches!(&result, Ok(WriteDecision::Forward(write)) if write.kept.is_some());
        Evaluated { findings: Some(findings), result }
    }

    /// The keys that the caller owns; `None` if its grant does not say.
    fn owned_keys(&self) -> Option<&KeyPatterns> {
        self.authorized.grant.as_ref()?.keys.own.as_ref()
    }

    /// The metadata that the caller sees, and owns. A verdict on other keys would tell it of them.
    fn seen<'m>(&self, name: &str, metadata: &'m [Field]) -> Cow<'m, [Field]> {
        match &self.authorized.grant {
            None => Cow::Borrowed(metadata),
            Some(_) if !self.authorized.may_read() => Cow::Borrowed(&[]),
            Some(grant) => {
                let owns = |key: &str| self.owned_keys().is_none_or(|own| own.matches(key));
                let seen = metadata.iter().filter(|field| owns(&field.key) && grant.shows_value(name, &field.key));
                seen.cloned().collect()
            }
        }
    }

    /// Forwards a body with these edits, or asks for the current state, which the proof or the keys need.
    fn forward(
        &self,
        proven: Option<Proven>,
        body: Bytes,
        edits: &[Edit],
        current: Option<&[CurrentState]>,
    ) -> Result<WriteDecision, Rejection> {
        let granted = Granted::check(&self.authorized, self.policy(), body, edits, current)?;
        Ok(match granted.zip(proven) {
            Some((granted, proven)) => WriteDecision::Forward(self.write(granted, proven)),
            None => WriteDecision::NeedsCurrent,
        })
    }

    /// The body with these edits. Without edits the original bytes are forwarded, including their framing.
    fn edited(&self, edits: &[Edit]) -> Bytes {
        let edited = if edits.is_empty() { None } else { self.upstream().dialect.apply_edits(&self.read, edits) };
        edited.map_or_else(|| self.body.clone(), |message| self.governed().carrier.request_body(message))
    }

    /// The original write, for audit mode when only the policy needs the current state, and there is none.
    pub fn unevaluated(&self) -> Option<Write> {
        if self.policy().mode != Mode::Audit {
            return None;
        }
        match self.forward(self.proof.proven(None).ok()?, self.body.clone(), &[], None) {
            Ok(WriteDecision::Forward(write)) => Some(write),
            Ok(WriteDecision::NeedsCurrent) | Err(_) => None,
        }
    }
}
