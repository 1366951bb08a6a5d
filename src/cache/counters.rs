//! Counters of cache events.

use crate::telemetry::CacheEvent;
use enum_map::EnumMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts cache events since the start.
#[derive(Debug, Default)]
pub struct CacheCounters {
    counts: EnumMap<CacheEvent, AtomicU64>,
}

impl CacheCounters {
    /// Adds one to an event.
    pub fn count(&self, event: CacheEvent) {
        self.counts[event].fetch_add(1, Ordering::Relaxed);
    }

    /// Every event with its count.
    pub fn read(&self) -> impl Iterator<Item = (CacheEvent, u64)> + '_ {
        self.counts.iter().map(|(event, count)| (event, count.load(Ordering::Relaxed)))
    }
}
