//! What a write may ask the provider to check, and whether it has to show the session's token.

use crate::model::{Check, CheckKind, Rule, SessionTokenPresence, Violation, Violations};
use crate::telemetry::Label;

/// Whether the session's token has to come with a write that could carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionTokenRule {
    /// A write without it is a violation.
    Required,
    /// It may be left out, as far as the gateway goes: some providers that take it do not look at it any more.
    #[default]
    Optional,
}

impl SessionTokenRule {
    pub(super) fn check(self, token: &SessionTokenPresence, violations: &mut Violations) {
        match (self, token) {
            (SessionTokenRule::Required, SessionTokenPresence::Absent(path)) => violations.push(Violation {
                path: path.clone(),
                rule: Rule::SessionToken,
                message: "is required and missing".into(),
            }),
            (SessionTokenRule::Required, SessionTokenPresence::NotRequested | SessionTokenPresence::Given)
            | (SessionTokenRule::Optional, _) => {}
        }
    }
}

/// What the provider may be asked to check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckRule {
    /// Only these; all of them where there is no list.
    pub allowed: Option<Vec<CheckKind>>,
}

impl CheckRule {
    /// A list is closed: what is not known cannot be on it.
    pub(super) fn check(&self, checks: &[Check], unknown: &[String], violations: &mut Violations) {
        let Some(allowed) = &self.allowed else {
            return;
        };
        let names: Vec<&str> = allowed.iter().map(|kind| kind.name()).collect();
        let list = || format!("; allowed are `{}`", names.join("`, `"));
        for check in checks.iter().filter(|check| !allowed.contains(&check.kind)) {
            let found = check.kind.name();
            let what = format!("the check `{found}` is not allowed");
            violations.report(&check.path, Rule::Check, &what, list, &what);
        }
        for path in unknown {
            violations.report(path, Rule::Check, "is unknown", list, "is unknown");
        }
    }
}
