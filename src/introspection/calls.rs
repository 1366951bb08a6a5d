//! The introspections in flight, which are bounded. A request with a token that is being introspected joins it, unless
//! the introspection was sent too long before the request.
//!
//! Half of the permits are for tokens that were active before. Unknown tokens share the other half, and each source of
//! them has a bound of its own. Waiting for permits is bounded in number and time.

use crate::model::Rejection;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
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
    /// How old the issuer's response may be.
    ttl: Duration,
    running: Mutex<Running<A>>,
}

/// The most introspections that are in flight or wait.
struct Limits {
    unknown: usize,
    known: usize,
    per_source: usize,
}

struct Running<A> {
    /// The latest introspection of each token.
    tokens: HashMap<Key, Latest<A>>,
    started: u64,
    sources: HashMap<IpAddr, usize>,
    unknown: usize,
    known: usize,
}

/// The latest introspection of a token.
struct Latest<A> {
    number: u64,
    /// When the request was sent to the issuer; `None` if the introspection still waits for a permit.
    sent: Option<Instant>,
    outcome: watch::Receiver<Option<A>>,
}

/// An introspection that is in flight or waits.
pub(super) struct Call<A> {
    calls: Arc<Calls<A>>,
    key: Key,
    number: u64,
    known: bool,
    source: Option<IpAddr>,
    outcome: watch::Sender<Option<A>>,
}

impl<A: Clone> Calls<A> {
    /// No calls, of which at most `in_flight` may be in flight, and at most `per_source` for unknown tokens of a source
    /// may be in flight or wait. A request joins an introspection that was sent at most `ttl` before it.
    pub fn new(in_flight: usize, per_source: usize, ttl: Duration) -> Arc<Calls<A>> {
        let shared = (in_flight / 2).max(1);
        let most = |permits: usize| permits.saturating_mul(1 + WAITING_PER_PERMIT);
        Arc::new(Calls {
            shared: Arc::new(Semaphore::new(shared)),
            reserve: Arc::new(Semaphore::new(in_flight.saturating_sub(shared))),
            limits: Limits { unknown: most(shared), known: most(in_flight), per_source },
            ttl,
            running: Mutex::new(Running {
                tokens: HashMap::new(),
                started: 0,
                sources: HashMap::new(),
                unknown: 0,
                known: 0,
            }),
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
        if let Some(latest) = running.tokens.get(&key)
            && latest.sent.is_none_or(|sent| sent.elapsed() < self.ttl)
        {
            return Ok(latest.outcome.clone());
        }
        running.admit(known, source, &self.limits)?;
        let (sender, outcome) = watch::channel(None);
        running.started += 1;
        let number = running.started;
        running.tokens.insert(key, Latest { number, sent: None, outcome: outcome.clone() });
        drop(running);
        start(Call { calls: self.clone(), key, number, known, source, outcome: sender });
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

    fn is_latest(&self, key: &Key, number: u64) -> bool {
        self.tokens.get(key).is_some_and(|latest| latest.number == number)
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

    /// The token's keyed hash.
    pub fn key(&self) -> Key {
        self.key
    }

    /// The request is sent to the issuer now.
    pub fn sends(&self) -> Instant {
        let now = Instant::now();
        let mut running = self.calls.running.lock();
        if let Some(latest) = running.tokens.get_mut(&self.key).filter(|latest| latest.number == self.number) {
            latest.sent = Some(now);
        }
        now
    }

    /// Whether no other introspection of the token began after this one.
    pub fn is_latest(&self) -> bool {
        self.calls.running.lock().is_latest(&self.key, self.number)
    }

    /// Gives the outcome to all that wait for it.
    pub fn end(self, outcome: A) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl<A> Drop for Call<A> {
    fn drop(&mut self) {
        let mut running = self.calls.running.lock();
        if running.is_latest(&self.key, self.number) {
            running.tokens.remove(&self.key);
        }
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
