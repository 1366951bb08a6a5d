//! What a write may do beside metadata: lifetimes, checks and challenges.

use crate::model::{Challenge, CheckKind, Edit, Extras, Length, Lifetime, Rule, TokenShown, Violation};

/// What becomes of a lifetime outside the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outside {
    /// It is a violation.
    #[default]
    Refuse,
    /// It becomes the bound.
    Clamp,
}

/// How long sessions may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LifetimeRule {
    /// The shortest.
    pub min: Option<Length>,
    /// The longest.
    pub max: Option<Length>,
    /// What becomes of others.
    pub outside: Outside,
    /// Whether it has to be said.
    pub required: bool,
}

/// Whether one-time codes may be handed to callers, who should not have what only the user should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnCode {
    /// They may.
    #[default]
    Allow,
    /// Asking for one is a violation.
    Refuse,
    /// They are taken out of the answer.
    Strip,
}

/// Where links in messages to users may lead. Without hosts and schemes: anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkRule {
    /// The schemes, in lower case.
    pub schemes: Option<Vec<String>>,
    /// The hosts, in lower case; `*.` in front stands for any names before it.
    pub hosts: Option<Vec<String>>,
}

/// What writes may do beside metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraRules {
    /// How long sessions may live.
    pub lifetime: LifetimeRule,
    /// Whether the session's token has to be shown where the provider's documentation asks for it.
    pub token_required: bool,
    /// The checks that may be made; all of them where there is no list.
    pub checks: Option<Vec<CheckKind>>,
    /// Whether one-time codes may be handed to callers.
    pub return_code: ReturnCode,
    /// Where links may lead.
    pub links: LinkRule,
}

impl Default for ExtraRules {
    fn default() -> ExtraRules {
        ExtraRules {
            lifetime: LifetimeRule::default(),
            token_required: true,
            checks: None,
            return_code: ReturnCode::default(),
            links: LinkRule::default(),
        }
    }
}

impl ExtraRules {
    /// What is wrong, and what has to change.
    pub(super) fn judge(&self, extras: &Extras, violations: &mut Vec<Violation>) -> Vec<Edit> {
        if let (TokenShown::Absent(path), true) = (&extras.token, self.token_required) {
            let message = "is required: a change has to show the session's token".into();
            violations.push(Violation { path: path.clone(), rule: Rule::SessionToken, message });
        }
        self.judge_checks(extras, violations);
        for challenge in &extras.challenges {
            match challenge {
                Challenge::ReturnsCode(path) if self.return_code == ReturnCode::Refuse => {
                    let message = "is not allowed: it hands the one-time code to the caller".into();
                    violations.push(Violation { path: path.clone(), rule: Rule::ReturnCode, message });
                }
                Challenge::ReturnsCode(_) => {}
                Challenge::Link { path, template } => {
                    if let Some(message) = self.links.fault(template) {
                        violations.push(Violation { path: path.clone(), rule: Rule::UrlTemplate, message });
                    }
                }
            }
        }
        self.lifetime.judge(extras, violations).map(Edit::Lifetime).into_iter().collect()
    }

    fn judge_checks(&self, extras: &Extras, violations: &mut Vec<Violation>) {
        let Some(allowed) = &self.checks else {
            return;
        };
        let names: Vec<&str> = allowed.iter().map(|kind| kind.name()).collect();
        for check in extras.checks.iter().filter(|check| !allowed.contains(&check.kind)) {
            let message = format!("is not an allowed check; allowed are `{}`", names.join("`, `"));
            violations.push(Violation { path: check.path.clone(), rule: Rule::Check, message });
        }
    }
}

impl LifetimeRule {
    /// The lifetime to set instead, where it has to be another one.
    fn judge(&self, extras: &Extras, violations: &mut Vec<Violation>) -> Option<Length> {
        let mut report = |path: &str, message: String| {
            violations.push(Violation { path: path.into(), rule: Rule::Lifetime, message });
        };
        let (path, length) = match &extras.lifetime {
            Lifetime::NotOffered => return None,
            Lifetime::Absent(path) => (path, None),
            Lifetime::Given { path, length } => (path, Some(*length)),
        };
        let Some(length) = length else {
            if self.required {
                report(path, "is required and missing".into());
                return None;
            }
            // A new session without a lifetime never ends.
            let max = self.max.filter(|_| extras.creates)?;
            if self.outside == Outside::Refuse {
                report(path, format!("is missing, so that the session would never end; at most {max} are allowed"));
            }
            return Some(max).filter(|_| self.outside == Outside::Clamp);
        };
        let bound = match (self.min, self.max) {
            (Some(min), _) if length < min => (min, "at least"),
            (_, Some(max)) if length > max => (max, "at most"),
            _ => return None,
        };
        match (self.outside, bound) {
            (Outside::Clamp, (bound, _)) => Some(bound),
            (Outside::Refuse, (bound, word)) => {
                report(path, format!("is {length}, {word} {bound} are allowed"));
                None
            }
        }
    }
}

impl LinkRule {
    /// What is wrong with a template. In doubt there is something.
    fn fault(&self, template: &str) -> Option<String> {
        if self.schemes.is_none() && self.hosts.is_none() {
            return None;
        }
        let Some((scheme, rest)) = template.split_once("://") else {
            return Some("does not begin with a scheme and `://`".into());
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let number = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        if !plain(name) || !plain(scheme) || !port.is_none_or(number) {
            return Some("has a scheme, host or port that is not plain, or that the template makes".into());
        }
        let (scheme, name) = (scheme.to_ascii_lowercase(), name.to_ascii_lowercase());
        if let Some(allowed) = self.schemes.as_ref().filter(|allowed| !allowed.contains(&scheme)) {
            return Some(format!("has the scheme `{scheme}`; allowed are `{}`", allowed.join("`, `")));
        }
        let fits = |own: &String| match own.strip_prefix("*.") {
            Some(parent) => name.strip_suffix(parent).is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
            None => *own == name,
        };
        let allowed = self.hosts.as_ref().filter(|allowed| !allowed.iter().any(fits))?;
        Some(format!("leads to `{name}`; allowed are `{}`", allowed.join("`, `")))
    }
}

#[cfg(test)]
mod tests;
