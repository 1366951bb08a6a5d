//! What a write may ask the provider to challenge the user with.

use super::template::TemplateRule;
use crate::model::{Challenge, ChallengeKind, Rule, Violation, Violations};

/// What a challenge meets whose code would be in the response instead of being sent to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnCode {
    /// It may pass.
    #[default]
    Allow,
    /// It is a violation.
    Reject,
    /// It may pass, but the gateway takes the codes out of the response.
    Strip,
}

/// What the provider may be asked to challenge with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChallengeRule {
    /// What challenges meet that return their code.
    pub return_code: ReturnCode,
    /// Where the links in mails may lead.
    pub url_template: TemplateRule,
}

impl ChallengeRule {
    pub(super) fn check(&self, challenges: &[Challenge], unknown: &[String], violations: &mut Violations) {
        // Nobody knows where such a code would go, or such a link would lead.
        let closed = match (self.return_code, self.url_template.is_free()) {
            (ReturnCode::Reject | ReturnCode::Strip, _) => Some(Rule::ReturnCode),
            (ReturnCode::Allow, false) => Some(Rule::UrlTemplate),
            (ReturnCode::Allow, true) => None,
        };
        violations.extend(closed.into_iter().flat_map(|rule| {
            let message = "is unknown, so its codes and links cannot be checked";
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
                    message: "would put the one-time code into the answer, which is not allowed".into(),
                });
            }
            if let Some((path, template)) = template {
                self.url_template.check(path, template, violations);
            }
        }
    }
}
