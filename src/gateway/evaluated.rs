//! The evaluation of a decoded request by its policy.

use super::Gateway;
use super::decoded::{DecodedRequest, Read, Write, WriteDecision};
use super::policy_findings::PolicyFindings;
use crate::model::{Edit, Field, Rejection, SessionPatch};
use crate::policy::{Evaluation, Mode, Policy};
use bytes::Bytes;

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

    /// Evaluates a write. `current` is the current metadata that an earlier call asked for.
    pub fn decide(&self, current: Option<&[Field]>) -> Evaluated<WriteDecision> {
        match self.patch() {
            Ok(Some(patch)) => self.evaluate(&patch, current),
            Ok(None) => Evaluated { findings: None, result: Ok(WriteDecision::Forward(self.write(self.body.clone()))) },
            Err(rejection) => Evaluated { findings: None, result: Err(rejection) },
        }
    }

    fn evaluate(&self, patch: &SessionPatch, current: Option<&[Field]>) -> Evaluated<WriteDecision> {
        let policy = self.policy();
        let mut findings = Box::new(PolicyFindings::none(policy));
        // The policy has no rules for deletions, but the provider's constraints apply.
        let evaluation = if self.governed().route.effect.ends_session() {
            Policy::default().evaluate(patch, current)
        } else {
            policy.evaluate(patch, current)
        };
        let result = match (evaluation, policy.mode) {
            (Evaluation::Need(need), _) => {
                findings.unevaluated = true;
                Ok(WriteDecision::Need(need))
            }
            (Evaluation::Reject(violations), Mode::Enforce) => Err(Rejection::Violations(violations)),
            (Evaluation::Reject(violations), Mode::Audit) => {
                findings.violations = violations;
                Ok(WriteDecision::Forward(self.write(self.body.clone())))
            }
            (Evaluation::Permit(permit), mode) => {
                findings.edits = permit.records(patch);
                policy.add_stripped_codes(patch, &mut findings.edits);
                let edits = if mode == Mode::Audit { &[] } else { permit.edits() };
                Ok(WriteDecision::Forward(self.write(self.edited(edits))))
            }
        };
        Evaluated { findings: Some(findings), result }
    }

    /// The body with these edits. Without edits the original bytes are forwarded, including their framing.
    fn edited(&self, edits: &[Edit]) -> Bytes {
        let edited = if edits.is_empty() { None } else { self.upstream().dialect.apply_edits(&self.read, edits) };
        edited.map_or_else(|| self.body.clone(), |message| self.governed().carrier.request_body(message))
    }

    /// The original write, for audit mode when the evaluation was not possible.
    pub fn unevaluated(&self) -> Result<Write, Rejection> {
        if self.is_audit() { Ok(self.write(self.body.clone())) } else { Err(Rejection::UpstreamFailed) }
    }
}
