//! Grants: which callers may do what, and what they see of a session.
//!
//! Grants are evaluated in the order of the configuration. The first one that matches the caller decides alone.

mod callers;
mod certificate_patterns;
mod client_index;
mod grants;
mod hidden_fields;
mod keys;
mod masks;
mod merge;
mod operations;

pub use callers::CallerMatcher;
pub use certificate_patterns::{AlternativeNamePattern, SubjectPattern};
pub use grants::{Grant, GrantMatch, Grants, SessionScope};
pub use hidden_fields::HiddenFields;
pub use keys::{KeyDecision, KeyGrant, removes_any};
pub use masks::{FieldPath, Masks};
pub use merge::{Merge, MergeFault};
pub use operations::OperationSet;
