//! The rule for the lifetime of sessions.

use crate::model::{Edit, Lifetime, Rule, SignedDuration, Violation, Violations};

/// How to treat a lifetime out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutsideBounds {
    /// A violation.
    #[default]
    Reject,
    /// Set to the bound that it exceeds.
    Clamp,
}

/// The bounds of the lifetime that a write may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LifetimeRule {
    /// The minimum.
    pub min: Option<SignedDuration>,
    /// The maximum.
    pub max: Option<SignedDuration>,
    /// How to treat a lifetime out of bounds.
    pub outside: OutsideBounds,
    /// Whether every write that can set a lifetime must do so.
    pub required: bool,
}

impl LifetimeRule {
    /// Checks a lifetime. Returns the edit that clamps it, if any.
    pub(super) fn check(&self, found: &Lifetime, creates: bool, violations: &mut Violations) -> Option<Edit> {
        let (path, length) = match found {
            Lifetime::NotOffered => return None,
            Lifetime::Given { path, length } => (path, Some(*length)),
            Lifetime::Absent(path) if self.required || creates => (path, None),
            // The session keeps its lifetime.
            Lifetime::Absent(_) => return None,
        };
        let mut report = |message| violations.push(Violation { path: path.clone(), rule: Rule::Lifetime, message });
        if length.is_none() && self.required {
            report("is required but missing".into());
            return None;
        }
        // A session that is created without a lifetime never expires.
        let below = self.min.filter(|min| length.is_some_and(|length| length < *min));
        let above = self.max.filter(|max| length.is_none_or(|length| length > *max));
        let bound = below.or(above)?;
        match (self.outside, length) {
            (OutsideBounds::Clamp, _) => return Some(Edit::Lifetime(bound)),
            (OutsideBounds::Reject, None) => {
                report(format!("is required: without it the session would never expire; the maximum is {bound}"));
            }
            (OutsideBounds::Reject, Some(length)) if below.is_some() => {
                report(format!("is {length}, but the minimum is {bound}"));
            }
            (OutsideBounds::Reject, Some(length)) => report(format!("is {length}, but the maximum is {bound}")),
        }
        None
    }
}
