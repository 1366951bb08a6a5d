//! The nouns of the domain: operations, callers, changes, violations, rejections.
//!
//! Nothing here knows an encoding, a provider or the outside world.

mod caller;
mod edit;
mod field_path;
mod operation;
mod patch;
mod peer_identity;
mod quota;
mod reason_row;
mod rejection;
mod session_id;
mod violation;
mod violations;

pub use caller::Caller;
pub use edit::{Edit, EditKind, EditRecord, EditRecords};
pub use field_path::{EntryPath, field_path};
pub use operation::Operation;
pub use patch::{
    Challenge, ChallengeKind, Check, CheckKind, Field, Lifetime, MetadataChange, SessionPatch, SessionTokenPresence,
    SignedDuration, Value,
};
pub use peer_identity::{CertificateNames, PeerIdentity};
pub use quota::Quota;
pub use reason_row::{Cause, GrpcCode, Row};
pub use rejection::{Reason, Rejection};
pub use session_id::{IdForm, SessionId};
pub use violation::{Rule, Violation};
pub use violations::{Violations, truncated};
