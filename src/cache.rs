//! The session cache: stores that execute [`crate::coherence`], and in front of them the loops of readers and writers.
//! Concurrent misses on one response make one fetch; a write marks what it may change before it is forwarded, and
//! settles it before it is acknowledged.

mod fetched;
mod lease_guard;
mod single_flight;
mod keep;
mod memory;
mod builder;
mod read;
mod redis;
mod shared_mark;
mod write;

pub use builder::{OpenCache, open};
pub use fetched::{FetchedResponse, ReadOptions};
pub use memory::MemoryStore;
pub use read::ReadResult;
pub use redis::{RedisStore, SetupError};
pub use write::{Mark, MarkFailurePolicy};

use crate::coherence::reading::ConnectionId;
use crate::coherence::{
    Acquired, CallerDigest, Entry, Micros, Millis, Retired, Settled, TenantId, Token, WriteEnd, WriteScope,
};
use crate::gateway::{CacheKey, ProviderResponse};
use crate::telemetry::{CacheEvent, StoreFailure};
use async_trait::async_trait;
use enum_map::EnumMap;
use read::WaitingReads;
use shared_mark::SharedMarks;
use single_flight::SingleFlight;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A stored response.
pub type Stored = Arc<ProviderResponse>;

/// What a write marks. The number is the upstream's scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One session of an upstream.
    Session(u64, [u8; 16]),
    /// Every session of an upstream.
    Upstream(u64),
}

impl Scope {
    /// What bounds the marks of a write in this scope that has one of its own.
    pub fn write_scope(self) -> WriteScope {
        match self {
            Scope::Session(..) => WriteScope::Session,
            Scope::Upstream(_) => WriteScope::Upstream,
        }
    }

    /// The same for a mark that is shared.
    pub fn shared_write_scope(self) -> WriteScope {
        match self {
            Scope::Session(..) => WriteScope::Unverified,
            Scope::Upstream(_) => WriteScope::Upstream,
        }
    }
}

/// Why a store did not do a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many writes in flight on one session.
    #[error("too many writes in flight on one session")]
    TooManyWrites,
    /// The store cannot be reached, did not answer in time, or rejected. The step may be carried out all the same, also
    /// later.
    #[error("{0}")]
    Failed(StoreFailure),
    /// The step was carried out in part: the mark no longer stands, and what the write says may not count.
    #[error("{0}, after a part of the step was done")]
    Partial(StoreFailure),
}

impl StoreError {
    /// What went wrong at the store.
    fn failure(&self) -> Option<StoreFailure> {
        match self {
            StoreError::TooManyWrites => None,
            StoreError::Failed(failure) | StoreError::Partial(failure) => Some(*failure),
        }
    }
}

impl From<StoreFailure> for StoreError {
    fn from(failure: StoreFailure) -> StoreError {
        StoreError::Failed(failure)
    }
}

/// How full a store is. One that is shared does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes held, with what it costs to hold them.
    pub bytes: usize,
    /// Sessions known.
    pub sessions: usize,
    /// Sessions dropped to make room, since the start.
    pub evictions: u64,
}

/// What a reader asks a store.
#[derive(Debug, Clone, Copy)]
pub struct AcquireRequest {
    /// The reader.
    pub reader: Token,
    /// A reader that is taken for dead.
    pub steal: Option<Token>,
    /// Whether only a fetch of its own will do.
    pub fresh: bool,
    /// Whether what it fetches may not be stored.
    pub unstored: bool,
    /// Whose credential it has.
    pub caller: CallerDigest,
    /// Which tenant it asks.
    pub tenant: TenantId,
}

/// What a store responses to a reader.
#[derive(Debug, Clone)]
pub struct Acquisition {
    /// What the reader finds.
    pub acquired: Acquired<Stored>,
    /// The connection over which it was found.
    pub connection_id: ConnectionId,
    /// The store's time.
    pub now: Micros,
    /// Whether it has a lease now, which is to be given back where it does not fetch under it.
    pub leased: bool,
}

/// What those who wait for a response are shown.
#[derive(Debug, Clone)]
pub enum FillResult {
    /// The response, whether it is stored or not.
    Fetched,
    /// What is stored instead.
    Stored(Stored),
    /// What is stored instead cannot be read here, and stays.
    Unreadable,
}

/// A store: it executes the steps of [`crate::coherence`], each in one piece. A step that fails may be carried out all
/// the same.
#[async_trait]
pub trait Store: Send + Sync {
    /// A token that was never used.
    fn token(&self) -> Token;
    /// A read begins.
    async fn acquire(&self, key: &CacheKey, request: AcquireRequest) -> Result<Acquisition, StoreError>;
    /// This reader's answer may be stored, unless what is known is newer. For `kept` an older one may be on its way.
    async fn fill(
        &self,
        key: &CacheKey,
        reader: Token,
        entry: Entry<Stored>,
        kept: Millis,
    ) -> Result<FillResult, StoreError>;
    /// This reader's answer is not stored, but speaks against what is.
    async fn retire(&self, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError>;
    /// This reader's answer says nothing of what is stored: its lease ends.
    async fn release(&self, key: &CacheKey, reader: Token) -> Result<(), StoreError>;
    /// A write begins. It stays marked for `guard` from now, or longer where its mark stands longer already. `write_scope`
    /// bounds the marks.
    async fn begin(
        &self,
        scope: Scope,
        writer: Token,
        guard: Millis,
        write_scope: WriteScope,
    ) -> Result<ConnectionId, StoreError>;
    /// A write's outcome is known.
    async fn end(&self, scope: Scope, writer: Token, settled: Settled) -> Result<WriteEnd, StoreError>;
    /// Which of these sessions of an upstream count as deleted for a tenant, in their order.
    async fn deleted(&self, upstream: u64, tenant: &TenantId, sessions: &[[u8; 16]]) -> Result<Vec<bool>, StoreError>;
    /// The connection that steps on this scope would be carried out over now.
    fn connection_id(&self, scope: Scope) -> Option<ConnectionId>;
    /// How long there has been no connection for steps on this scope; none where there is one.
    fn disconnected_for(&self, scope: Scope) -> Option<Duration>;
    /// How full it is.
    fn usage(&self) -> StoreUsage;
}

/// The cache of all upstreams.
pub struct Sessions {
    store: Arc<dyn Store>,
    single_flight: SingleFlight,
    waiting: WaitingReads,
    shared: Arc<SharedMarks>,
    lease_wait: Duration,
    counters: Arc<CacheCounters>,
}

/// What the cache did, since the start.
#[derive(Debug, Default)]
pub struct CacheCounters {
    counts: EnumMap<CacheEvent, AtomicU64>,
}

impl CacheCounters {
    /// Counts one.
    pub fn count(&self, event: CacheEvent) {
        self.counts[event].fetch_add(1, Ordering::Relaxed);
    }

    /// Every event with how often it happened.
    pub fn read(&self) -> impl Iterator<Item = (CacheEvent, u64)> + '_ {
        self.counts.iter().map(|(event, count)| (event, count.load(Ordering::Relaxed)))
    }
}

impl Sessions {
    /// A cache on this store. A read waits for the fetch of another process for `lease_wait` at the most.
    pub fn new(store: Arc<dyn Store>, lease_wait: Duration, counters: Arc<CacheCounters>) -> Sessions {
        let (single_flight, waiting, shared) = (SingleFlight::default(), WaitingReads::default(), Arc::default());
        Sessions { store, single_flight, waiting, shared, lease_wait, counters }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the cache did.
    pub fn counters(&self) -> &CacheCounters {
        &self.counters
    }
}
