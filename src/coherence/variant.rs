//! The state of one cached response: the entry, the lease to fetch it, and what must not be stored or served any more.
//!
//! Responses arrive in any order, and the newest counts: the one with the higher version or, if versions do not tell,
//! the one whose fetch began after the other was known. Of two concurrent fetches it is unclear which saw the newer
//! session. The stored one then stays if its fetch began later, and the readers that wait for the other are served it
//! too; otherwise neither is kept.
//!
//! A response that cannot be stored but proves the entry invalid (a 404, for example) invalidates it. This is
//! remembered for as long as an older response may still arrive, that is, one whose fetch began before the
//! invalidation.
//!
//! A response that is served but not stored also invalidates what is older. Otherwise the client could be served an
//! older response next.

use super::{CoherenceState, Micros, Millis, Stamp, Token};

/// A keyed hash of a credential.
pub type CallerDigest = [u8; 16];

/// Stands for every credential.
pub const ALL_CALLERS: CallerDigest = [0; 16];

/// The maximum number of credentials that are denied one by one. Beyond it, all are denied.
pub const MAX_DENIED: usize = 32;

/// A stored response.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry<T> {
    /// The generations under which its fetch began.
    pub stamp: Stamp,
    /// The start of its fetch.
    pub began: Micros,
    /// The end of its freshness, counted from the start of its fetch.
    pub fresh_until: Millis,
    /// The end of its use: until then it may be served stale.
    pub stale_until: Millis,
    /// The session's version, if the response has one.
    pub version: Option<u64>,
    /// The only credential that it may be served to; `None` for all that share the variant.
    pub only: Option<CallerDigest>,
    /// Whether it says that the session does not exist. A store need not keep such an entry.
    pub missing: bool,
    /// A hash of the response. The version alone does not change with everything that a session shows.
    pub digest: u64,
    /// The response.
    pub response: T,
}

/// What is known of a response that was served but not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The start of its fetch; [`Micros::MAX`] if unknown.
    pub began: Micros,
    /// The session's version, if the response has one.
    pub version: Option<u64>,
    /// A hash of the response.
    pub digest: u64,
}

impl<T> Entry<T> {
    /// The start of its fetch, in milliseconds.
    pub fn fetched_at(&self) -> Millis {
        self.began / 1_000
    }

    /// Whether this is at least as new as the other.
    fn is_newer<U>(&self, other: &Entry<U>) -> bool {
        match (self.version, other.version) {
            // Versions are comparable within a generation only: a recreated session may start with a lower one.
            (Some(own), Some(others)) if own != others && self.stamp == other.stamp => own > others,
            _ => self.began >= other.began,
        }
    }

    fn observed(&self) -> Observed {
        Observed { began: self.began, version: self.version, digest: self.digest }
    }
}

/// The right to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The generations of the fetch.
    pub stamp: Stamp,
    /// The reader that fetches.
    pub reader: Token,
    /// When other readers stop waiting for it.
    pub until: Millis,
}

/// A response whose fetch began before this is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watermark {
    /// The start of the oldest fetch that may be stored.
    pub began: Micros,
    /// When no older fetch can still end.
    pub until: Millis,
}

/// The newest response that was served. Responses with a lower version are not stored, whatever their generation:
/// versions of one session only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NewestResponse {
    /// The highest version that was served, if any.
    pub version: Option<u64>,
    /// A hash of the response.
    pub digest: u64,
    /// When it became known. A fetch that began earlier may be older, so it is not joined.
    pub at: Micros,
    /// When no fetch that began earlier can still end.
    pub until: Millis,
}

/// The provider denied the session to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Denied {
    /// The caller.
    pub caller: CallerDigest,
    /// When this is forgotten.
    pub until: Millis,
}

/// What a response that is not stored does to the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// How long it is remembered, in milliseconds.
    pub kept: Millis,
    /// Why the entry is retired.
    pub cause: RetireCause,
}

/// Why an entry must not be served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetireCause {
    /// A response proves it invalid for all callers.
    Invalidated,
    /// The provider denied the session to this caller.
    Denied(CallerDigest),
    /// This response was served: nothing older may be served after it.
    Superseded(Observed),
}

/// How a response compares to the newest known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ordering {
    /// It has a lower version.
    Older,
    /// It is the same response.
    Same,
    /// It has a higher version, or its fetch began after the other was known.
    Newer,
    /// Their fetches were concurrent, and versions do not tell.
    Unclear,
}

/// The state of one cached response.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VariantState<T> {
    /// Who fetches it.
    pub lease: Option<Lease>,
    /// The stored response.
    pub entry: Option<Entry<T>>,
    /// The oldest fetch that may be stored.
    pub watermark: Option<Watermark>,
    /// The newest response that was served.
    pub newest: Option<NewestResponse>,
    /// The callers that it is denied to.
    pub denied: Vec<Denied>,
}

impl<T> Default for VariantState<T> {
    fn default() -> VariantState<T> {
        VariantState { lease: None, entry: None, watermark: None, newest: None, denied: Vec::new() }
    }
}

impl<T> VariantState<T> {
    /// Whether the state holds nothing.
    pub fn is_empty(&self) -> bool {
        let none = self.lease.is_none() && self.entry.is_none() && self.watermark.is_none();
        none && self.newest.is_none() && self.denied.is_empty()
    }

    /// Whether a store may evict this state and keep only its [`EvictedVariants`](super::evicted::EvictedVariants):
    /// nothing older can then be stored, and denied callers stay denied. An entry with a version is not evictable,
    /// because only the entry knows the version.
    pub fn is_evictable(&self) -> bool {
        self.entry.as_ref().is_none_or(|entry| entry.missing || entry.version.is_none())
    }

    /// Drops what has expired.
    pub fn prune(&mut self, now: Millis) {
        self.lease = self.lease.filter(|lease| lease.until > now);
        self.entry = self.entry.take().filter(|entry| entry.stale_until > now);
        self.watermark = self.watermark.filter(|watermark| watermark.until > now);
        self.newest = self.newest.filter(|newest| newest.until > now);
        self.denied.retain(|denied| denied.until > now);
    }

    /// Whether stored responses are denied to this caller.
    pub(super) fn denies(&self, caller: &CallerDigest) -> bool {
        self.denied.iter().any(|denied| denied.caller == *caller || denied.caller == ALL_CALLERS)
    }

    /// The entry that this caller may be served under this stamp.
    pub(super) fn entry_for(&self, caller: &CallerDigest, stamp: Stamp) -> Option<&Entry<T>> {
        let shown = |entry: &&Entry<T>| entry.stamp == stamp && entry.only.is_none_or(|only| only == *caller);
        self.entry.as_ref().filter(shown)
    }

    /// When the newest response became known. A fetch that began earlier may be older.
    pub(super) fn since(&self) -> Micros {
        let entry = self.entry.as_ref().map_or(0, |entry| entry.began);
        let newest = self.newest.map_or(0, |newest| newest.at);
        entry.max(newest).max(self.watermark.map_or(0, |watermark| watermark.began))
    }

    /// Stores a response unless a newer one is known, or may be. `kept` is how long an older response may still arrive.
    /// Returns the entry to serve to waiting readers instead, if any.
    pub fn store(&mut self, reader: Token, entry: Entry<T>, kept: Millis, now: Micros) -> Option<Entry<T>>
    where
        T: Clone,
    {
        self.prune(now / 1_000);
        let newer = self.entry.as_ref().is_none_or(|old| entry.is_newer(old));
        let late = self.watermark.is_some_and(|watermark| entry.began < watermark.began);
        let unclear = self.order(&entry.observed()) == Ordering::Unclear;
        if !newer || late || unclear || self.has_newer_version(entry.version) {
            let instead = self.entry.as_ref().filter(|old| self.can_replace(old, &entry, now / 1_000)).cloned();
            match instead {
                Some(_) => self.release(reader),
                None => self.discard(reader, &entry, kept, now),
            }
            return instead;
        }
        // Older responses must stay out after this one expires.
        let latest = self.entry.as_ref().map_or(entry.began, |old| old.began.max(entry.began));
        if entry.missing {
            self.raise_watermark(now, kept, now);
        } else if entry.version.is_none() || entry.stale_until < (latest / 1_000).saturating_add(kept) {
            self.raise_watermark(latest, kept, now);
        }
        self.record_newest(&entry.observed(), kept, now);
        self.lease = None;
        self.entry = Some(entry);
        None
    }

    /// Whether waiting readers may be served the stored entry instead of another response of unclear order. Otherwise a
    /// client that has seen the other response could be served an older one next. The entry's fetch must have begun
    /// later, so that it is new enough for all of them.
    fn can_replace(&self, stored: &Entry<T>, other: &Entry<T>, now: Millis) -> bool {
        let decided = versions_differ(stored.version, other.version) || stored.digest == other.digest || other.missing;
        let usable = stored.only.is_none() && self.denied.is_empty() && now < stored.fresh_until;
        !decided && usable && stored.stamp == other.stamp && stored.began >= other.began
    }

    /// Handles a response that is not stored, but is still served to the readers that wait for it.
    fn discard(&mut self, reader: Token, entry: &Entry<T>, kept: Millis, now: Micros) {
        self.release(reader);
        if entry.missing {
            self.invalidate(kept, now);
        } else {
            self.supersede(&entry.observed(), kept, now);
        }
    }

    /// How a response compares to the newest known one.
    fn order(&self, observed: &Observed) -> Ordering {
        let stored = || self.entry.as_ref().map(|entry| (entry.version, entry.digest, entry.began));
        let newest = self.newest.map(|newest| (newest.version, newest.digest, newest.at));
        let Some((version, digest, at)) = newest.or_else(stored) else { return Ordering::Newer };
        match versions_differ(version, observed.version) {
            true if observed.version < version => Ordering::Older,
            true => Ordering::Newer,
            false if observed.digest == digest => Ordering::Same,
            false if observed.began < at => Ordering::Unclear,
            false => Ordering::Newer,
        }
    }

    /// Invalidates what is older than this served response, or may be, and raises the watermark. Returns whether there
    /// was anything to invalidate.
    fn supersede(&mut self, observed: &Observed, kept: Millis, now: Micros) -> bool {
        let began = match self.order(observed) {
            Ordering::Older => return false,
            Ordering::Same => {
                // A fetch that began earlier may have seen the session between the two.
                self.record_newest(observed, kept, now);
                return false;
            }
            Ordering::Newer => observed.began.min(now),
            Ordering::Unclear => now,
        };
        self.entry = None;
        self.raise_watermark(began, kept, now);
        self.record_newest(observed, kept, now);
        true
    }

    /// Whether a higher version was served.
    fn has_newer_version(&self, version: Option<u64>) -> bool {
        version.zip(self.newest.and_then(|newest| newest.version)).is_some_and(|(version, newest)| version < newest)
    }

    /// Records a served response, unless one with a higher version was served.
    fn record_newest(&mut self, observed: &Observed, kept: Millis, now: Micros) {
        if self.has_newer_version(observed.version) {
            return;
        }
        let (version, until) = self.newest.map_or((None, 0), |newest| (newest.version, newest.until));
        let until = until.max((now / 1_000).saturating_add(kept));
        let version = observed.version.max(version);
        self.newest = Some(NewestResponse { version, digest: observed.digest, at: now, until });
    }

    fn release(&mut self, reader: Token) {
        self.lease = self.lease.filter(|lease| lease.reader != reader);
    }

    /// Removes the entry and the lease, and keeps out all fetches that began before now.
    fn invalidate(&mut self, kept: Millis, now: Micros) {
        self.lease = None;
        self.entry = None;
        self.raise_watermark(now, kept, now);
    }

    fn raise_watermark(&mut self, began: Micros, kept: Millis, now: Micros) {
        let before = self.watermark.unwrap_or(Watermark { began: 0, until: 0 });
        let until = (now / 1_000).saturating_add(kept);
        self.watermark = Some(Watermark { began: before.began.max(began), until: before.until.max(until) });
    }

    fn deny(&mut self, caller: CallerDigest, kept: Millis, now: Micros) {
        let until = (now / 1_000).saturating_add(kept);
        if let Some(known) = self.denied.iter_mut().find(|denied| denied.caller == caller) {
            known.until = known.until.max(until);
            return;
        }
        if self.denied.len() < MAX_DENIED {
            return self.denied.push(Denied { caller, until });
        }
        self.invalidate(kept, now);
        self.denied = vec![Denied { caller: ALL_CALLERS, until }];
    }
}

/// Whether the versions tell which response is newer.
fn versions_differ(one: Option<u64>, other: Option<u64>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// Ends a fetch whose response may be stored. `now` is in microseconds. A response under an outdated stamp would never
/// be a hit, so it is not stored. Returns the entry to serve to waiting readers instead, if any.
///
/// A store that cannot read the epoch in the same step may assume the epoch of the fetch. What it then stores is not a
/// hit for later readers, which find another epoch. What it returns is valid for all waiting readers: each has found
/// both generations of the stamp itself, before any write that ended the epoch was acknowledged (otherwise it would not
/// have joined the fetch), and the stored entry has the same stamp and began no earlier than the fetch that they wait
/// for.
pub fn fill<T: Clone>(
    session: &CoherenceState,
    epoch: &CoherenceState,
    variant: &mut VariantState<T>,
    reader: Token,
    entry: Entry<T>,
    kept: Millis,
    now: Micros,
) -> Option<Entry<T>> {
    if session.generation == Some(entry.stamp.session) && epoch.generation == Some(entry.stamp.epoch) {
        return variant.store(reader, entry, kept, now);
    }
    variant.prune(now / 1_000);
    variant.discard(reader, &entry, kept, now);
    None
}

/// Ends a fetch whose response does not concern the entry: only the lease ends.
pub fn release<T>(variant: &mut VariantState<T>, own: Token) {
    variant.release(own);
}

/// Ends a fetch whose response is not stored but makes the entry invalid. `now` is in microseconds.
pub fn retire<T>(variant: &mut VariantState<T>, own: Token, retired: Retired, now: Micros) {
    let Retired { kept, cause } = retired;
    variant.prune(now / 1_000);
    variant.release(own);
    match cause {
        RetireCause::Invalidated => variant.invalidate(kept, now),
        RetireCause::Denied(caller) => variant.deny(caller, kept, now),
        // The lease holder's fetch may have begun too early to be stored.
        RetireCause::Superseded(observed) if variant.supersede(&observed, kept, now) => variant.lease = None,
        RetireCause::Superseded(_) => {}
    }
}
