//! Policies: what a write may do. Evaluation is pure: it sees a [`crate::model::SessionPatch`], and no bytes, sockets
//! or clocks.

mod challenges;
mod checks;
mod compiled_policy;
mod evaluation;
mod inclusion;
mod keys;
mod lifetime;
mod metadata;
mod normalize;
mod rules;
mod template;

pub use challenges::{ChallengeRule, ReturnCode};
pub use checks::{CheckRule, SessionTokenRule};
pub use compiled_policy::{Mode, Policy, Wipe};
pub use evaluation::{Evaluation, Need, Permit};
pub use keys::{KeyPattern, KeyPatterns};
pub use lifetime::{LifetimeRule, OutsideBounds};
pub use normalize::{KeyCase, Normalize};
pub use rules::{FieldRule, Limits};
pub use template::{HostPattern, Scheme, TemplateRule};

#[cfg(test)]
mod tests;
