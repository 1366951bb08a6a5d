//! Writes: their invalidation marks, and what happens if the store does not respond.

use super::shared_mark::SharedMarkPart;
use super::{Scope, Sessions, Store, StoreError};
use crate::coherence::millis;
use crate::coherence::sharing::LeaveAction;
use crate::coherence::writing::{MarkPlacement, UnconfirmedAction, unconfirmed};
use crate::coherence::{SHARED_WRITER, Settled, Token, WriteEnd, WriteScope};
use crate::gateway::{Freshness, OnUnreachable, Upstream, WriteOutcome};
use crate::model::Rejection;
use crate::telemetry::CacheEvent;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long ending a write is retried before the write is acknowledged anyway.
const RETRY_TIME: Duration = Duration::from_secs(1);
/// An outage up to this long is treated as a reconnect.
const SHORT_OUTAGE: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Retry interval after the acknowledgement.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(500);
/// A mark older than this is placed again before its write is forwarded: the process may have been suspended.
const MAX_MARK_AGE: Duration = Duration::from_secs(1);

/// Lifetime of a purge's mark if its end is lost.
const PURGE_MARK: Duration = Duration::from_secs(5);

/// What happens to a write if its mark cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkFailurePolicy {
    /// The configured behaviour.
    pub on_unreachable: OnUnreachable,
    /// The longest time for which an older response may still be served.
    pub bound: Duration,
}

impl MarkFailurePolicy {
    /// That of an upstream; `None` if nothing is cached that its writes could make stale.
    pub fn of(upstream: &Upstream) -> Option<MarkFailurePolicy> {
        upstream.scope_cache.map(MarkFailurePolicy::from)
    }
}

impl From<Freshness> for MarkFailurePolicy {
    fn from(cache: Freshness) -> MarkFailurePolicy {
        MarkFailurePolicy { on_unreachable: cache.on_unreachable, bound: cache.max_serving_time() }
    }
}

/// The invalidation mark of a write in flight.
#[derive(Debug)]
pub struct Mark {
    scope: Scope,
    /// The write's own token; it is in the store unless the mark is shared.
    writer: Token,
    /// Its part in a shared mark.
    share: Option<SharedMarkPart>,
    guard: Duration,
    on_mark_failure: MarkFailurePolicy,
    placed: MarkPlacement,
    at: Instant,
}

impl Sessions {
    /// Places the mark of a write whose caller the gateway has authorized. The write may be forwarded once this
    /// returns.
    pub async fn begin(
        &self,
        scope: Scope,
        guard: Duration,
        on_mark_failure: MarkFailurePolicy,
    ) -> Result<Mark, Rejection> {
        self.mark(scope, None, guard, on_mark_failure).await
    }

    /// The same for a caller whom only the provider can authorize: the write shares its mark with others of the kind.
    pub async fn begin_shared(
        &self,
        scope: Scope,
        guard: Duration,
        on_mark_failure: MarkFailurePolicy,
    ) -> Result<Mark, Rejection> {
        let share = self.shared.join(scope, || self.store.token());
        self.mark(scope, Some(share), guard, on_mark_failure).await
    }

    async fn mark(
        &self,
        scope: Scope,
        share: Option<SharedMarkPart>,
        guard: Duration,
        on_mark_failure: MarkFailurePolicy,
    ) -> Result<Mark, Rejection> {
        let writer = self.store.token();
        let (mark, write_scope) = match &share {
            Some(share) => (share.mark, scope.shared_write_scope()),
            None => (writer, scope.write_scope()),
        };
        loop {
            let at = Instant::now();
            let placed = match self.place_mark(scope, mark, guard, write_scope).await {
                Ok(placed) => placed,
                Err(StoreError::TooManyWrites) => {
                    self.withdraw(scope, None, share, guard);
                    return Err(Rejection::TooManyWrites);
                }
                Err(StoreError::Failed(_) | StoreError::Partial(_))
                    if on_mark_failure.on_unreachable == OnUnreachable::Reject =>
                {
                    self.counters.count(CacheEvent::WriteRejected);
                    self.withdraw(scope, Some(writer), share, guard);
                    return Err(Rejection::StoreUnavailable);
                }
                Err(StoreError::Failed(_) | StoreError::Partial(_)) => {
                    self.counters.count(CacheEvent::InvalidationFailed);
                    MarkPlacement::Unknown
                }
            };
            if at.elapsed() < MAX_MARK_AGE || placed == MarkPlacement::Unknown {
                return Ok(Mark { scope, writer, share, guard, on_mark_failure, placed, at });
            }
        }
    }

    /// Withdraws the mark of a write that is not sent, or its part in a shared one, even if the mark is placed later.
    fn withdraw(&self, scope: Scope, own: Option<Token>, share: Option<SharedMarkPart>, guard: Duration) {
        let ends = match share {
            None => own.map(|own| (own, true)),
            Some(mut share) => match share.leave(true) {
                LeaveAction::End { unchanged } => Some((share.mark, unchanged)),
                LeaveAction::Record | LeaveAction::Others | LeaveAction::Retired => None,
            },
        };
        if let Some((mark, unchanged)) = ends {
            self.end_in_background(scope, mark, Settled { unchanged, ..Settled::default() }, guard);
        }
    }

    /// Places a mark with one retry: the step is idempotent.
    async fn place_mark(
        &self,
        scope: Scope,
        mark: Token,
        guard: Duration,
        write_scope: WriteScope,
    ) -> Result<MarkPlacement, StoreError> {
        let mut tried = self.store.begin(scope, mark, millis(guard), write_scope).await;
        if tried.as_ref().is_err_and(StoreError::is_worth_a_retry) {
            tried = self.store.begin(scope, mark, millis(guard), write_scope).await;
        }
        tried.map(MarkPlacement::Confirmed)
    }

    /// Ends a write. It may be acknowledged once this returns.
    pub async fn end(&self, mut mark: Mark, write_outcome: WriteOutcome) {
        let WriteOutcome::End(settled) = write_outcome else {
            return self.leave_to_expire(mark).await;
        };
        let Some(mut share) = mark.share.take() else {
            self.settle(&mark, mark.writer, settled).await;
            return;
        };
        match share.leave(settled.unchanged) {
            LeaveAction::End { unchanged } => {
                self.settle(&mark, share.mark, Settled { unchanged, ..settled }).await;
            }
            LeaveAction::Record => {
                if !self.settle(&mark, mark.writer, settled).await {
                    // Until the store has recorded it, the mark keeps older responses out.
                    return share.retire();
                }
                if let LeaveAction::End { unchanged } = share.recorded() {
                    self.settle(&mark, share.mark, Settled { unchanged, ..Settled::default() }).await;
                }
            }
            LeaveAction::Retired if !settled.unchanged => drop(self.settle(&mark, mark.writer, settled).await),
            LeaveAction::Others | LeaveAction::Retired => {}
        }
    }

    /// Leaves a mark to expire, because the outcome of its write is unknown. A shared mark is replaced by a mark that
    /// is never withdrawn; there is one of these for all, so they do not add up.
    async fn leave_to_expire(&self, mut mark: Mark) {
        // If the mark may be missing, stored responses must become stale.
        if mark.placed == MarkPlacement::Unknown {
            self.end_in_background(mark.scope, mark.writer, Settled::default(), mark.on_mark_failure.bound);
        }
        let Some(mut share) = mark.share.take() else {
            return;
        };
        let left = mark.guard.saturating_sub(mark.at.elapsed());
        if mark.placed == MarkPlacement::Unknown
            || self.place_mark(mark.scope, SHARED_WRITER, left, mark.scope.shared_write_scope()).await.is_err()
        {
            return share.retire();
        }
        if let LeaveAction::End { unchanged } = share.leave_unknown() {
            self.settle(&mark, share.mark, Settled { unchanged, ..Settled::default() }).await;
        }
    }

    /// Records a write's outcome in the store under this token; if it is a mark's token, the mark ends. Returns whether
    /// the store has confirmed it. If not, the write may still be acknowledged once this returns.
    async fn settle(&self, mark: &Mark, token: Token, settled: Settled) -> bool {
        let first = self.store.end(mark.scope, token, settled).await;
        // A later attempt may find that an earlier one was executed without confirmation.
        if first == Ok(WriteEnd::MarkLost) && mark.placed != MarkPlacement::Unknown {
            self.counters.count(CacheEvent::MarkLost);
        }
        if first.is_ok() {
            return true;
        }
        let elapsed = millis(mark.at.elapsed());
        // After a partial end there is no mark any more.
        let placed = if matches!(first, Err(StoreError::Partial(_))) { MarkPlacement::Unknown } else { mark.placed };
        let safe = unconfirmed(placed, self.store.connection_id(mark.scope), elapsed, millis(mark.guard));
        // A write that changed nothing leaves nothing outdated, whether the store knows of its end or not.
        if safe == UnconfirmedAction::TryAgain && !settled.unchanged {
            let began = Instant::now();
            // A broken connection usually returns at once, here and at other replicas. After a longer outage, writes
            // that may continue without the store do not wait for it.
            let gone = self.store.connection_id(mark.scope).is_none()
                && self.store.outage(mark.scope).is_some_and(|outage| outage.lasted > SHORT_OUTAGE);
            let lost = mark.placed == MarkPlacement::Unknown && gone;
            let retry_time = if lost { Duration::ZERO } else { RETRY_TIME };
            while began.elapsed() < retry_time {
                tokio::time::sleep(RETRY_PAUSE).await;
                if self.store.end(mark.scope, token, settled).await.is_ok() {
                    return true;
                }
            }
            if mark.on_mark_failure.on_unreachable == OnUnreachable::Hold {
                tokio::time::sleep(mark.on_mark_failure.bound).await;
            } else {
                self.counters.count(CacheEvent::Unconfirmed);
            }
        }
        self.end_in_background(mark.scope, token, settled, mark.on_mark_failure.bound.max(mark.guard));
        false
    }

    /// Makes every response in this scope stale, and forgets its deletions.
    pub async fn purge(&self, scope: Scope) -> Result<(), StoreError> {
        self.end_at_once(scope, Settled { lifted: true, ..Settled::default() }).await
    }

    /// Makes every response in this scope stale.
    pub async fn renew(&self, scope: Scope) -> Result<(), StoreError> {
        self.end_at_once(scope, Settled::default()).await
    }

    /// Begins and ends a write that changes nothing at the provider.
    async fn end_at_once(&self, scope: Scope, settled: Settled) -> Result<(), StoreError> {
        let (writer, began) = (self.store.token(), Instant::now());
        loop {
            let done = match self.store.begin(scope, writer, millis(PURGE_MARK), scope.write_scope()).await {
                Ok(_) | Err(StoreError::TooManyWrites) => self.store.end(scope, writer, settled).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() >= RETRY_TIME => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Retries the end of a write until the store confirms it, or until nothing older can be cached any more.
    fn end_in_background(&self, scope: Scope, writer: Token, settled: Settled, bound: Duration) {
        let store: Arc<dyn Store> = self.store.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            while began.elapsed() < bound {
                tokio::time::sleep(BACKGROUND_PAUSE).await;
                if store.end(scope, writer, settled).await.is_ok() {
                    return;
                }
            }
        });
    }
}
