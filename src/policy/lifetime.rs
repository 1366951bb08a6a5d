//! How long sessions may live.

use crate::model::{Edit, Length, Lifetime, Rule, Violation, Violations};

/// What a lifetime outside the bounds meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutsideBounds {
    /// It is a violation.
    #[default]
    Reject,
    /// It becomes the bound.
    Clamp,
}

/// How long a write may let a session live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LifetimeRule {
    /// The shortest.
    pub min: Option<Length>,
    /// The longest.
    pub max: Option<Length>,
    /// What others meet.
    pub outside: OutsideBounds,
    /// Whether every write that could has to say.
    pub required: bool,
}

impl LifetimeRule {
    /// What is wrong with a lifetime, or the edit that puts it right.
    pub(super) fn check(&self, found: &Lifetime, creates: bool, violations: &mut Violations) -> Option<Edit> {
        let (path, length) = match found {
            Lifetime::NotOffered => return None,
            Lifetime::Given { path, length } => (path, Some(*length)),
            Lifetime::Absent(path) if self.required || creates => (path, None),
            // What the session has stays.
            Lifetime::Absent(_) => return None,
        };
        let mut report = |message| violations.push(Violation { path: path.clone(), rule: Rule::Lifetime, message });
        if length.is_none() && self.required {
            report("is required and missing".into());
            return None;
        }
        // A session that is made without one never ends.
        let below = self.min.filter(|min| length.is_some_and(|length| length < *min));
        let above = self.max.filter(|max| length.is_none_or(|length| length > *max));
        let bound = below.or(above)?;
        match (self.outside, length) {
            (OutsideBounds::Clamp, _) => return Some(Edit::Lifetime(bound)),
            (OutsideBounds::Reject, None) => {
                report(format!("is missing, so the session would never end; at most {bound} are allowed"));
            }
            (OutsideBounds::Reject, Some(length)) if below.is_some() => {
                report(format!("is {length}, at least {bound} are required"));
            }
            (OutsideBounds::Reject, Some(length)) => report(format!("is {length}, at most {bound} are allowed")),
        }
        None
    }
}
