//! The introspections in flight: one per token, and bounded. A request with a token that is being introspected joins it.
//!
//! Half of the permits are for tokens that were active before. Unknown tokens share the other half, and each source of
//! them has a bound of its own. Waiting for permits is bounded in number and time.

use crate::model::Rejection;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// Introspections that may wait, per permit.
const WAITING_PER_PERMIT: usize = 2;

/// A token's keyed hash.
type Key = [u8; 32];

/// The right to have one introspection in flight, until this is dropped.
pub(super) type Permit = OwnedSemaphorePermit;

/// The introspections of one upstream, with outcomes of type `A`.
pub(super) struct Calls<A> {
    /// The permits for any token.
    shared: Arc<Semaphore>,
    /// The permits for known tokens only.
    reserve: Arc<Semaphore>,
    limits: Limits,
    running: Mutex<Running<A>>,
}

/// The most introspections that are in flight or wait.
struct Limits {
    unknown: usize,
    known: usize,
    per_source: usize,
}

struct Running<A> {
    tokens: HashMap<Key, watch::Receiver<Option<A>>>,
    sources: HashMap<IpAddr, usize>,
    unknown: usize,
    known: usize,
}

/// An introspection that is in flight or waits.
pub(super) struct Call<A> {
    calls: Arc<Calls<A>>,
    key: Key,
    known: bool,
    source: Option<IpAddr>,
    outcome: watch::Sender<Option<A>>,
}

impl<A: Clone> Calls<A> {
    /// No calls, of which at most `in_flight` may be in flight, and at most `per_source` for unknown tokens of a source
    /// may be in flight or wait.
    pub fn new(in_flight: usize, per_source: usize) -> Arc<Calls<A>> {
        let shared = (in_flight / 2).max(1);
        let most = |permits: usize| permits.saturating_mul(1 + WAITING_PER_PERMIT);
        Arc::new(Calls {
            shared: Arc::new(Semaphore::new(shared)),
            reserve: Arc::new(Semaphore::new(in_flight.saturating_sub(shared))),
            limits: Limits { unknown: most(shared), known: most(in_flight), per_source },
            running: Mutex::new(Running { tokens: HashMap::new(), sources: HashMap::new(), unknown: 0, known: 0 }),
        })
    }

    /// Joins the introspection of the token, or starts one with `start`.
    pub fn join(
        self: &Arc<Calls<A>>,
        key: Key,
        known: bool,
        source: Option<IpAddr>,
        start: impl FnOnce(Call<A>),
    ) -> Result<watch::Receiver<Option<A>>, Rejection> {
        let mut running = self.running.lock();
        if let Some(outcome) = running.tokens.get(&key) {
            return Ok(outcome.clone());
        }
        running.admit(known, source, &self.limits)?;
        let (sender, outcome) = watch::channel(None);
        running.tokens.insert(key, outcome.clone());
        drop(running);
        start(Call { calls: self.clone(), key, known, source, outcome: sender });
        Ok(outcome)
    }
}

impl<A> Running<A> {
    /// Counts another introspection.
    fn admit(&mut self, known: bool, source: Option<IpAddr>, limits: &Limits) -> Result<(), Rejection> {
        let (count, most) = if known { (&mut self.known, limits.known) } else { (&mut self.unknown, limits.unknown) };
        if *count >= most {
            return Err(Rejection::IntrospectionBusy);
        }
        if let Some(source) = source {
            let of_source = self.sources.entry(source).or_default();
            if *of_source >= limits.per_source {
                return Err(Rejection::SourceBusy);
            }
            *of_source += 1;
        }
        *count += 1;
        Ok(())
    }
}

impl<A> Call<A> {
    /// Waits for a permit; `None` if there is none in time.
    pub async fn permit(&self, until: Instant) -> Option<Permit> {
        let acquired = |permits: &Arc<Semaphore>| permits.clone().acquire_owned();
        let permit = async {
            if !self.known {
                return acquired(&self.calls.shared).await;
            }
            // The reserve is for when strangers hold all the others.
            tokio::select! {
                biased;
                permit = acquired(&self.calls.shared) => permit,
                permit = acquired(&self.calls.reserve) => permit,
            }
        };
        timeout_at(until, permit).await.ok()?.ok()
    }

    /// Gives the outcome to all that wait for it.
    pub fn end(self, outcome: A) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl<A> Drop for Call<A> {
    fn drop(&mut self) {
        let mut running = self.calls.running.lock();
        running.tokens.remove(&self.key);
        if self.known {
            running.known -= 1;
        } else {
            running.unknown -= 1;
        }
        if let Some(source) = self.source
            && let Some(count) = running.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                running.sources.remove(&source);
            }
        }
    }
}
