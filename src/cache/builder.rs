//! From the configuration to a cache.

use super::{CacheCounters, MemoryStore, RedisStore, Sessions, SetupError};
use crate::config;
use crate::telemetry::StoreObserver;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often a store in memory drops what is over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How often a replica says which version of the protocol it speaks, and how soon again where the store has not heard
/// it.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(10);
const ANNOUNCE_RETRY: Duration = Duration::from_secs(1);
/// How long a read waits for the fetch of another process, which a store in memory does not have.
const LEASE_WAIT: Duration = Duration::from_secs(2);

/// A cache, with what works for it behind the scenes.
pub struct OpenCache {
    /// The cache.
    pub sessions: Arc<Sessions>,
    store: StoreHandle,
}

enum StoreHandle {
    Memory(Arc<MemoryStore>),
    Redis(Arc<RedisStore>),
}

/// Sets a cache up. Leases in its store last for `lease`.
pub fn open(store: &config::Store, lease: Duration, listener: Arc<dyn StoreObserver>) -> Result<OpenCache, SetupError> {
    let counters = Arc::new(CacheCounters::default());
    match store {
        config::Store::Memory(memory) => {
            let store = Arc::new(MemoryStore::new(memory.max_bytes, lease));
            let sessions = Sessions::new(store.clone(), LEASE_WAIT, counters);
            Ok(OpenCache { sessions: Arc::new(sessions), store: StoreHandle::Memory(store) })
        }
        config::Store::Redis(redis) => {
            let store = Arc::new(RedisStore::new(redis, lease, counters.clone(), listener)?);
            let sessions = Sessions::new(store.clone(), redis.lease_wait, counters);
            Ok(OpenCache { sessions: Arc::new(sessions), store: StoreHandle::Redis(store) })
        }
    }
}

impl OpenCache {
    /// Starts what works behind the scenes. Has to be called inside a tokio runtime.
    pub fn start(&self) {
        match &self.store {
            StoreHandle::Memory(store) => drop(tokio::spawn(sweep_periodically(Arc::downgrade(store)))),
            StoreHandle::Redis(store) => {
                store.start();
                drop(tokio::spawn(announce_periodically(Arc::downgrade(store))));
            }
        }
    }

    /// How long leases last from now on.
    pub fn set_lease(&self, lease: Duration) {
        match &self.store {
            StoreHandle::Memory(store) => store.set_lease(lease),
            StoreHandle::Redis(store) => store.set_lease(lease),
        }
    }
}

/// Says again and again that this replica is there, for as long as anybody holds the store.
async fn announce_periodically(store: std::sync::Weak<RedisStore>) {
    loop {
        let announced = match store.upgrade() {
            Some(store) => store.announce().await,
            None => return,
        };
        tokio::time::sleep(if announced { ANNOUNCE_INTERVAL } else { ANNOUNCE_RETRY }).await;
    }
}

/// Sweeps a store in memory, again and again, for as long as anybody holds it.
async fn sweep_periodically(store: std::sync::Weak<MemoryStore>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.upgrade() {
            Some(store) => store.sweep(),
            None => return,
        }
    }
}
