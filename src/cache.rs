//! The session cache: stores that execute [`crate::coherence`], and in front of them the loops of readers and writers. Concurrent
//! misses on one answer make one fetch; a write marks what it may change before it is forwarded, and settles it before it is
//! acknowledged.

mod flight;
mod memory;
mod read;
mod write;

pub use memory::MemoryStore;
pub use read::{Fetched, Got, Wanted};
pub use write::{Caution, Mark};

use crate::coherence::reading::Link;
use crate::coherence::{Acquired, Ended, Entry, Millis, Settled, Token};
use crate::gateway::{Answer, CacheKey};
use async_trait::async_trait;
use flight::Flights;
use read::Waiting;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A stored answer.
pub type Stored = Arc<Answer>;

/// What a write marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One session of an upstream.
    Session(usize, [u8; 16]),
    /// Every session of an upstream.
    Upstream(usize),
}

/// Why a store did not do a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many writes in flight on one session.
    #[error("too many writes in flight on one session")]
    TooManyWrites,
    /// The store cannot be reached, did not answer in time, or refused. The step may be carried out all the same, also later.
    #[error("{0}")]
    Failed(Failure),
}

/// How a store failed. A closed set: it is also the `reason` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// There is no connection.
    #[error("the store is not connected")]
    Disconnected,
    /// As many commands are under way as may be.
    #[error("too many commands are under way")]
    Busy,
    /// No answer came in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection to the store broke")]
    Broken,
    /// The server answered with an error.
    #[error("the store refused")]
    Refused,
    /// What it answered makes no sense.
    #[error("the store's answer makes no sense")]
    Nonsense,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Failure; 6] =
        [Failure::Disconnected, Failure::Busy, Failure::Timeout, Failure::Broken, Failure::Refused, Failure::Nonsense];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Disconnected => "disconnected",
            Failure::Busy => "busy",
            Failure::Timeout => "timeout",
            Failure::Broken => "broken",
            Failure::Refused => "refused",
            Failure::Nonsense => "nonsense",
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        StoreError::Failed(failure)
    }
}

/// How full a store is. One that is shared does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    /// Bytes held, with what it costs to hold them.
    pub bytes: usize,
    /// Sessions known.
    pub sessions: usize,
    /// Sessions dropped to make room, since the start.
    pub evictions: u64,
}

/// What a reader asks a store.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The reader.
    pub reader: Token,
    /// A reader that is taken for dead.
    pub steal: Option<Token>,
    /// Whether only a fetch of its own will do.
    pub fresh: bool,
}

/// What a store answers to a reader.
#[derive(Debug, Clone)]
pub struct Acquisition {
    /// What the reader finds.
    pub acquired: Acquired<Stored>,
    /// The connection over which it was found.
    pub link: Link,
    /// The store's time.
    pub now: Millis,
}

/// A store: it executes the steps of [`crate::coherence`], each in one piece. A step that fails may be carried out all the same.
#[async_trait]
pub trait Store: Send + Sync {
    /// A token that was never used.
    fn token(&self) -> Token;
    /// A read begins.
    async fn acquire(&self, key: &CacheKey, ask: Ask) -> Result<Acquisition, StoreError>;
    /// This reader's answer may be stored.
    async fn fill(&self, key: &CacheKey, reader: Token, entry: Entry<Stored>) -> Result<(), StoreError>;
    /// An answer may not be stored: the reader's lease ends.
    async fn release(&self, key: &CacheKey, reader: Token) -> Result<(), StoreError>;
    /// A write begins. It stays marked for `guard` at the most.
    async fn begin(&self, scope: Scope, writer: Token, guard: Millis) -> Result<Link, StoreError>;
    /// A write's outcome is known.
    async fn end(&self, scope: Scope, writer: Token, settled: Settled) -> Result<Ended, StoreError>;
    /// The connection that steps on this scope would be carried out over now.
    fn link(&self, scope: Scope) -> Option<Link>;
    /// How full it is.
    fn measure(&self) -> Fill;
}

/// The cache of all upstreams.
pub struct Sessions {
    store: Arc<dyn Store>,
    flights: Flights,
    waiting: Waiting,
    lease_wait: Duration,
    tally: Arc<Tally>,
}

/// What the cache did, since the start.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [AtomicU64; Event::ALL.len()],
}

/// What a cache does that an operator wants to know of. A closed set: it is also the `event` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A read left the cache out because a write was in flight.
    BypassMarked,
    /// A read left the cache out because the store failed.
    BypassFailed,
    /// A read left the cache out because too many waited.
    BypassWaiting,
    /// A read took over from a reader that did not finish.
    LeaseLost,
    /// An answer was there but may have outlived a mark that the store lost, and was fetched again.
    Fenced,
    /// An answer was there but could not be opened.
    Unreadable,
    /// An answer was older than an acknowledged write, and was not stored.
    TooOld,
    /// An answer that was no longer fresh was given while it was fetched again.
    StaleWhileRevalidate,
    /// An answer that was no longer fresh was given because the provider failed.
    StaleIfError,
    /// A write was forwarded although its mark could not be placed.
    Unmarked,
    /// A write was refused because its mark could not be placed.
    WriteRefused,
    /// A write was acknowledged although the store confirmed neither its mark nor its end.
    Unconfirmed,
    /// A write took longer than its mark stood, or the store lost the mark.
    MarkLost,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 13] = [
        Event::BypassMarked,
        Event::BypassFailed,
        Event::BypassWaiting,
        Event::LeaseLost,
        Event::Fenced,
        Event::Unreadable,
        Event::TooOld,
        Event::StaleWhileRevalidate,
        Event::StaleIfError,
        Event::Unmarked,
        Event::WriteRefused,
        Event::Unconfirmed,
        Event::MarkLost,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Event::BypassMarked => "bypass_marked",
            Event::BypassFailed => "bypass_failed",
            Event::BypassWaiting => "bypass_waiting",
            Event::LeaseLost => "lease_lost",
            Event::Fenced => "fenced",
            Event::Unreadable => "unreadable",
            Event::TooOld => "too_old",
            Event::StaleWhileRevalidate => "stale_while_revalidate",
            Event::StaleIfError => "stale_if_error",
            Event::Unmarked => "unmarked",
            Event::WriteRefused => "write_refused",
            Event::Unconfirmed => "unconfirmed",
            Event::MarkLost => "mark_lost",
        }
    }
}

impl Tally {
    /// Counts one.
    pub fn count(&self, event: Event) {
        if let Some(count) = self.counts.get(event as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every event with how often it happened.
    pub fn read(&self) -> impl Iterator<Item = (Event, u64)> + '_ {
        Event::ALL.into_iter().zip(&self.counts).map(|(event, count)| (event, count.load(Ordering::Relaxed)))
    }
}

impl Sessions {
    /// A cache on this store. A read waits for the fetch of another process for `lease_wait` at the most.
    pub fn new(store: Arc<dyn Store>, lease_wait: Duration, tally: Arc<Tally>) -> Sessions {
        Sessions { store, flights: Flights::default(), waiting: Waiting::default(), lease_wait, tally }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the cache did.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// As milliseconds, however long it is.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
