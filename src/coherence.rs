//! The cache protocol's decisions, as a pure state machine. Stores only execute them: each function below must run
//! atomically.
//!
//! A store that cannot run them must do exactly the same: `tests/suite/cache/redis_scripts.rs` compares the Redis
//! scripts with them.
//!
//! The validity of a session's cached responses depends on its *generation*. A write replaces the generation by an
//! *invalidation mark* before it is forwarded, and by a fresh generation when its outcome is known. A reader that finds
//! a mark bypasses the cache and stores nothing. An entry carries the generation under which its fetch began and is a
//! hit only under that generation. So a late fill does no harm, and neither does a mark that is never removed, because
//! it expires.
//!
//! The *epoch* of an upstream has the same states. Writes that may change any session mark it, and every entry carries
//! its generation too.
//!
//! The exclusive right of [`exclusive`] is for writes that are decided by the session's current state.
//!
//! [`reading`] and [`writing`] decide what readers and writers do with a store's replies, [`sharing`] which writes
//! share a mark, and `tenants` what belongs to one [`TenantId`] only.

mod acquisition;
mod clock;
mod evicted;
pub mod exclusive;
mod generation;
mod invalidation;
pub mod reading;
mod settled;
pub mod sharing;
mod state;
mod tenant_id;
mod tenants;
mod variant;
pub mod writing;

pub use acquisition::{AcquireInput, Acquired, acquire};
pub use clock::{Micros, Millis, millis};
pub use evicted::EvictedVariants;
pub use generation::{Generation, Stamp, Token};
pub use invalidation::{
    MAX_SESSION_WRITES, MAX_UPSTREAM_WRITES, SHARED_WRITER, TooManyWrites, WriteEnd, WriteScope, begin, end,
};
pub use settled::{FLOOR_KEPT, Settled};
pub use state::CoherenceState;
pub use tenant_id::{DEFAULT_TENANT, TenantId};
pub use tenants::{DeletionState, MAX_TENANTS, NEVER_LIFTED};
pub use variant::{
    ALL_CALLERS, CallerDigest, Denied, Entry, Lease, MAX_DENIED, NewestResponse, Observed, RetireCause, Retired,
    VariantState, Watermark, fill, release, retire,
};

#[cfg(test)]
mod tests;
