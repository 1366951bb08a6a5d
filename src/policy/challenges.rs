//! The rule for the challenges that a write may request.

use super::template::TemplateRule;
use crate::model::{Challenge, ChallengeKind, Rule, Violation, Violations};

/// How to treat a challenge whose code the provider would return to the caller instead of sending it to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnCode {
    /// Allowed.
    #[default]
    Allow,
    /// A violation.
    Reject,
    /// Allowed, but the gateway removes the codes from the response.
    Strip,
}

/// Which challenges a write may request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChallengeRule {
    /// How to treat challenges that return their code.
    pub return_code: ReturnCode,
    /// Where the links in emails may lead.
    pub url_template: TemplateRule,
}

impl ChallengeRule {
    pub(super) fn check(&self, challenges: &[Challenge], unknown: &[String], violations: &mut Violations) {
        // An unknown challenge may return its code, or send a link that cannot be checked.
        let closed = match (self.return_code, self.url_template.allows_any()) {
            (ReturnCode::Reject | ReturnCode::Strip, _) => Some(Rule::ReturnCode),
            (ReturnCode::Allow, false) => Some(Rule::UrlTemplate),
            (ReturnCode::Allow, true) => None,
        };
        violations.extend(closed.into_iter().flat_map(|rule| {
            let message = "is an unknown challenge: its codes and links cannot be checked";
            unknown.iter().map(move |path| Violation { path: path.clone(), rule, message: message.into() })
        }));
        for challenge in challenges {
            let (returns_code, template) = match &challenge.kind {
                ChallengeKind::WebAuthN => (false, None),
                ChallengeKind::OtpSms { returns_code } => (*returns_code, None),
                ChallengeKind::OtpEmail { returns_code, url_template } => (*returns_code, url_template.as_ref()),
            };
            if returns_code && self.return_code == ReturnCode::Reject {
                violations.push(Violation {
                    path: challenge.path.clone(),
                    rule: Rule::ReturnCode,
                    message: "would return the one-time code in the response, which is not allowed".into(),
                });
            }
            if let Some((path, template)) = template {
                self.url_template.check(path, template, violations);
            }
        }
    }
}
