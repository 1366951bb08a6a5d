//! A store of cached responses: what it executes, and how it fails.

use super::scope::Scope;
use crate::coherence::exclusive::{RightReply, RightStep};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{
    Acquired, CallerDigest, Entry, Micros, Millis, Retired, Settled, TenantId, Token, WriteEnd, WriteScope,
};
use crate::gateway::{CacheKey, ProviderResponse};
use crate::telemetry::StoreFailure;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// A cached response.
pub type Stored = Arc<ProviderResponse>;

/// Why a store did not execute a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many writes are in flight on one session.
    #[error("too many writes in flight on one session")]
    TooManyWrites,
    /// The store is unreachable, did not respond in time, or rejected the step. It may still execute the step, even
    /// later.
    #[error("{0}")]
    Failed(StoreFailure),
    /// The step was executed in part: the mark is gone, and the write's outcome may not be recorded.
    #[error("{0}, after part of the step was done")]
    Partial(StoreFailure),
}

impl StoreError {
    /// The store failure behind the error, if any.
    pub(super) fn failure(&self) -> Option<StoreFailure> {
        match self {
            StoreError::TooManyWrites => None,
            StoreError::Failed(failure) | StoreError::Partial(failure) => Some(*failure),
        }
    }

    /// Whether a retry of an idempotent step may succeed. Without a connection it would fail in the same way.
    pub(super) fn is_worth_a_retry(&self) -> bool {
        matches!(self, StoreError::Failed(StoreFailure::Timeout | StoreFailure::Broken))
    }
}

impl From<StoreFailure> for StoreError {
    fn from(failure: StoreFailure) -> StoreError {
        StoreError::Failed(failure)
    }
}

/// Why a store cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOutage {
    /// Time since the store was last usable, or since the start.
    pub lasted: Duration,
    /// The last cause, with the error code of Redis if there is one.
    pub reason: String,
}

/// How full a store is. A shared store does not know: all zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes in use, with overhead.
    pub bytes: usize,
    /// Sessions in the store.
    pub sessions: usize,
    /// Sessions evicted since the start.
    pub evictions: u64,
}

/// A read's request to a store.
#[derive(Debug, Clone, Copy)]
pub struct AcquireRequest {
    /// The token of this read.
    pub reader: Token,
    /// A read whose lease is taken over, because it is considered dead.
    pub steal: Option<Token>,
    /// Whether the read needs a fetch of its own.
    pub fresh: bool,
    /// Whether its response must not be stored.
    pub no_store: bool,
    /// Digest of the caller's credential.
    pub caller: CallerDigest,
    /// The tenant of the request.
    pub tenant: TenantId,
}

/// The store's reply to a read.
#[derive(Debug, Clone)]
pub struct Acquisition {
    /// What the read found.
    pub acquired: Acquired<Stored>,
    /// The connection to the store over which it was found.
    pub connection_id: ConnectionId,
    /// The store's clock.
    pub now: Micros,
    /// Whether the read holds a lease. It must release the lease unless it fetches under it.
    pub leased: bool,
}

/// Which response those who wait for a fetch receive.
#[derive(Debug, Clone)]
pub enum FillResult {
    /// The fetched one, whether it was stored or not.
    Fetched,
    /// A stored one that is newer.
    Stored(Stored),
    /// A stored one is newer but cannot be decrypted here; it stays.
    Unreadable,
}

/// A store: it executes the steps of [`crate::coherence`], each atomically. A step that fails may still be executed.
#[async_trait]
pub trait Store: Send + Sync {
    /// A new unique token.
    fn token(&self) -> Token;
    /// Begins a read.
    async fn acquire(&self, key: &CacheKey, request: AcquireRequest) -> Result<Acquisition, StoreError>;
    /// Stores the response of this read, unless a newer one is known. An older one may still be in flight for `kept`.
    async fn fill(
        &self,
        key: &CacheKey,
        reader: Token,
        entry: Entry<Stored>,
        kept: Millis,
    ) -> Result<FillResult, StoreError>;
    /// Ends the read's lease. Its response is not stored but invalidates what is.
    async fn retire(&self, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError>;
    /// Ends the read's lease. Its response has no effect on what is stored.
    async fn release(&self, key: &CacheKey, reader: Token) -> Result<(), StoreError>;
    /// Begins a write: sets its mark for `guard` from now, or longer if it is already set for longer. `write_scope`
    /// selects the limit on marks.
    async fn begin(
        &self,
        scope: Scope,
        writer: Token,
        guard: Millis,
        write_scope: WriteScope,
    ) -> Result<ConnectionId, StoreError>;
    /// Ends a write with its outcome.
    async fn end(&self, scope: Scope, writer: Token, settled: Settled) -> Result<WriteEnd, StoreError>;
    /// Executes a write's step of the exclusive right of a session.
    async fn right(
        &self,
        upstream: u64,
        session: &[u8; 16],
        writer: Token,
        step: RightStep,
    ) -> Result<(RightReply, ConnectionId), StoreError>;
    /// How long until exclusive rights of a session count; zero if they do: the store has lost none within the last
    /// `after`. A store of one process ends with its writes.
    async fn rights_count_in(&self, _: &[u8; 16], _: Duration) -> Duration {
        Duration::ZERO
    }
    /// Whether a replica is running whose version takes no exclusive rights. A store of one process has no others.
    async fn has_older_replica(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
    /// Which of these sessions of an upstream count as deleted for the tenant, in order.
    async fn deleted(&self, upstream: u64, tenant: &TenantId, sessions: &[[u8; 16]]) -> Result<Vec<bool>, StoreError>;
    /// The connection that steps on this scope would use now.
    fn connection_id(&self, scope: Scope) -> Option<ConnectionId>;
    /// Why the store cannot be used for steps on this scope; `None` if it can.
    fn outage(&self, scope: Scope) -> Option<StoreOutage>;
    /// How full the store is.
    fn usage(&self) -> StoreUsage;
}
