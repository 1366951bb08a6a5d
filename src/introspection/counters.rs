//! Counters of an upstream's introspections.

use crate::telemetry::{IntrospectionCache, IntrospectionResult};
use enum_map::EnumMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of an upstream's introspections since the start; they continue when the introspector is replaced.
#[derive(Debug, Default)]
pub struct IntrospectionCounters {
    results: EnumMap<IntrospectionResult, AtomicU64>,
    cached: EnumMap<IntrospectionCache, AtomicU64>,
}

impl IntrospectionCounters {
    pub(super) fn introspected(&self, result: IntrospectionResult) {
        self.results[result].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cached(&self, how: IntrospectionCache) {
        self.cached[how].fetch_add(1, Ordering::Relaxed);
    }

    /// The introspections, by result.
    pub fn results(&self) -> EnumMap<IntrospectionResult, u64> {
        EnumMap::from_fn(|result| self.results[result].load(Ordering::Relaxed))
    }

    /// The tokens that were found in the cache.
    pub fn hits(&self) -> EnumMap<IntrospectionCache, u64> {
        EnumMap::from_fn(|how| self.cached[how].load(Ordering::Relaxed))
    }
}
