//! Slots: how many requests may be in flight at a provider, in total and per source of unverified callers. A request
//! holds its slot as long as it is in flight at the provider, even if its client has left.
//!
//! Waiting for slots is bounded in time and number, and first come, first served. It precedes the invalidation mark,
//! and no holder of a slot waits for another, so holders always make progress.

use crate::gateway::SlotLimits;
use crate::model::Rejection;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Requests that may wait, per slot.
const WAITING_PER_SLOT: usize = 2;

/// The slots of one upstream.
#[derive(Debug)]
pub struct Slots {
    limits: SlotLimits,
    free: Arc<Semaphore>,
    /// Requests that hold a slot or wait for one.
    present: AtomicUsize,
    sources: Mutex<HashMap<IpAddr, Source>>,
    usage: Arc<SlotUsage>,
}

/// The usage of slots. It continues when the limits change.
#[derive(Debug, Default)]
pub struct SlotUsage {
    in_flight: AtomicUsize,
    waited: AtomicU64,
}

impl SlotUsage {
    /// Requests in flight, and how many had to wait since the start.
    pub fn read(&self) -> (usize, u64) {
        (self.in_flight.load(Ordering::Relaxed), self.waited.load(Ordering::Relaxed))
    }
}

/// A source with requests present.
#[derive(Debug)]
struct Source {
    free: Arc<Semaphore>,
    present: usize,
}

/// The right to have one request in flight, until this is dropped.
#[derive(Debug)]
pub struct Slot {
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    _presence: UpstreamPresence,
    _source_presence: Option<SourcePresence>,
    usage: Arc<SlotUsage>,
}

/// Counts a request that holds a slot or waits for one.
#[derive(Debug)]
struct UpstreamPresence(Arc<Slots>);

/// Counts such a request of a source.
#[derive(Debug)]
struct SourcePresence {
    slots: Arc<Slots>,
    source: IpAddr,
}

impl Slots {
    /// Free slots for these limits.
    pub fn new(limits: SlotLimits, usage: Arc<SlotUsage>) -> Arc<Slots> {
        Arc::new(Slots {
            limits,
            free: Arc::new(Semaphore::new(limits.in_flight)),
            present: AtomicUsize::new(0),
            sources: Mutex::default(),
            usage,
        })
    }

    /// The limits.
    pub fn limits(&self) -> SlotLimits {
        self.limits
    }

    /// The usage.
    pub fn usage(&self) -> &SlotUsage {
        &self.usage
    }

    /// Takes a slot, or waits for one. `source` is the address of an unverified caller; such requests share the limit
    /// per source.
    pub async fn take(self: &Arc<Slots>, source: Option<IpAddr>) -> Result<Slot, Rejection> {
        let mut waiting = SlotWait { slots: self, until: None };
        let (source_presence, own) = match source {
            Some(source) => {
                let (source_presence, free) = self.source_presence(source).ok_or(Rejection::SourceBusy)?;
                let own = waiting.acquire(free).await.ok_or(Rejection::SourceBusy)?;
                (Some(source_presence), Some(own))
            }
            None => (None, None),
        };
        let presence = self.presence().ok_or(Rejection::UpstreamBusy)?;
        let permit = waiting.acquire(self.free.clone()).await.ok_or(Rejection::UpstreamBusy)?;
        self.usage.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Slot {
            _permits: (permit, own),
            _presence: presence,
            _source_presence: source_presence,
            usage: self.usage.clone(),
        })
    }

    fn presence(self: &Arc<Slots>) -> Option<UpstreamPresence> {
        // Created first: dropping it releases the count on every path.
        let presence = UpstreamPresence(self.clone());
        (self.present.fetch_add(1, Ordering::Relaxed) < max_present(self.limits.in_flight)).then_some(presence)
    }

    fn source_presence(self: &Arc<Slots>, source: IpAddr) -> Option<(SourcePresence, Arc<Semaphore>)> {
        let most = self.limits.per_source;
        let mut sources = self.sources.lock();
        let known = sources.entry(source);
        let known = known.or_insert_with(|| Source { free: Arc::new(Semaphore::new(most)), present: 0 });
        if known.present >= max_present(most) {
            return None;
        }
        known.present += 1;
        Some((SourcePresence { slots: self.clone(), source }, known.free.clone()))
    }
}

fn max_present(in_flight: usize) -> usize {
    in_flight.saturating_mul(1 + WAITING_PER_SLOT)
}

/// A wait; its deadline applies to all semaphores together.
struct SlotWait<'s> {
    slots: &'s Slots,
    until: Option<Instant>,
}

impl SlotWait<'_> {
    async fn acquire(&mut self, free: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        // While requests wait no permit is free: released ones go to those that waited longest.
        if let Ok(permit) = free.clone().try_acquire_owned() {
            return Some(permit);
        }
        let until = *self.until.get_or_insert_with(|| {
            self.slots.usage.waited.fetch_add(1, Ordering::Relaxed);
            Instant::now() + self.slots.limits.wait
        });
        timeout_at(until, free.acquire_owned()).await.ok()?.ok()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.usage.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for UpstreamPresence {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for SourcePresence {
    fn drop(&mut self) {
        let mut sources = self.slots.sources.lock();
        if let Some(known) = sources.get_mut(&self.source) {
            known.present -= 1;
            if known.present == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ONE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(1, 1, 1, 1)));
    const OTHER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(2, 2, 2, 2)));

    fn slots(in_flight: usize, per_source: usize) -> Arc<Slots> {
        Slots::new(SlotLimits { in_flight, per_source, wait: Duration::from_secs(1) }, Arc::default())
    }

    async fn take(slots: &Arc<Slots>, source: Option<IpAddr>) -> Result<Slot, Rejection> {
        slots.take(source).await
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_limited_per_source_and_upstream() {
        let slots = slots(3, 2);
        let _kept = [take(&slots, ONE).await.unwrap(), take(&slots, ONE).await.unwrap()];
        assert_eq!(take(&slots, ONE).await.unwrap_err(), Rejection::SourceBusy);
        let third = take(&slots, OTHER).await.unwrap();
        assert_eq!(take(&slots, OTHER).await.unwrap_err(), Rejection::UpstreamBusy);
        assert_eq!(take(&slots, None).await.unwrap_err(), Rejection::UpstreamBusy, "nobody is exempt from this limit");
        assert_eq!(slots.usage.read(), (3, 3));
        drop(third);
        // Verified callers and trusted proxies have no limit per source.
        let _last = take(&slots, None).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_are_served_in_order() {
        let slots = slots(1, 1);
        let held = take(&slots, ONE).await.unwrap();
        let waits = tokio::spawn({
            let slots = slots.clone();
            async move { take(&slots, OTHER).await }
        });
        while slots.usage.read().1 == 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        let late = tokio::spawn({
            let slots = slots.clone();
            async move { take(&slots, None).await }
        });
        let first = waits.await.unwrap().unwrap();
        assert!(!late.is_finished());
        drop(first);
        late.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_are_limited_and_leave_no_state() {
        let slots = slots(1, 1);
        let held = take(&slots, ONE).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for source in [ONE, ONE, None, None] {
            let slots = slots.clone();
            waiting.spawn(async move { take(&slots, source).await });
        }
        while slots.usage.read().1 < 4 {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        assert_eq!(take(&slots, ONE).await.unwrap_err(), Rejection::SourceBusy);
        assert_eq!(take(&slots, None).await.unwrap_err(), Rejection::UpstreamBusy);
        assert_eq!(began.elapsed(), Duration::ZERO, "at once");
        waiting.shutdown().await;
        drop(held);
        assert!(slots.sources.lock().is_empty());
        assert_eq!((slots.present.load(Ordering::Relaxed), slots.usage.read().0), (0, 0));
        take(&slots, ONE).await.unwrap();
    }

    #[tokio::test]
    async fn counts_survive_changed_limits() {
        let before = slots(1, 1);
        let held = take(&before, ONE).await.unwrap();
        let after = Slots::new(SlotLimits { in_flight: 5, ..before.limits() }, before.usage.clone());
        let _more = take(&after, ONE).await.unwrap();
        assert_eq!(after.usage.read().0, 2);
        drop(held);
        assert_eq!(after.usage.read().0, 1);
    }
}
