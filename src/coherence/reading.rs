//! What a reader does with the store's reply.

use super::{Acquired, Entry, Micros, Millis, Stamp, Token};

/// The connection over which a step was executed. Stores that lose acknowledged steps do so when the connection
/// changes: at a failover or a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ConnectionId {
    /// A number that is unique to the connection.
    pub number: u64,
    /// A response fetched before this time may be older than a mark that the store lost.
    pub fence: Millis,
}

/// How long a response may be served, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessWindows {
    /// How long it is fresh, from the start of its fetch. Fetches that have run longer are not joined either, so that
    /// what is joined is as fresh as what is stored.
    pub fresh: Millis,
    /// How long it may be served stale while it is fetched again.
    pub revalidate: Millis,
    /// How long it may be served stale if the provider fails.
    pub error: Millis,
    /// The client's own limits.
    pub limits: Limits,
}

impl Default for FreshnessWindows {
    fn default() -> FreshnessWindows {
        FreshnessWindows { fresh: Millis::MAX, revalidate: 0, error: 0, limits: Limits::default() }
    }
}

impl FreshnessWindows {
    /// The earliest start of a fetch that may be joined. The response of an older one would not be a hit now.
    fn joinable(&self, now: Millis) -> Micros {
        let age = self.fresh.saturating_sub(self.limits.min_fresh.max(1)).min(self.limits.max_age);
        now.saturating_sub(age).saturating_mul(1_000)
    }
}

/// What a reader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadStep<T> {
    /// Responds with this entry.
    Respond(Entry<T>),
    /// Responds with this entry, and starts a background fetch.
    Refresh(Entry<T>, Fetch<T>),
    /// Joins the fetch in this process with the same stamp and connection, or starts it.
    Fetch(Fetch<T>),
    /// Another reader fetches: joins that fetch if it is in this process, and otherwise asks the store again a little
    /// later.
    Wait {
        /// The generations of the fetch.
        stamp: Stamp,
        /// The reader that fetches.
        reader: Token,
        /// The earliest start of a fetch that may be joined.
        since: Micros,
    },
    /// Fetches from the provider and stores nothing.
    Bypass,
    /// Responds that the session does not exist.
    Deleted,
}

/// A fetch to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch<T> {
    /// The generations to fill under.
    pub stamp: Stamp,
    /// The version below which the response is too old to store.
    pub floor: Option<u64>,
    /// The entry to serve if the provider fails.
    pub fallback: Option<Entry<T>>,
    /// The earliest start of a fetch that may be joined instead.
    pub since: Micros,
    /// Why the read goes to the provider.
    pub why: ForwardReason,
}

/// A value of `since` that allows no join.
pub const NEVER_JOIN: Micros = Micros::MAX;

/// Why a read goes to the provider: its values of `fwd` in `Cache-Status` (RFC 9211, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardReason {
    /// No entry.
    Missing,
    /// A stale entry.
    Stale,
    /// The client rejects the cached entry.
    Requested,
}

/// The client's requirements for a cached response (RFC 9111, section 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum age, in milliseconds.
    pub max_age: Millis,
    /// The minimum remaining freshness, in milliseconds.
    pub min_fresh: Millis,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_age: Millis::MAX, min_fresh: 0 }
    }
}

impl Limits {
    /// Whether the entry meets both limits.
    pub fn allow<T>(&self, entry: &Entry<T>, now: Millis) -> bool {
        let age = now.saturating_sub(entry.fetched_at());
        age <= self.max_age && entry.fresh_until.saturating_sub(now) >= self.min_fresh
    }
}

/// Decides what a reader does. `now` is the store's time of its reply.
pub fn next<T: Clone>(
    acquired: Acquired<T>,
    connection_id: ConnectionId,
    now: Millis,
    windows: FreshnessWindows,
) -> ReadStep<T> {
    let trusted = |entry: &Entry<T>| entry.fetched_at() >= connection_id.fence;
    let within =
        |entry: &Entry<T>, window: Millis| now < entry.fresh_until.saturating_add(window).min(entry.stale_until);
    let usable = |entry: &Entry<T>| trusted(entry) && windows.limits.allow(entry, now);
    let joinable = windows.joinable(now);
    match acquired {
        Acquired::Bypass => ReadStep::Bypass,
        Acquired::Deleted => ReadStep::Deleted,
        Acquired::Hit(entry, ..) if usable(&entry) => ReadStep::Respond(entry),
        // Without a lease: the cached entry cannot be trusted or is not accepted, and the fill replaces it.
        Acquired::Hit(entry, floor, since) => {
            let since = since.max(joinable);
            let why = if trusted(&entry) { ForwardReason::Requested } else { ForwardReason::Missing };
            ReadStep::Fetch(Fetch { stamp: entry.stamp, floor, fallback: None, since, why })
        }
        Acquired::Denied { stamp, floor } => {
            ReadStep::Fetch(Fetch { stamp, floor, fallback: None, since: NEVER_JOIN, why: ForwardReason::Missing })
        }
        Acquired::Wait { stale: Some(entry), .. } if usable(&entry) && within(&entry, windows.revalidate) => {
            ReadStep::Respond(entry)
        }
        Acquired::Wait { stamp, reader, since, .. } => ReadStep::Wait { stamp, reader, since: since.max(joinable) },
        Acquired::Lead { stamp, floor, stale, since } => {
            let stale = stale.filter(trusted);
            let why = if stale.is_some() { ForwardReason::Stale } else { ForwardReason::Missing };
            let stale = stale.filter(usable);
            let fallback = stale.clone().filter(|entry| within(entry, windows.error));
            let fetch = Fetch { stamp, floor, fallback, since: since.max(joinable), why };
            match stale.filter(|entry| within(entry, windows.revalidate)) {
                Some(entry) => ReadStep::Refresh(entry, fetch),
                None => ReadStep::Fetch(fetch),
            }
        }
    }
}

/// Identifies a fetch in this process, together with its cache key. A reader may join a fetch only if it has found the
/// same stamp over the same connection itself. With the cache key alone, a read after a write could join a fetch from
/// before it; with the stamp alone, a read could join a fetch from before the store lost a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlightKey {
    stamp: Stamp,
    connection_id: u64,
}

impl FlightKey {
    /// The key of a fetch under this stamp and connection.
    pub fn new(stamp: Stamp, connection_id: ConnectionId) -> FlightKey {
        FlightKey { stamp, connection_id: connection_id.number }
    }
}
