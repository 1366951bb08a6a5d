//! The cache protocol's decisions, as a pure state machine. Stores only execute them: each function below must run
//! atomically.
//!
//! A store that cannot run them must do exactly the same: `tests/suite/scripts.rs` compares the Redis scripts with
//! them.
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
//! [`reading`] and [`writing`] decide what readers and writers do with a store's replies, [`sharing`] which writes
//! share a mark, and `tenants` what belongs to one [`TenantId`] only.

mod variant;
pub mod reading;
pub mod sharing;
mod tenants;
mod evicted;
pub mod writing;

pub use evicted::EvictedVariants;
pub use tenants::{DEFAULT_TENANT, DeletionState, MAX_TENANTS, NEVER_LIFTED, TenantId};
pub use variant::{
    ALL_CALLERS, CallerDigest, Denied, Entry, Lease, MAX_DENIED, NewestResponse, Observed, RetireCause, Retired,
    VariantState, Watermark, fill, release, retire,
};

use std::time::Duration;
use tenants::Tenants;

/// A unique value that the store mints, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(pub u128);

/// Identifies one read or write, so that repeating a step does no harm. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

/// Milliseconds on the store's clock.
pub type Millis = u64;

/// A duration in milliseconds; saturates.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
/// Microseconds on the store's clock: fine enough to tell which of two fetches began first.
pub type Micros = u64;

/// The maximum number of writes in flight on one session.
pub const MAX_SESSION_WRITES: usize = 64;
/// The maximum number of distinct marks of writes that may change any session of an upstream. Further writes share one
/// mark, which is never removed and expires.
pub const MAX_UPSTREAM_WRITES: usize = 256;
/// The writer of a shared mark that is never removed and expires: for writes beyond the maximum number of distinct
/// marks, and for writes that share a mark and have an unknown outcome.
pub const SHARED_WRITER: Token = Token(0);

/// How long the version of an acknowledged write is remembered, in milliseconds.
pub const FLOOR_KEPT: Millis = 600_000;

/// The mark of a write in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct WriteMark {
    writer: Token,
    deadline: Millis,
}

/// The coherence state of one session, or of one upstream's epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CoherenceState {
    marks: Vec<WriteMark>,
    generation: Option<Generation>,
    /// The generation before the only write in flight. It is restored if that write changes nothing.
    before: Option<Generation>,
    /// For a session: the default tenant's version floor. For an epoch: the time of the upstream's last purge.
    floor: Option<u64>,
    floor_set: Millis,
    /// The expiry of the default tenant's deletion. If nothing else records a deletion, it may be any tenant's: the
    /// previous version of the gateway writes only this.
    deleted_until: Option<Millis>,
    tenants: Tenants,
}

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Settled {
    /// The version that the provider gave the session. Older responses are not stored.
    pub version: Option<u64>,
    /// Whether the write certainly changed nothing, so entries from before it stay valid.
    pub unchanged: bool,
    /// How long the session counts as deleted, whatever a provider that deletes late still responds.
    pub deleted_for: Option<Millis>,
    /// Whether the session's deletion is lifted for all tenants; for an upstream, the deletions of all its sessions.
    pub lifted: bool,
    /// The tenant of the version and the deletion.
    pub tenant: TenantId,
    /// The upstream's last purge before the deletion. The store sets it.
    pub purged: Millis,
}

/// The generations under which a response is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The session's.
    pub session: Generation,
    /// The upstream's.
    pub epoch: Generation,
}

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

/// What the end of a write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteEnd {
    /// Other writes are in flight. The last of them makes the session cacheable again.
    OthersInFlight,
    /// Responses may be stored again.
    Reopened,
    /// Responses may be stored again, but the write's own mark was gone: it had expired, or the store lost it.
    MarkLost,
}

/// The maximum number of writes is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many writes in flight")]
pub struct TooManyWrites;

impl CoherenceState {
    /// Drops what has expired. A state that loses its last mark this way has no generation, because what was fetched
    /// meanwhile has none.
    fn prune(&mut self, now: Millis) {
        let marks = self.marks.len();
        self.marks.retain(|mark| mark.deadline > now);
        if self.marks.len() < marks {
            self.before = None;
        }
        if self.deleted_until.is_some_and(|until| until <= now) {
            self.deleted_until = None;
        }
        self.tenants.prune(now);
    }

    /// Whether a store must not evict this state: it has a mark or a deletion.
    pub fn must_keep(&self, now: Millis) -> bool {
        self.is_marked(now) || self.deleted_until.is_some_and(|until| until > now) || self.tenants.must_keep(now)
    }

    /// Whether the session is deleted for a tenant. `purged` is the time of the upstream's last purge: see
    /// [`CoherenceState::purged`].
    pub fn deletion_state(&self, tenant: &TenantId, purged: Millis, now: Millis) -> DeletionState {
        self.tenants.deletion_state(tenant, self.deleted_until, purged, now)
    }

    /// The version below which responses are too old for a tenant.
    fn floor(&self, tenant: &TenantId, now: Millis) -> Option<u64> {
        if *tenant == DEFAULT_TENANT { self.floor } else { self.tenants.floor(tenant, now) }
    }

    /// For an epoch: the time of the upstream's last purge; 0 if never.
    pub fn purged(&self) -> Millis {
        self.floor.unwrap_or_default()
    }

    /// For an epoch: lifts all deletions from before now.
    pub fn purge(&mut self, now: Millis) {
        self.floor = Some(now.max(self.purged().saturating_add(1)));
    }

    /// The heap memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.tenants.bytes()
    }

    /// Whether a write is in flight.
    pub fn is_marked(&self, now: Millis) -> bool {
        self.marks.iter().any(|mark| mark.deadline > now)
    }

    /// Whether a store with enough memory should keep this state: it must, or the state knows which responses are too
    /// old. Providers may return older responses for a while after they acknowledged a write.
    pub fn should_keep(&self, now: Millis) -> bool {
        let floor = self.floor.is_some() && now.saturating_sub(self.floor_set) < FLOOR_KEPT;
        self.must_keep(now) || floor || self.tenants.should_keep(now)
    }

    /// The generation. `None` during a write, or before the first read after it.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// Invalidates everything fetched until now.
    pub fn renew(&mut self) {
        self.generation = None;
        self.before = None;
    }

    /// The generation, minted now if there is none.
    fn mint_generation(&mut self, mint: &mut impl FnMut() -> Generation) -> Generation {
        *self.generation.get_or_insert_with(mint)
    }
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

/// What a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteScope {
    /// One session. The number of writes in flight is limited.
    Session,
    /// One session, by unverified callers. They share a mark, for which there is always room.
    Unverified,
    /// Any session of an upstream. Such a write is never rejected because of others.
    Upstream,
}

/// Begins a write, which may be forwarded once this is done. `guard` is longer than any write can take, in
/// milliseconds. Repeating it, for the same write or one that shares its mark, extends the mark and never shortens it.
///
/// # Errors
///
/// If too many writes are in flight on the session.
pub fn begin(
    state: &mut CoherenceState,
    writer: Token,
    guard: Millis,
    now: Millis,
    scope: WriteScope,
) -> Result<(), TooManyWrites> {
    state.prune(now);
    let others = state.marks.iter().filter(|mark| mark.writer != writer).count();
    let writer = match scope {
        WriteScope::Session if others >= MAX_SESSION_WRITES => return Err(TooManyWrites),
        WriteScope::Unverified if others >= MAX_SESSION_WRITES => SHARED_WRITER,
        WriteScope::Upstream if others >= MAX_UPSTREAM_WRITES => SHARED_WRITER,
        WriteScope::Session | WriteScope::Unverified | WriteScope::Upstream => writer,
    };
    let own = state.marks.iter().find(|mark| mark.writer == writer).map(|mark| mark.deadline);
    state.marks.retain(|mark| mark.writer != writer);
    // With concurrent writes, nothing is certain any more.
    let alone = state.marks.is_empty();
    let generation = state.generation.take();
    let before = if own.is_some() { state.before } else { generation };
    state.before = before.filter(|_| alone);
    let deadline = now.saturating_add(guard).max(own.unwrap_or_default());
    state.marks.push(WriteMark { writer, deadline });
    Ok(())
}

/// Ends a write whose outcome is known. The write may be acknowledged once this is done. If the outcome is unknown, do
/// not call this: the mark expires on its own.
pub fn end(
    state: &mut CoherenceState,
    writer: Token,
    settled: Settled,
    now: Millis,
    mint: impl FnOnce() -> Generation,
) -> WriteEnd {
    state.prune(now);
    state.deleted_until = state.deleted_until.filter(|_| !settled.lifted);
    if settled.tenant == DEFAULT_TENANT {
        state.floor = state.floor.max(settled.version);
        state.floor_set = now;
        state.deleted_until = state.deleted_until.max(settled.deleted_for.map(|long| now.saturating_add(long)));
    }
    state.tenants.settle(settled, now);
    if !settled.unchanged {
        // This also holds if other marks remain: the state before them has changed.
        state.before = None;
    }
    let marks = state.marks.len();
    state.marks.retain(|mark| mark.writer != writer);
    let found = state.marks.len() < marks;
    if !state.marks.is_empty() {
        return WriteEnd::OthersInFlight;
    }
    let before = state.before.take().filter(|_| found && settled.unchanged);
    state.generation = Some(before.unwrap_or_else(mint));
    if found { WriteEnd::Reopened } else { WriteEnd::MarkLost }
}

#[cfg(test)]
mod tests;
