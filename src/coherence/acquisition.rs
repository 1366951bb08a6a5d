//! The begin of a read.

use super::clock::{Micros, Millis};
use super::generation::{Generation, Stamp, Token};
use super::state::CoherenceState;
use super::tenant_id::TenantId;
use super::tenants::DeletionState;
use super::variant::{CallerDigest, Entry, Lease, VariantState};

/// What a reader finds in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Acquired<T> {
    /// A fresh entry, the version below which a newer fetch is too old to store, and the earliest start of a fetch that
    /// may be joined.
    Hit(Entry<T>, Option<u64>, Micros),
    /// No fresh entry and no fetch: the reader holds the lease. It may fill under this stamp unless the response is
    /// older than the floor.
    Lead {
        /// The generations to fill under.
        stamp: Stamp,
        /// The version below which a response is too old to store.
        floor: Option<u64>,
        /// A stale entry.
        stale: Option<Entry<T>>,
        /// The earliest start of a fetch that may be joined: something newer was known before.
        since: Micros,
    },
    /// Another reader fetches under this stamp: join it, or ask again a little later.
    Wait {
        /// The generations of the fetch.
        stamp: Stamp,
        /// The reader that fetches, to take over from if it never finishes.
        reader: Token,
        /// A stale entry.
        stale: Option<Entry<T>>,
        /// The earliest start of a fetch that may be joined.
        since: Micros,
    },
    /// The provider recently denied the session to this caller. The reader fetches for itself, without a lease, and is
    /// not served responses that were fetched for others.
    Denied {
        /// The generations to fill under.
        stamp: Stamp,
        /// The version below which a response is too old to store.
        floor: Option<u64>,
    },
    /// A write is in flight, or it is unknown for which tenant the session was deleted. Fetch, and store nothing.
    Bypass,
    /// The session was deleted.
    Deleted,
}

/// A reader's input to [`acquire`].
#[derive(Debug, Clone, Copy)]
pub struct AcquireInput {
    /// The reader.
    pub reader: Token,
    /// A reader that is presumed dead: its lease may be taken over.
    pub steal: Option<Token>,
    /// Whether the reader needs a fetch of its own: no hit, and no lease.
    pub fresh: bool,
    /// Whether the response must not be stored. The reader then takes no lease, for which others would wait in vain.
    pub no_store: bool,
    /// The caller's credential.
    pub caller: CallerDigest,
    /// The tenant of the request.
    pub tenant: TenantId,
    /// The duration of the lease, in milliseconds.
    pub lease: Millis,
    /// The current time.
    pub now: Millis,
}

/// Begins a read.
pub fn acquire<T: Clone>(
    session: &mut CoherenceState,
    epoch: &mut CoherenceState,
    variant: &mut VariantState<T>,
    reading: AcquireInput,
    mut mint: impl FnMut() -> Generation,
) -> Acquired<T> {
    session.prune(reading.now);
    epoch.prune(reading.now);
    match session.deletion_state(&reading.tenant, epoch.purged(), reading.now) {
        DeletionState::No => {}
        DeletionState::Deleted => return Acquired::Deleted,
        DeletionState::Unknown => return Acquired::Bypass,
    }
    if !session.marks.is_empty() || !epoch.marks.is_empty() {
        return Acquired::Bypass;
    }
    let stamp = Stamp { session: session.mint_generation(&mut mint), epoch: epoch.mint_generation(&mut mint) };
    let floor = session.floor(&reading.tenant, reading.now);
    variant.prune(reading.now);
    if variant.denies(&reading.caller) {
        return Acquired::Denied { stamp, floor };
    }
    let since = variant.since();
    if reading.fresh {
        return Acquired::Lead { stamp, floor, stale: None, since };
    }
    let stale = match variant.entry_for(&reading.caller, stamp) {
        Some(entry) if reading.now < entry.fresh_until => return Acquired::Hit(entry.clone(), floor, since),
        found => found.cloned(),
    };
    let other =
        |lease: &&Lease| lease.stamp == stamp && lease.reader != reading.reader && Some(lease.reader) != reading.steal;
    if let Some(lease) = variant.lease.as_ref().filter(other) {
        return Acquired::Wait { stamp, reader: lease.reader, stale, since };
    }
    if !reading.no_store {
        variant.lease = Some(Lease { stamp, reader: reading.reader, until: reading.now.saturating_add(reading.lease) });
    }
    Acquired::Lead { stamp, floor, stale, since }
}
