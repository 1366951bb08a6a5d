//! What a reader makes of what it finds in the store.

use super::{Acquired, Entry, Micros, Millis, Stamp, Token};

/// The connection over which a step was carried out. Stores that lose acknowledged steps do so with their connections:
/// when another server takes over, or when one begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ConnectionId {
    /// Another connection has another number.
    pub number: u64,
    /// What was fetched before this may have outlived a mark that the store has lost.
    pub fence: Millis,
}

/// For how long a response may do, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessWindows {
    /// While it is fresh, counted from the start of its fetch. A fetch that runs longer is not joined: what is stored
    /// is bounded so, and what is on its way has to be too.
    pub fresh: Millis,
    /// While it is refreshed.
    pub revalidate: Millis,
    /// If the provider fails.
    pub error: Millis,
    /// What the client says of the response's age.
    pub limits: Limits,
}

impl Default for FreshnessWindows {
    fn default() -> FreshnessWindows {
        FreshnessWindows { fresh: Millis::MAX, revalidate: 0, error: 0, limits: Limits::default() }
    }
}

impl FreshnessWindows {
    /// No fetch is joined that began before this: what it brings would not be a hit by now, if it were stored.
    fn joinable(&self, now: Millis) -> Micros {
        let age = self.fresh.saturating_sub(self.limits.min_fresh.max(1)).min(self.limits.max_age);
        now.saturating_sub(age).saturating_mul(1_000)
    }
}

/// What a reader does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadStep<T> {
    /// It responses with this.
    Respond(Entry<T>),
    /// It responses with this, and begins a fetch that nobody waits for.
    Refresh(Entry<T>, Fetch<T>),
    /// It joins the fetch in this process that began under this stamp and over this link, or begins it.
    Fetch(Fetch<T>),
    /// Somebody else fetches: it joins them if they are in this process, and otherwise looks again a little later.
    Wait {
        /// The generations of the fetch.
        stamp: Stamp,
        /// Who fetches.
        reader: Token,
        /// No fetch will do that began before this.
        since: Micros,
    },
    /// It asks the provider, and stores nothing.
    Bypass,
    /// It responses that there is no such session.
    Deleted,
}

/// A fetch to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch<T> {
    /// The generations to fill under.
    pub stamp: Stamp,
    /// The version below which a response is too old to store.
    pub floor: Option<u64>,
    /// What to answer with if the provider fails.
    pub fallback: Option<Entry<T>>,
    /// No fetch will do that began before this: what it would join.
    pub since: Micros,
    /// Why.
    pub why: ForwardReason,
}

/// No fetch of others will do.
pub const NEVER_JOIN: Micros = Micros::MAX;

/// Why a read goes to the provider: the values that `fwd` has for it in `Cache-Status` (RFC 9211, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardReason {
    /// There is no response.
    Missing,
    /// There is one, but it is no longer fresh.
    Stale,
    /// The client does not want the one that there is.
    Requested,
}

/// What a response must be for a reader to be answered with it: a client may ask for a younger one (RFC 9111, section
/// 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The greatest age, in milliseconds.
    pub max_age: Millis,
    /// The shortest time for which it is still fresh, in milliseconds.
    pub min_fresh: Millis,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_age: Millis::MAX, min_fresh: 0 }
    }
}

impl Limits {
    /// Whether a response is young enough.
    pub fn allow<T>(&self, entry: &Entry<T>, now: Millis) -> bool {
        let age = now.saturating_sub(entry.fetched_at());
        age <= self.max_age && entry.fresh_until.saturating_sub(now) >= self.min_fresh
    }
}

/// Decides what to do. `now` is the store's time when it answered.
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
        // Without a lease: the place is taken by what cannot be trusted, or is not wanted, and the fill replaces it.
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

/// What a fetch of this process is known by beside the response that it is for. A reader may join it only if it has
/// found the same stamp over the same link by itself: known by the response alone, a fetch that began before a write
/// would be joined after it, and known by the stamp alone, one that began before the store lost a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlightKey {
    stamp: Stamp,
    connection_id: u64,
}

impl FlightKey {
    /// What a fetch is known by that begins under this stamp over this link, or what a reader looks for who found them.
    pub fn new(stamp: Stamp, connection_id: ConnectionId) -> FlightKey {
        FlightKey { stamp, connection_id: connection_id.number }
    }
}
