//! The session cache on top of a store.

use super::counters::CacheCounters;
use super::right_queues::RightQueues;
use super::shared_mark::SharedMarks;
use super::single_flight::SingleFlight;
use super::store::Store;
use super::waiting_reads::WaitingReads;
use std::sync::Arc;
use std::time::Duration;

/// The session cache of the process, for all upstreams.
pub struct Sessions {
    pub(super) store: Arc<dyn Store>,
    pub(super) single_flight: SingleFlight,
    pub(super) waiting: WaitingReads,
    pub(super) shared: Arc<SharedMarks>,
    pub(super) rights: Arc<RightQueues>,
    pub(super) lease_wait: Duration,
    pub(super) counters: Arc<CacheCounters>,
}

impl Sessions {
    /// A cache on this store. `lease_wait` bounds how long a read waits for a fetch of another process.
    pub fn new(store: Arc<dyn Store>, lease_wait: Duration, counters: Arc<CacheCounters>) -> Sessions {
        let (single_flight, waiting, shared) = (SingleFlight::default(), WaitingReads::default(), Arc::default());
        Sessions { store, single_flight, waiting, shared, rights: Arc::default(), lease_wait, counters }
    }

    /// The store behind the cache.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The event counters.
    pub fn counters(&self) -> &CacheCounters {
        &self.counters
    }
}
