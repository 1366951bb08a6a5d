//! The place of one cached response: what is stored, who fetches it anew, and what must not be stored or shown any
//! more.
//!
//! Answers come in any order, and the newest of them counts: the one with the higher version, and where that says
//! nothing, the one whose fetch began after the other was known. Of two fetches at the same time nobody knows which one
//! saw the session last. There what is stored stays if its fetch began later, and who waits for the other is shown it
//! too; otherwise neither is kept.
//!
//! A response that cannot be stored, but says that what is stored holds no longer (a 404, say), ends it. That is
//! remembered for as long as an older response could be on its way; older is whatever began before it was known.
//!
//! A response that is shown to a client and not stored ends what is older too: otherwise the client would be shown that
//! next.

use super::{CoherenceState, Micros, Millis, Stamp, Token};

/// Stands for a credential.
pub type CallerDigest = [u8; 16];

/// Stands for every credential.
pub const ALL_CALLERS: CallerDigest = [0; 16];

/// The most credentials that a place is denied to one by one. With one more it is denied to all.
pub const MAX_DENIED: usize = 32;

/// A stored response.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry<T> {
    /// The generations under which its fetch began.
    pub stamp: Stamp,
    /// When its fetch began.
    pub began: Micros,
    /// When it stops being fresh, counted from the start of its fetch.
    pub fresh_until: Millis,
    /// When it stops being any response: until then it may do where it is refreshed, or where the provider fails.
    pub stale_until: Millis,
    /// Its version; none where it has none.
    pub version: Option<u64>,
    /// The only credential that it may be shown to; none where all that share the place may see it.
    pub only: Option<CallerDigest>,
    /// Whether it says that there is no session. A store need not remember that.
    pub missing: bool,
    /// The same for the same response: versions do not change with everything that a session shows.
    pub digest: u64,
    /// The response.
    pub response: T,
}

/// What is known of a response that was shown to a client and is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Observed {
    /// When its fetch began; [`Micros::MAX`] where that is not known.
    pub began: Micros,
    /// Its version; none where it has none.
    pub version: Option<u64>,
    /// The same for the same response.
    pub digest: u64,
}

impl<T> Entry<T> {
    /// When its fetch began, in milliseconds.
    pub fn fetched_at(&self) -> Millis {
        self.began / 1_000
    }

    /// Whether it is newer than another, or as new.
    fn is_newer<U>(&self, other: &Entry<U>) -> bool {
        match (self.version, other.version) {
            // Versions are compared within a generation: what a session that was made anew begins with is nobody's
            // business.
            (Some(own), Some(others)) if own != others && self.stamp == other.stamp => own > others,
            _ => self.began >= other.began,
        }
    }

    fn observed(&self) -> Observed {
        Observed { began: self.began, version: self.version, digest: self.digest }
    }
}

/// Somebody fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The generations of the fetch.
    pub stamp: Stamp,
    /// Who fetches.
    pub reader: Token,
    /// When nobody waits for it any more.
    pub until: Millis,
}

/// Nothing is stored whose fetch began before this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watermark {
    /// When what was stored was ended.
    pub began: Micros,
    /// When nothing can come any more whose fetch began earlier.
    pub until: Millis,
}

/// The newest response that was shown: nothing is stored whose version is lower. That counts for every generation,
/// since versions of one session only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NewestResponse {
    /// Its version; none where none was ever shown.
    pub version: Option<u64>,
    /// The same for the same response.
    pub digest: u64,
    /// When it was known: a fetch that began before may have seen the session earlier, and is not joined.
    pub at: Micros,
    /// When nothing can come any more whose fetch began before that.
    pub until: Millis,
}

/// The provider has denied the session to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Denied {
    /// To whom.
    pub caller: CallerDigest,
    /// When that is forgotten.
    pub until: Millis,
}

/// What a response that is not stored does to what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// For how long it is remembered, in milliseconds.
    pub kept: Millis,
    /// Why.
    pub cause: RetireCause,
}

/// Why what is stored holds no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetireCause {
    /// The response says so.
    Invalidated,
    /// The response says so of this credential alone.
    Denied(CallerDigest),
    /// The response was shown: what is older than it must not be shown after it.
    Superseded(Observed),
}

/// How a response compares to the newest that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Its version is lower.
    Older,
    /// It is the same once more.
    Same,
    /// Its version is higher, or its fetch began after the other was known.
    Newer,
    /// Both were fetched at the same time.
    Unclear,
}

/// The place of one cached response.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VariantState<T> {
    /// Who fetches it.
    pub lease: Option<Lease>,
    /// The response.
    pub entry: Option<Entry<T>>,
    /// What is too old to be stored.
    pub watermark: Option<Watermark>,
    /// The same by its version.
    pub newest: Option<NewestResponse>,
    /// Whom it is denied to.
    pub denied: Vec<Denied>,
}

impl<T> Default for VariantState<T> {
    fn default() -> VariantState<T> {
        VariantState { lease: None, entry: None, watermark: None, newest: None, denied: Vec::new() }
    }
}

impl<T> VariantState<T> {
    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        let none = self.lease.is_none() && self.entry.is_none() && self.watermark.is_none();
        none && self.newest.is_none() && self.denied.is_empty()
    }

    /// Whether the place can go, where its [traces](super::traces::Traces) stay: nothing older can then be stored in
    /// its place, and nobody is shown what they were denied. Where versions say which answer is older, only the entry
    /// itself knows that.
    pub fn is_evictable(&self) -> bool {
        self.entry.as_ref().is_none_or(|entry| entry.missing || entry.version.is_none())
    }

    /// Drops what is over.
    pub fn prune(&mut self, now: Millis) {
        self.lease = self.lease.filter(|lease| lease.until > now);
        self.entry = self.entry.take().filter(|entry| entry.stale_until > now);
        self.watermark = self.watermark.filter(|watermark| watermark.until > now);
        self.newest = self.newest.filter(|newest| newest.until > now);
        self.denied.retain(|denied| denied.until > now);
    }

    /// Whether this credential is shown nothing that is stored.
    pub(super) fn denies(&self, caller: &CallerDigest) -> bool {
        self.denied.iter().any(|denied| denied.caller == *caller || denied.caller == ALL_CALLERS)
    }

    /// What may be shown to this credential under this stamp.
    pub(super) fn entry_for(&self, caller: &CallerDigest, stamp: Stamp) -> Option<&Entry<T>> {
        let shown = |entry: &&Entry<T>| entry.stamp == stamp && entry.only.is_none_or(|only| only == *caller);
        self.entry.as_ref().filter(shown)
    }

    /// When the newest response was known. What began before may be older.
    pub(super) fn since(&self) -> Micros {
        let entry = self.entry.as_ref().map_or(0, |entry| entry.began);
        let newest = self.newest.map_or(0, |newest| newest.at);
        entry.max(newest).max(self.watermark.map_or(0, |watermark| watermark.began))
    }

    /// Stores a response, unless what is known is newer, or may be. `kept` is for how long an older one could be on its
    /// way. Gives what those who wait for it are shown instead.
    pub fn put(&mut self, reader: Token, entry: Entry<T>, kept: Millis, now: Micros) -> Option<Entry<T>>
    where
        T: Clone,
    {
        self.prune(now / 1_000);
        let newer = self.entry.as_ref().is_none_or(|old| entry.is_newer(old));
        let late = self.watermark.is_some_and(|watermark| entry.began < watermark.began);
        let unclear = self.order(&entry.observed()) == Order::Unclear;
        if !newer || late || unclear || self.knows_higher(entry.version) {
            let instead = self.entry.as_ref().filter(|old| self.can_replace(old, &entry, now / 1_000)).cloned();
            match instead {
                Some(_) => self.release(reader),
                None => self.reject(reader, &entry, kept, now),
            }
            return instead;
        }
        // What is older must not come once this one is over.
        let latest = self.entry.as_ref().map_or(entry.began, |old| old.began.max(entry.began));
        if entry.missing {
            self.bar(now, kept, now);
        } else if entry.version.is_none() || entry.stale_until < (latest / 1_000).saturating_add(kept) {
            self.bar(latest, kept, now);
        }
        self.see(&entry.observed(), kept, now);
        self.lease = None;
        self.entry = Some(entry);
        None
    }

    /// Whether what is stored is shown to those who wait for another response, which may be newer or older: whoever has
    /// seen that one could be shown an older one next. It began later, so it does for all of them.
    fn can_replace(&self, stored: &Entry<T>, other: &Entry<T>, now: Millis) -> bool {
        let decided = differ(stored.version, other.version) || stored.digest == other.digest || other.missing;
        let usable = stored.only.is_none() && self.denied.is_empty() && now < stored.fresh_until;
        !decided && usable && stored.stamp == other.stamp && stored.began >= other.began
    }

    /// A response is not stored, but shown all the same to those who wait for it.
    fn reject(&mut self, reader: Token, entry: &Entry<T>, kept: Millis, now: Micros) {
        self.release(reader);
        if entry.missing {
            self.end(kept, now);
        } else {
            self.supersede(&entry.observed(), kept, now);
        }
    }

    /// How a response compares to the newest that is known.
    fn order(&self, observed: &Observed) -> Order {
        let stored = || self.entry.as_ref().map(|entry| (entry.version, entry.digest, entry.began));
        let newest = self.newest.map(|newest| (newest.version, newest.digest, newest.at));
        let Some((version, digest, at)) = newest.or_else(stored) else { return Order::Newer };
        match differ(version, observed.version) {
            true if observed.version < version => Order::Older,
            true => Order::Newer,
            false if observed.digest == digest => Order::Same,
            false if observed.began < at => Order::Unclear,
            false => Order::Newer,
        }
    }

    /// Drops what is older than what was shown, or may be, and keeps away what began before that did, or before it was
    /// known. Whether there was anything to do.
    fn supersede(&mut self, observed: &Observed, kept: Millis, now: Micros) -> bool {
        let began = match self.order(observed) {
            Order::Older => return false,
            Order::Same => {
                // What began before may have seen the session between the two.
                self.see(observed, kept, now);
                return false;
            }
            Order::Newer => observed.began.min(now),
            Order::Unclear => now,
        };
        self.entry = None;
        self.bar(began, kept, now);
        self.see(observed, kept, now);
        true
    }

    /// Whether a higher version was shown.
    fn knows_higher(&self, version: Option<u64>) -> bool {
        version.zip(self.newest.and_then(|newest| newest.version)).is_some_and(|(version, newest)| version < newest)
    }

    /// Remembers what is shown, unless a higher version was.
    fn see(&mut self, observed: &Observed, kept: Millis, now: Micros) {
        if self.knows_higher(observed.version) {
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

    /// Drops what is stored, and keeps away what was not by now. Nobody is to wait for that any longer.
    fn end(&mut self, kept: Millis, now: Micros) {
        self.lease = None;
        self.entry = None;
        self.bar(now, kept, now);
    }

    fn bar(&mut self, began: Micros, kept: Millis, now: Micros) {
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
        self.end(kept, now);
        self.denied = vec![Denied { caller: ALL_CALLERS, until }];
    }
}

/// Whether two versions say which response is newer.
fn differ(one: Option<u64>, other: Option<u64>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// A fetch is over and its response may be stored. `now` is in microseconds. Under a stamp that is no longer the
/// current one nobody would be shown it. Gives what those who wait for it are shown instead.
///
/// A store that cannot look at the epoch in the same step may take it for the one under which the fetch began. What it
/// stores then is shown to nobody who reads later: they find another epoch. And what it shows instead does for all who
/// wait: each of them has found the stamp's two generations itself, before a write that ended the epoch was
/// acknowledged, or it would not have joined the fetch; and what is stored has the same stamp, and began no earlier
/// than the fetch that they wait for.
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
        return variant.put(reader, entry, kept, now);
    }
    variant.prune(now / 1_000);
    variant.reject(reader, &entry, kept, now);
    None
}

/// A fetch is over and its response says nothing of what is stored: the reader's lease ends.
pub fn release<T>(variant: &mut VariantState<T>, own: Token) {
    variant.release(own);
}

/// A fetch is over, and its response is not stored, but speaks against what is. `now` is in microseconds.
pub fn retire<T>(variant: &mut VariantState<T>, own: Token, retired: Retired, now: Micros) {
    let Retired { kept, cause } = retired;
    variant.prune(now / 1_000);
    variant.release(own);
    match cause {
        RetireCause::Invalidated => variant.end(kept, now),
        RetireCause::Denied(caller) => variant.deny(caller, kept, now),
        // Who has the lease may have begun too early for their response to be stored.
        RetireCause::Superseded(observed) if variant.supersede(&observed, kept, now) => variant.lease = None,
        RetireCause::Superseded(_) => {}
    }
}
