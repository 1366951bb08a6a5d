//! Reads: hit, fetch, or wait for another fetch.

use super::fetched::{FetchedResponse, ReadOptions};
use super::jitter::jittered;
use super::lease_guard::LeaseGuard;
use super::single_flight::InFlightFetch;
use super::started_fetch::StartedFetch;
use super::waiting_reads::{WaitKey, WaitLeader};
use super::{AcquireRequest, Acquisition, Sessions};
use crate::coherence::reading::{Fetch, FlightKey, ForwardReason, NEVER_JOIN, ReadStep, next};
use crate::coherence::{Entry, Micros, Millis, TenantId, Token, millis};
use crate::gateway::{CacheKey, ProviderResponse};
use crate::telemetry::CacheEvent;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The result of a read.
#[derive(Debug, Clone)]
pub enum ReadResult {
    /// A cached response.
    Hit {
        /// The cached response.
        response: Arc<ProviderResponse>,
        /// Age in milliseconds.
        age: Millis,
        /// Remaining freshness in milliseconds; negative if it is stale.
        left: i64,
    },
    /// The session was deleted through the gateway.
    Deleted,
    /// The response of a fetch that this read started.
    Miss(FetchedResponse, ForwardReason),
    /// The response of a fetch that another read started.
    Coalesced(FetchedResponse),
    /// The caller must bypass the cache, and pass the provider's response to [`Sessions::bypassed`] with this time;
    /// `None` if the store did not respond.
    Bypass(Option<Micros>),
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// The most reads that wait for fetches of other processes at once.
const MAX_WAITING: usize = 10_000;

/// How long a read may wait for other processes.
struct WaitBudget {
    began: Instant,
    limit: Duration,
    pause: Duration,
}

impl WaitBudget {
    fn is_exhausted(&self) -> bool {
        self.began.elapsed() >= self.limit
    }

    /// The pause until the next poll.
    fn pause(&mut self, reader: Token) -> Duration {
        let pause = jittered(self.pause, 4, reader).min(self.limit.saturating_sub(self.began.elapsed()));
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        pause
    }
}

/// A read that waits for the fetch of another process.
struct Waiter<'a> {
    sessions: &'a Sessions,
    key: CacheKey,
    reader: Token,
    budget: WaitBudget,
    yielded: bool,
    leader: Option<WaitLeader<'a>>,
    /// Counts the waiting reads.
    counted: Option<Arc<()>>,
}

impl<'a> Waiter<'a> {
    fn new(sessions: &'a Sessions, key: CacheKey, reader: Token) -> Waiter<'a> {
        let budget = WaitBudget { began: Instant::now(), limit: sessions.lease_wait, pause: FIRST_PAUSE };
        Waiter { sessions, key, reader, budget, yielded: false, leader: None, counted: None }
    }

    /// Waits for the fetch of `leader`, which counts if it began at or after `since`. `None` if the read has to poll the
    /// store again.
    async fn wait(
        &mut self,
        lease_guard: &mut LeaseGuard<'_>,
        flight_key: FlightKey,
        (leader, since): (Token, Micros),
        now: Micros,
    ) -> Option<ReadResult> {
        let sessions = self.sessions;
        if let Some(in_flight) = sessions.single_flight.join(&self.key, flight_key, since) {
            return Some(ReadResult::Coalesced(in_flight.finished().await));
        }
        // A leader in this process registers its fetch a moment after it gets the lease.
        if !std::mem::replace(&mut self.yielded, true) {
            tokio::task::yield_now().await;
            return None;
        }
        // A fetch of this process that started too early is of no use: a new one replaces it at once.
        if sessions.single_flight.is_led_by(&self.key, flight_key, leader) {
            lease_guard.request.steal = Some(leader);
            return None;
        }
        if self.budget.is_exhausted() {
            if lease_guard.request.steal.replace(leader) != Some(leader) {
                sessions.counters.count(CacheEvent::LeaseLost);
            }
            return None;
        }
        let counted = self.counted.get_or_insert_with(|| sessions.waiting.readers.clone());
        // One reference is the counter's own.
        if Arc::strong_count(counted) > MAX_WAITING + 1 {
            return Some(sessions.bypass(CacheEvent::BypassWaiting, Some(now)));
        }
        self.pause((self.key, flight_key)).await;
        None
    }

    /// Waits for one poll interval, or for the read that polls for all.
    async fn pause(&mut self, wait_key: WaitKey) {
        if self.leader.as_ref().is_none_or(|leader| leader.wait_key != wait_key) {
            self.leader = None;
            match self.sessions.waiting.lead_or_follow(wait_key) {
                Ok(own) => self.leader = Some(own),
                Err(mut woken) => {
                    let rest = self.budget.limit.saturating_sub(self.budget.began.elapsed());
                    // Either way this read polls next.
                    let _ = tokio::time::timeout(rest, woken.changed()).await;
                    return;
                }
            }
        }
        tokio::time::sleep(self.budget.pause(self.reader)).await;
    }
}

impl Sessions {
    /// Serves a read. `fetch` is called at most once, with the version below which a response is too old to store. It
    /// runs in a task of its own, which continues if this read is dropped.
    pub async fn read<F, W>(&self, key: CacheKey, read_options: ReadOptions, fetch: F) -> ReadResult
    where
        F: FnOnce(Option<u64>) -> W,
        W: Future<Output = FetchedResponse> + Send + 'static,
    {
        let own = self.store.token();
        let ReadOptions { fresh, no_store, caller, tenant, .. } = read_options;
        let mut lease_guard =
            self.lease_guard(key, AcquireRequest { reader: own, steal: None, fresh, no_store, caller, tenant });
        let mut waiter = Waiter::new(self, key, own);
        loop {
            let Acquisition { acquired, connection_id, now: moment, .. } = match lease_guard.acquire().await {
                Ok(acquisition) => acquisition,
                Err(_) => return self.bypass(CacheEvent::BypassFailed, None),
            };
            let now = moment / 1_000;
            let started = |stamp| StartedFetch { key, stamp, connection_id, began: moment, reader: own, read_options };
            match next(acquired, connection_id, now, read_options.windows) {
                ReadStep::Respond(entry) => return self.hit(&entry, now),
                ReadStep::Refresh(entry, Fetch { stamp, floor, .. }) => {
                    lease_guard.disarm();
                    self.start_fetch(started(stamp), fetch(floor));
                    return self.hit(&entry, now);
                }
                ReadStep::Deleted => return ReadResult::Deleted,
                ReadStep::Bypass => return self.bypass(CacheEvent::BypassMarked, Some(moment)),
                ReadStep::Fetch(Fetch { stamp, floor, fallback, since, why }) => {
                    let since = if fresh { NEVER_JOIN } else { since };
                    let joined = self.single_flight.join(&key, FlightKey::new(stamp, connection_id), since);
                    let coalesced = joined.is_some();
                    let start_fetch = || {
                        lease_guard.disarm();
                        self.start_fetch(started(stamp), fetch(floor))
                    };
                    let fetched = joined.unwrap_or_else(start_fetch).finished().await;
                    let why = if fresh { ForwardReason::Requested } else { why };
                    let age = millis(waiter.budget.began.elapsed());
                    return self.fetched(fetched, fallback, (!coalesced).then_some(why), now.saturating_add(age));
                }
                ReadStep::Wait { stamp, reader, since } => {
                    let flight_key = FlightKey::new(stamp, connection_id);
                    if let Some(result) = waiter.wait(&mut lease_guard, flight_key, (reader, since), moment).await {
                        return result;
                    }
                }
            }
        }
    }

    /// What a read gets from a fetch: its response, or `fallback` if the provider failed. `why` it fetched; `None` if it
    /// joined the fetch of another read.
    fn fetched(
        &self,
        fetched: FetchedResponse,
        fallback: Option<Entry<Arc<ProviderResponse>>>,
        why: Option<ForwardReason>,
        now: Millis,
    ) -> ReadResult {
        match (fallback, why) {
            (Some(entry), _) if fetched.failed => {
                self.counters.count(CacheEvent::StaleIfError);
                hit(&entry, now)
            }
            (_, None) => ReadResult::Coalesced(fetched),
            (_, Some(why)) => ReadResult::Miss(fetched, why),
        }
    }

    /// Which of these sessions were deleted through the gateway, in order. If the store fails, none, as with single
    /// reads.
    pub async fn deleted(&self, upstream: u64, tenant: &TenantId, sessions: &[[u8; 16]]) -> Vec<bool> {
        match self.store.deleted(upstream, tenant, sessions).await {
            Ok(deleted) => deleted,
            Err(_) => {
                self.counters.count(CacheEvent::BypassFailed);
                vec![false; sessions.len()]
            }
        }
    }

    fn bypass(&self, event: CacheEvent, began: Option<Micros>) -> ReadResult {
        self.counters.count(event);
        ReadResult::Bypass(began)
    }

    fn hit(&self, entry: &Entry<Arc<ProviderResponse>>, now: Millis) -> ReadResult {
        if now >= entry.fresh_until {
            self.counters.count(CacheEvent::StaleWhileRevalidate);
        }
        hit(entry, now)
    }

    /// Starts a fetch, and applies its response to the store.
    fn start_fetch<W>(&self, started: StartedFetch, fetch: W) -> InFlightFetch
    where
        W: Future<Output = FetchedResponse> + Send + 'static,
    {
        let (store, counters) = (self.store.clone(), self.counters.clone());
        let StartedFetch { key, stamp, connection_id, began, reader, .. } = started;
        let apply = move |fetched: FetchedResponse| async move { started.apply(&*store, &counters, fetched).await };
        self.single_flight.start((key, FlightKey::new(stamp, connection_id)), (reader, began), fetch, apply)
    }
}

fn hit(entry: &Entry<Arc<ProviderResponse>>, now: Millis) -> ReadResult {
    let signed = |millis: Millis| i64::try_from(millis).unwrap_or(i64::MAX);
    ReadResult::Hit {
        response: entry.response.clone(),
        age: now.saturating_sub(entry.fetched_at()),
        left: signed(entry.fresh_until).saturating_sub(signed(now)),
    }
}
