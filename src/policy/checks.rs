//! The rules for the checks that a write may request, and for the session's token.

use crate::model::{Check, CheckKind, Rule, SessionTokenPresence, Violation, Violations};
use crate::telemetry::Label;

/// Whether a write must carry the session's token, if its operation has a field for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionTokenRule {
    /// A write without the token is a violation.
    Required,
    /// The gateway does not require the token. Some providers have a field for it, but ignore it.
    #[default]
    Optional,
}

impl SessionTokenRule {
    pub(super) fn check(self, token: &SessionTokenPresence, violations: &mut Violations) {
        match (self, token) {
            (SessionTokenRule::Required, SessionTokenPresence::Absent(path)) => violations.push(Violation {
                path: path.clone(),
                rule: Rule::SessionToken,
                message: "is required but missing".into(),
            }),
            (SessionTokenRule::Required, SessionTokenPresence::NotRequested | SessionTokenPresence::Given)
            | (SessionTokenRule::Optional, _) => {}
        }
    }
}

/// Which checks a write may request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckRule {
    /// The allowed checks; `None` allows all.
    pub allowed: Option<Vec<CheckKind>>,
}

impl CheckRule {
    /// A list of allowed checks is closed: an unknown check is not allowed.
    pub(super) fn check(&self, checks: &[Check], unknown: &[String], violations: &mut Violations) {
        let Some(allowed) = &self.allowed else {
            return;
        };
        let names: Vec<&str> = allowed.iter().map(|kind| kind.name()).collect();
        let list = || format!("; allowed: `{}`", names.join("`, `"));
        for check in checks.iter().filter(|check| !allowed.contains(&check.kind)) {
            let found = check.kind.name();
            let what = format!("the check `{found}` is not allowed");
            violations.report(&check.path, Rule::Check, &what, list, &what);
        }
        for path in unknown {
            violations.report(path, Rule::Check, "is an unknown check", list, "is an unknown check");
        }
    }
}
