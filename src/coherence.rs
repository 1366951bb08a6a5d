//! The cache protocol's decisions, as a pure state machine. Stores only execute them: each function below has to run in
//! one piece.
//!
//! Where a store cannot run them, it has to do the same: `tests/suite/scripts.rs` holds the scripts of Redis against
//! them.
//!
//! What a session's cached responses hang on is its *generation*. A write puts a *mark* in the generation's place
//! before it is forwarded, and a fresh generation when its outcome is known. A reader that finds a mark goes to the
//! provider and stores nothing. An entry carries the generation under which its fetch began and is a hit only under the
//! very same one: a late fill is harmless, and so is a mark that nobody takes away, since it runs out by itself.
//!
//! The *epoch* of an upstream has the same states. Writes that may change any session mark it, and every entry carries
//! its generation too.
//!
//! What readers and writers make of a store's answers is decided in [`reading`] and [`writing`]; which writes share a
//! mark, in
//! [`sharing`]; what is shown to one [`TenantId`] and not to others, in `tenants`.

mod variant;
pub mod reading;
pub mod sharing;
mod tenants;
mod traces;
pub mod writing;

pub use tenants::{DEFAULT_TENANT, DeletionState, MAX_TENANTS, NEVER_LIFTED, TenantId};
pub use traces::EvictedVariants;
pub use variant::{
    ALL_CALLERS, CallerDigest, Denied, Entry, Lease, MAX_DENIED, NewestResponse, Observed, RetireCause, Retired,
    VariantState, Watermark, fill, release, retire,
};

use std::time::Duration;
use tenants::Tenants;

/// A value that is never used twice: the store mints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(pub u128);

/// Names one read or write, so that doing a step twice does no harm. Never used twice either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

/// Milliseconds on the clock of the store.
pub type Millis = u64;

/// As milliseconds, however long it is.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
/// Microseconds on the clock of the store: fine enough to say which of two fetches began first.
pub type Micros = u64;

/// The most writes in flight on one session.
pub const MAX_SESSION_WRITES: usize = 64;
/// The most writes in flight that may change any session of an upstream and are told apart. More of them share one
/// mark, which nobody takes away: it runs out.
pub const MAX_UPSTREAM_WRITES: usize = 256;
/// The writer of a mark that nobody takes away, and that runs out: of the writes beyond the most that are told apart,
/// and of those that share a mark and whose outcome is not known.
pub const SHARED_WRITER: Token = Token(0);

/// How long the version of an acknowledged write is remembered, in milliseconds.
pub const FLOOR_KEPT: Millis = 600_000;

/// A write in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct WriteMark {
    writer: Token,
    deadline: Millis,
}

/// What the coherence of one session, or of one upstream's epoch, hangs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CoherenceState {
    marks: Vec<WriteMark>,
    generation: Option<Generation>,
    /// The generation before the only write in flight: what it returns to if that write changes nothing.
    before: Option<Generation>,
    /// The own tenant's. Of an epoch: when the upstream was purged last.
    floor: Option<u64>,
    floor_set: Millis,
    /// The own tenant's, or, where nothing else says so, any tenant's: the version before knows only this.
    deleted_until: Option<Millis>,
    tenants: Tenants,
}

/// What a write that is over leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Settled {
    /// The version that the provider gave the session: older responses are not stored.
    pub version: Option<u64>,
    /// Whether the write certainly changed nothing, so that what was stored before it still holds.
    pub unchanged: bool,
    /// For how long the session counts as deleted, whatever a provider that deletes late still answers.
    pub deleted_for: Option<Millis>,
    /// Whether it no longer counts as deleted, for no tenant; of an upstream, whether that holds for all its sessions.
    pub lifted: bool,
    /// Whose version and deletion it is.
    pub tenant: TenantId,
    /// When the upstream was purged last, before the deletion. The store says so.
    pub purged: Millis,
}

/// The generations under which a response is fetched: of the session and of the upstream's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The session's.
    pub session: Generation,
    /// The upstream's.
    pub epoch: Generation,
}

/// What a reader finds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Acquired<T> {
    /// A fresh response, the version below which a newer fetch would be too old to store, and the time before which
    /// none will do that began.
    Hit(Entry<T>, Option<u64>, Micros),
    /// Nothing fresh, and nobody fetches: the reader has to, and may fill under this stamp unless the response is older
    /// than the floor.
    Lead {
        /// The generations to fill under.
        stamp: Stamp,
        /// The version below which a response is too old to store.
        floor: Option<u64>,
        /// A response that is no longer fresh.
        stale: Option<Entry<T>>,
        /// No fetch will do that began before this: something newer was known.
        since: Micros,
    },
    /// Somebody fetches under this stamp: join them, or look again a little later.
    Wait {
        /// The generations of the fetch.
        stamp: Stamp,
        /// Who fetches: what to take over from if they never finish.
        reader: Token,
        /// A response that is no longer fresh.
        stale: Option<Entry<T>>,
        /// No fetch will do that began before this.
        since: Micros,
    },
    /// The provider has denied this credential the session a moment ago: the reader fetches for itself, without a
    /// lease, and is shown nothing that was fetched for others.
    Denied {
        /// The generations to fill under.
        stamp: Stamp,
        /// The version below which a response is too old to store.
        floor: Option<u64>,
    },
    /// A write is in flight, or nobody knows for which tenant the session was deleted: fetch, and store nothing.
    Bypass,
    /// The session was deleted.
    Deleted,
}

/// The reader's side of an acquisition.
#[derive(Debug, Clone, Copy)]
pub struct AcquireInput {
    /// The reader.
    pub reader: Token,
    /// A reader that is taken for dead.
    pub steal: Option<Token>,
    /// Whether only a fetch of its own will do: then there is no hit, and no lease.
    pub fresh: bool,
    /// Whether what it fetches may not be stored: then it takes no lease, which others would wait for in vain.
    pub unstored: bool,
    /// Whose credential it has.
    pub caller: CallerDigest,
    /// Which tenant it is for.
    pub tenant: TenantId,
    /// How long the lease lasts, should the reader lead, in milliseconds.
    pub lease: Millis,
    /// Now.
    pub now: Millis,
}

/// What the end of a write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteEnd {
    /// Other writes are in flight: the last of them opens the session again.
    OthersInFlight,
    /// Responses may be stored again.
    Reopened,
    /// The same, but the write's own mark was gone: it had run out, or the store lost it.
    MarkLost,
}

/// As many writes are in flight as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many writes in flight")]
pub struct TooManyWrites;

impl CoherenceState {
    /// Drops marks whose time is over. A state that loses its last mark that way has no generation: what was fetched
    /// while the mark stood was fetched under none.
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

    /// Whether anything would be lost if the store forgot this state: a mark or a deletion.
    pub fn must_keep(&self, now: Millis) -> bool {
        self.is_marked(now) || self.deleted_until.is_some_and(|until| until > now) || self.tenants.must_keep(now)
    }

    /// Whether the session is gone for a tenant. `purged` says when its upstream was purged last: see
    /// [`CoherenceState::purged`].
    pub fn deletion_state(&self, tenant: &TenantId, purged: Millis, now: Millis) -> DeletionState {
        self.tenants.deletion_state(tenant, self.deleted_until, purged, now)
    }

    /// The version below which responses are too old for a tenant.
    fn floor(&self, tenant: &TenantId, now: Millis) -> Option<u64> {
        if *tenant == DEFAULT_TENANT { self.floor } else { self.tenants.floor(tenant, now) }
    }

    /// Of an epoch: when the upstream was purged last.
    pub fn purged(&self) -> Millis {
        self.floor.unwrap_or_default()
    }

    /// Of an epoch: deletions from before this are lifted.
    pub fn purge(&mut self, now: Millis) {
        self.floor = Some(now.max(self.purged().saturating_add(1)));
    }

    /// How many bytes it takes beside its own size.
    pub fn bytes(&self) -> usize {
        self.tenants.bytes()
    }

    /// Whether a write is in flight.
    pub fn is_marked(&self, now: Millis) -> bool {
        self.marks.iter().any(|mark| mark.deadline > now)
    }

    /// Whether a store that has room should remember this state: it matters, or it knows which responses are too old.
    /// Providers may lag behind their own acknowledgements for a while.
    pub fn should_keep(&self, now: Millis) -> bool {
        let floor = self.floor.is_some() && now.saturating_sub(self.floor_set) < FLOOR_KEPT;
        self.must_keep(now) || floor || self.tenants.should_keep(now)
    }

    /// The generation; none where there is a mark, or nobody has read since.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// Ends all that was fetched until now: none of it is a hit any more, or stored.
    pub fn renew(&mut self) {
        self.generation = None;
        self.before = None;
    }

    /// The generation, minted now where there is none.
    fn open(&mut self, mint: &mut impl FnMut() -> Generation) -> Generation {
        *self.generation.get_or_insert_with(mint)
    }
}

/// A read begins.
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
    let stamp = Stamp { session: session.open(&mut mint), epoch: epoch.open(&mut mint) };
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
    if !reading.unstored {
        variant.lease = Some(Lease { stamp, reader: reading.reader, until: reading.now.saturating_add(reading.lease) });
    }
    Acquired::Lead { stamp, floor, stale, since }
}

/// What a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteScope {
    /// One session: only so many writes may be in flight.
    Session,
    /// One session, by callers of whom only the provider knows whether they may: they share a mark, which has to find
    /// room in any case.
    Unverified,
    /// Any session of an upstream: there is no reason to reject one because of the others.
    Upstream,
}

/// A write begins; it may be forwarded once this is done. `guard` is longer than any write can take, in milliseconds.
/// Done again, by the same write or by another that shares its mark, it makes the mark stand longer, and never less
/// long.
pub fn begin(
    state: &mut CoherenceState,
    writer: Token,
    guard: Millis,
    now: Millis,
    reach: WriteScope,
) -> Result<(), TooManyWrites> {
    state.prune(now);
    let others = state.marks.iter().filter(|mark| mark.writer != writer).count();
    let writer = match reach {
        WriteScope::Session if others >= MAX_SESSION_WRITES => return Err(TooManyWrites),
        WriteScope::Unverified if others >= MAX_SESSION_WRITES => SHARED_WRITER,
        WriteScope::Upstream if others >= MAX_UPSTREAM_WRITES => SHARED_WRITER,
        WriteScope::Session | WriteScope::Unverified | WriteScope::Upstream => writer,
    };
    let own = state.marks.iter().find(|mark| mark.writer == writer).map(|mark| mark.deadline);
    state.marks.retain(|mark| mark.writer != writer);
    // Beside another write nothing is certain any more.
    let alone = state.marks.is_empty();
    let generation = state.generation.take();
    let before = if own.is_some() { state.before } else { generation };
    state.before = before.filter(|_| alone);
    let deadline = now.saturating_add(guard).max(own.unwrap_or_default());
    state.marks.push(WriteMark { writer, deadline });
    Ok(())
}

/// A write's outcome is known; it may be acknowledged once this is done. Where the outcome is not known this is not
/// called, and the mark runs out.
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
        // Also where other marks stand: what they found was changed beside them.
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
