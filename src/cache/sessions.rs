//! The session cache on top of a store.

use super::counters::CacheCounters;
use super::right_queues::RightQueues;
use super::shared_mark::SharedMarks;
use super::single_flight::SingleFlight;
use super::store::Store;
use super::waiting_reads::WaitingReads;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The session cache of the process, for all upstreams.
pub struct Sessions {
    pub(super) store: Arc<dyn Store>,
    pub(super) single_flight: SingleFlight,
    pub(super) waiting: WaitingReads,
    pub(super) shared: Arc<SharedMarks>,
    pub(super) rights: Arc<RightQueues>,
    /// Whether another process takes rights that this one does not see.
    pub(super) rights_suspended: AtomicBool,
    pub(super) lease_wait: Duration,
    pub(super) counters: Arc<CacheCounters>,
}

impl Sessions {
    /// A cache on this store. `lease_wait` bounds how long a read waits for a fetch of another process.
    pub fn new(store: Arc<dyn Store>, lease_wait: Duration, counters: Arc<CacheCounters>) -> Sessions {
        let (single_flight, waiting, shared) = (SingleFlight::default(), WaitingReads::default(), Arc::default());
        let (rights, rights_suspended) = (Arc::default(), AtomicBool::new(false));
        Sessions { store, single_flight, waiting, shared, rights, rights_suspended, lease_wait, counters }
    }

    /// The store behind the cache.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Suspends rights that must not meet another, or resumes them: while another process has a store of its own for the
    /// same upstreams, neither sees the rights of the other.
    pub fn suspend_rights(&self, suspended: bool) {
        self.rights_suspended.store(suspended, Ordering::Relaxed);
    }

    /// The event counters.
    pub fn counters(&self) -> &CacheCounters {
        &self.counters
    }
}
