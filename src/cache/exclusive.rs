//! Exclusive rights to change a session's metadata: how a write waits for one, and how it knows that it still has it.
//! See [`crate::coherence::exclusive`].
//!
//! Writes of one process queue for a session, first come, first served, and the first of them asks the store. Waiting
//! precedes the slot and the invalidation mark: who holds one of these waits for no right.

use super::jitter::jittered;
use super::right_queues::{Place, SessionName};
use super::{Sessions, Store, StoreError};
use crate::coherence::exclusive::{RightReply, RightStep, is_continuous, is_outdated, may_send};
use crate::coherence::reading::ConnectionId;
use crate::coherence::writing::MARGIN;
use crate::coherence::{Millis, TenantId, Token, millis};
use crate::telemetry::StoreFailure;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::{self, timeout_at};

/// Pauses between attempts to take a right that another process holds, before jitter. The longest is shorter than a
/// reservation.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// How much longer than a write a right lasts when the write is sent.
const SLACK: Millis = 2 * MARGIN;
/// Attempts to confirm a right. If more is needed, the process does not run.
const CONFIRMATIONS: usize = 3;
/// Retry interval of giving back.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(500);

/// Why a write has no exclusive right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RightError {
    /// Other writes hold it or wait for it.
    #[error("other writes change the same metadata")]
    Busy,
    /// The store did not confirm it.
    #[error("the store did not confirm the exclusive right")]
    Unconfirmed,
    /// The store may have lost rights, whose writes may be in flight for so long.
    #[error("the store may have lost exclusive rights")]
    Unsettled(Duration),
    /// A replica of an older version is running, whose writes take no rights.
    #[error("a replica of an older version is running")]
    OlderReplica,
    /// It had it, but no longer: it expired, the session was deleted, or the store lost it.
    #[error("the exclusive right was lost")]
    Lost,
    /// It has it, but the write was decided by a state that is older than what is known by now.
    #[error("a newer state is known than the write was decided by")]
    Outdated,
}

/// How to take a right.
#[derive(Debug, Clone, Copy)]
pub struct RightTerms {
    /// How long it lasts until it is confirmed.
    pub lifetime: Duration,
    /// How long the write may wait for it.
    pub wait: Duration,
    /// If it must not be another's even after the store has lost rights: the longest time that any write may take.
    pub longest_write: Option<Duration>,
}

/// An exclusive right. If it is dropped, it is given back in the background; but once it is confirmed, it is left to
/// expire, because its write may have been sent.
#[derive(Debug)]
pub struct Right {
    hold: Hold,
    /// The connection over which it was taken.
    taken: ConnectionId,
    /// How long it lasts, as last confirmed, and since when on this process's clock: before the store was asked.
    left: Millis,
    since: Instant,
    /// The newest version known of the session, as last confirmed.
    newest: Option<u64>,
    waited: bool,
}

impl Sessions {
    /// Takes the exclusive right of a session. It must be confirmed before the write is sent.
    pub async fn exclusive(&self, name: SessionName, tenant: TenantId, terms: RightTerms) -> Result<Right, RightError> {
        let RightTerms { lifetime, wait, longest_write } = terms;
        if longest_write.is_some() {
            if self.rights_suspended.load(Ordering::Relaxed) {
                return Err(RightError::Unconfirmed);
            }
            check_replicas(&*self.store).await?;
        }
        let deadline = time::Instant::now() + wait;
        let place = timeout_at(deadline, self.rights.enter(name).ok_or(RightError::Busy)?);
        let place = place.await.map_err(|_| RightError::Busy)?;
        let (store, writer, mut waited) = (self.store.clone(), self.store.token(), place.waited);
        let mut hold = Hold {
            store,
            name,
            tenant,
            writer,
            lifetime,
            longest_write,
            place: Some(place),
            may_be_held: false,
            is_left: false,
            version: None,
        };
        let step = RightStep::Take { tenant, lifetime: millis(lifetime) };
        let mut pause = FIRST_PAUSE;
        loop {
            let since = Instant::now();
            match hold.step(step).await? {
                (RightReply::Held { left, newest }, taken) => {
                    hold.check_counts().await?;
                    return Ok(Right { hold, taken, left, since, newest, waited });
                }
                (RightReply::NotHeld(left), _) => {
                    waited = true;
                    // At most until the other right ends.
                    let next = jittered(pause, 2, self.store.token()).min(Duration::from_millis(left.max(1)));
                    if time::Instant::now() + next >= deadline {
                        return Err(RightError::Busy);
                    }
                    time::sleep(next).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Ends the right of a deleted session in the background, whichever write holds it.
    pub fn end_right(&self, (upstream, session): SessionName, tenant: TenantId) {
        let (store, writer) = (self.store.clone(), self.store.token());
        tokio::spawn(async move { store.right(upstream, &session, writer, RightStep::End { tenant }).await });
    }

    /// Records the version that a read has shown of a session, for writes that were decided by an older one. If the
    /// store fails, it is not recorded.
    pub async fn saw(&self, (upstream, session): SessionName, tenant: TenantId, version: u64) {
        drop(self.store.right(upstream, &session, self.store.token(), RightStep::Saw { tenant, version }).await);
    }
}

impl Right {
    /// Whether a state is older than what is known of the session. `read` is its version, if the provider shows one.
    pub fn is_outdated(&self, read: Option<u64>) -> bool {
        is_outdated(read, self.newest)
    }

    /// Confirms the right with the store, and makes it last longer than a write that takes `needed`. The write must be
    /// sent at once after this. `read` is the version of the state that it was decided by.
    pub async fn confirm(&mut self, needed: Duration, read: Option<u64>) -> Result<(), RightError> {
        // It may have started since the right was taken.
        if self.hold.longest_write.is_some() {
            check_replicas(&*self.hold.store).await?;
        }
        for _ in 0..CONFIRMATIONS {
            self.renew(millis(needed).saturating_add(SLACK)).await?;
            if self.is_outdated(read) {
                return Err(RightError::Outdated);
            }
            // If not, the process was suspended meanwhile.
            if self.allows(needed) {
                self.hold.is_left = true;
                return Ok(());
            }
        }
        Err(RightError::Lost)
    }

    /// Makes the right last as long again as when it was taken: the write does not go on at once.
    pub async fn extend(&mut self) -> Result<(), RightError> {
        self.renew(millis(self.hold.lifetime)).await
    }

    async fn renew(&mut self, lifetime: Millis) -> Result<(), RightError> {
        let since = Instant::now();
        let (reply, connection_id) = self.hold.step(RightStep::Renew { tenant: self.hold.tenant, lifetime }).await?;
        let RightReply::Held { left, newest } = reply else { return Err(RightError::Lost) };
        if !is_continuous(self.taken, connection_id, self.left, millis(self.since.elapsed())) {
            return Err(RightError::Lost);
        }
        (self.left, self.since, self.newest) = (left, since, newest);
        Ok(())
    }

    /// Whether more of it is left than a write may take.
    pub fn allows(&self, needed: Duration) -> bool {
        let current = self.hold.store.connection_id(self.hold.scope());
        let needed = millis(needed).saturating_add(MARGIN);
        may_send(self.taken, current, self.left, millis(self.since.elapsed()), needed)
    }

    /// Whether it was another's at first.
    pub fn has_waited(&self) -> bool {
        self.waited
    }

    /// Gives it back: its write was not sent, or the outcome is known, with the version that the provider has
    /// acknowledged it with. If the store fails, this goes on in the background.
    pub async fn give_back(mut self, version: Option<u64>) {
        (self.hold.is_left, self.hold.version) = (false, version);
        if self.hold.step(self.hold.give_back()).await.is_ok() {
            self.hold.may_be_held = false;
        }
    }
}

/// Checks that no replica of an older version is running: its writes take no rights.
async fn check_replicas(store: &dyn Store) -> Result<(), RightError> {
    match store.has_older_replica().await {
        Ok(false) => Ok(()),
        Ok(true) => Err(RightError::OlderReplica),
        Err(_) => Err(RightError::Unconfirmed),
    }
}

/// What a write has at the store, and its place in the queue.
struct Hold {
    store: Arc<dyn Store>,
    name: SessionName,
    tenant: TenantId,
    writer: Token,
    lifetime: Duration,
    /// See [`RightTerms::longest_write`].
    longest_write: Option<Duration>,
    place: Option<Place>,
    /// Whether the store may hold the right for this write.
    may_be_held: bool,
    /// Whether it is left to expire.
    is_left: bool,
    /// The version that the provider has acknowledged the write with.
    version: Option<u64>,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Hold {
    fn scope(&self) -> super::Scope {
        super::Scope::Session(self.name.0, self.name.1)
    }

    fn give_back(&self) -> RightStep {
        RightStep::GiveBack { tenant: self.tenant, version: self.version }
    }

    /// Whether the right counts, over the connection as it is now: [`may_send`] compares it with that of the right.
    async fn check_counts(&self) -> Result<(), RightError> {
        let Some(longest) = self.longest_write else { return Ok(()) };
        let left = self.store.rights_count_in(&self.name.1, longest + Duration::from_millis(SLACK)).await;
        if left.is_zero() { Ok(()) } else { Err(RightError::Unsettled(left)) }
    }

    /// Executes a step with one retry: all are idempotent.
    async fn step(&mut self, step: RightStep) -> Result<(RightReply, ConnectionId), RightError> {
        let (upstream, session) = self.name;
        let was_held = std::mem::replace(&mut self.may_be_held, true);
        let mut tried = self.store.right(upstream, &session, self.writer, step).await;
        if matches!(tried, Err(StoreError::Failed(StoreFailure::Disconnected))) {
            self.may_be_held = was_held;
        }
        if tried.as_ref().is_err_and(StoreError::is_worth_a_retry) {
            tried = self.store.right(upstream, &session, self.writer, step).await;
        }
        tried.map_err(|_| RightError::Unconfirmed)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let (place, Ok(runtime)) = (self.place.take(), tokio::runtime::Handle::try_current()) else { return };
        if self.is_left || !self.may_be_held {
            return;
        }
        let (store, (upstream, session), writer) = (self.store.clone(), self.name, self.writer);
        let (lifetime, began, step) = (self.lifetime, Instant::now(), self.give_back());
        runtime.spawn(async move {
            let mut given_back = store.right(upstream, &session, writer, step).await;
            // The next of this process asks the store by itself.
            drop(place);
            while given_back.is_err() && began.elapsed() < lifetime {
                time::sleep(BACKGROUND_PAUSE).await;
                given_back = store.right(upstream, &session, writer, step).await;
            }
        });
    }
}
