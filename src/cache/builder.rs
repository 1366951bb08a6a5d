//! Builds the cache from the configuration.

use super::{CacheCounters, MemoryStore, RedisStore, Sessions, SetupError};
use crate::config;
use crate::telemetry::StoreObserver;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Interval at which the memory store removes what has expired.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Interval at which a replica announces its protocol version, and the retry interval if that fails.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(10);
const ANNOUNCE_RETRY: Duration = Duration::from_secs(1);
/// How long a read waits for a fetch of another process. The memory store has no other process.
const LEASE_WAIT: Duration = Duration::from_secs(2);

/// A cache, with the store behind it.
pub struct OpenCache {
    /// The session cache.
    pub sessions: Arc<Sessions>,
    store: StoreHandle,
}

enum StoreHandle {
    Memory(Arc<MemoryStore>),
    Redis(Arc<RedisStore>),
}

/// Builds the cache. Leases in its store last for `lease`.
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
    /// Starts the background tasks. Call inside a tokio runtime.
    pub fn start(&self) {
        match &self.store {
            StoreHandle::Memory(store) => drop(tokio::spawn(sweep_periodically(Arc::downgrade(store)))),
            StoreHandle::Redis(store) => {
                store.start();
                drop(tokio::spawn(announce_periodically(Arc::downgrade(store))));
            }
        }
    }

    /// Sets how long new leases last.
    pub fn set_lease(&self, lease: Duration) {
        match &self.store {
            StoreHandle::Memory(store) => store.set_lease(lease),
            StoreHandle::Redis(store) => store.set_lease(lease),
        }
    }
}

/// Announces this replica periodically, until the store is dropped.
async fn announce_periodically(store: std::sync::Weak<RedisStore>) {
    loop {
        let announced = match store.upgrade() {
            Some(store) => store.announce().await,
            None => return,
        };
        tokio::time::sleep(if announced { ANNOUNCE_INTERVAL } else { ANNOUNCE_RETRY }).await;
    }
}

/// Sweeps the memory store periodically, until it is dropped.
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
