//! Writers: what they mark, and what becomes of it when the store does not answer.

use super::{Scope, Sessions, Store, StoreError, millis};
use crate::coherence::writing::{Placed, Unconfirmed, unconfirmed};
use crate::coherence::{Ended, Settled, Token};
use crate::gateway::{Event, Failure, Freshness, OnUnreachable, Settlement};
use crate::model::Refusal;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the end of a write is tried again before it is acknowledged all the same.
const INSISTENCE: Duration = Duration::from_secs(1);
/// For how long a store that is gone is expected back at any moment.
const BLIP: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// How often the end is tried again after that, behind the acknowledgement.
const LATER: Duration = Duration::from_millis(500);
/// A mark that was placed longer ago is placed again before its write is forwarded: the process may have stood still.
const OLD: Duration = Duration::from_secs(1);

/// How long the mark of a purge stands whose end is lost.
const PURGE: Duration = Duration::from_secs(5);

/// What a write does without the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caution {
    /// What it meets where its mark cannot be placed.
    pub on_unreachable: OnUnreachable,
    /// For how long an answer from before it may be given at the most.
    pub bound: Duration,
}

impl From<Freshness> for Caution {
    fn from(cache: Freshness) -> Caution {
        Caution { on_unreachable: cache.on_unreachable, bound: cache.longest() }
    }
}

/// The mark of a write in flight.
#[derive(Debug)]
pub struct Mark {
    scope: Scope,
    writer: Token,
    guard: Duration,
    caution: Caution,
    placed: Placed,
    at: Instant,
}

impl Sessions {
    /// Marks what a write may change; it may be forwarded once this is done.
    pub async fn begin(&self, scope: Scope, guard: Duration, caution: Caution) -> Result<Mark, Refusal> {
        let writer = self.store.token();
        loop {
            let at = Instant::now();
            let placed = match self.place(scope, writer, guard).await {
                Ok(placed) => placed,
                Err(StoreError::TooManyWrites) => return Err(Refusal::TooManyWrites),
                Err(StoreError::Failed(_)) if caution.on_unreachable == OnUnreachable::Refuse => {
                    self.tally.count(Event::WriteRefused);
                    // The mark may stand, or come to stand.
                    let Settlement::End(unchanged) = Settlement::UNCHANGED else {
                        return Err(Refusal::StoreUnavailable);
                    };
                    self.end_later(scope, writer, unchanged, guard);
                    return Err(Refusal::StoreUnavailable);
                }
                Err(StoreError::Failed(_)) => {
                    self.tally.count(Event::Unmarked);
                    Placed::Unknown
                }
            };
            if at.elapsed() < OLD || placed == Placed::Unknown {
                return Ok(Mark { scope, writer, guard, caution, placed, at });
            }
        }
    }

    /// Places a mark, with a second try: doing it twice does no harm.
    async fn place(&self, scope: Scope, writer: Token, guard: Duration) -> Result<Placed, StoreError> {
        let mut tried = self.store.begin(scope, writer, millis(guard)).await;
        if matches!(tried, Err(StoreError::Failed(Failure::Timeout | Failure::Broken))) {
            tried = self.store.begin(scope, writer, millis(guard)).await;
        }
        tried.map(Placed::Confirmed)
    }

    /// Settles a write; it may be acknowledged once this is done.
    pub async fn end(&self, mark: Mark, settlement: Settlement) {
        let Settlement::End(settled) = settlement else {
            // The mark runs out by itself. Where it may not stand, what was stored before has to go.
            if mark.placed == Placed::Unknown {
                self.end_later(mark.scope, mark.writer, Settled::default(), mark.caution.bound);
            }
            return;
        };
        let first = self.store.end(mark.scope, mark.writer, settled).await;
        // Later ones may find that an earlier one was carried out, although nobody has heard of it.
        if first == Ok(Ended::MarkLost) && mark.placed != Placed::Unknown {
            self.tally.count(Event::MarkLost);
        }
        if first.is_ok() {
            return;
        }
        let elapsed = millis(mark.at.elapsed());
        let safe = unconfirmed(mark.placed, self.store.link(mark.scope), elapsed, millis(mark.guard));
        // A write that changed nothing leaves nothing older behind, whether the store knows of its end or not.
        if safe == Unconfirmed::TryAgain && !settled.unchanged {
            let began = Instant::now();
            // A connection that has just broken is mostly there again at once, here and at other replicas. Where the store has been
            // gone for a while, those who would rather go on without it do not wait for it.
            let gone = self.store.disconnected_for(mark.scope).is_some_and(|long| long > BLIP);
            let lost = mark.placed == Placed::Unknown && gone;
            let insistence = if lost { Duration::ZERO } else { INSISTENCE };
            while began.elapsed() < insistence {
                tokio::time::sleep(PAUSE).await;
                if self.store.end(mark.scope, mark.writer, settled).await.is_ok() {
                    return;
                }
            }
            if mark.caution.on_unreachable == OnUnreachable::Hold {
                tokio::time::sleep(mark.caution.bound).await;
            } else {
                self.tally.count(Event::Unconfirmed);
            }
        }
        self.end_later(mark.scope, mark.writer, settled, mark.caution.bound.max(mark.guard));
    }

    /// Makes every answer in this scope stale: by a write that changes nothing at the provider.
    pub async fn purge(&self, scope: Scope) -> Result<(), StoreError> {
        let (writer, began) = (self.store.token(), Instant::now());
        loop {
            let purged = match self.store.begin(scope, writer, millis(PURGE)).await {
                Ok(_) | Err(StoreError::TooManyWrites) => self.store.end(scope, writer, Settled::default()).await,
                Err(error) => Err(error),
            };
            match purged {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() >= INSISTENCE => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Ends a write again and again until the store confirms it, or nothing from before it can be there any more.
    fn end_later(&self, scope: Scope, writer: Token, settled: Settled, bound: Duration) {
        let store: Arc<dyn Store> = self.store.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            while began.elapsed() < bound {
                tokio::time::sleep(LATER).await;
                if store.end(scope, writer, settled).await.is_ok() {
                    return;
                }
            }
        });
    }
}
