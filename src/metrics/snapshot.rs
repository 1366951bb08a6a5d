//! The values that are read when metrics are requested.

use crate::memory::MemoryReading;
use crate::model::Quota;
use crate::telemetry::{IntrospectionCache, IntrospectionResult};
use enum_map::EnumMap;
use std::time::Duration;

/// The values that are read when metrics are requested.
#[derive(Debug, Clone, Default)]
pub struct MetricsSnapshot {
    /// The cache: bytes, sessions, evictions since the start.
    pub cache: (usize, usize, u64),
    /// Cache events since the start, by name.
    pub cache_events: Vec<(&'static str, u64)>,
    /// By upstream name.
    pub slots: Vec<(String, SlotReading)>,
    /// By upstream name, if its provider has reported a limit.
    pub quotas: Vec<(String, QuotaReading)>,
    /// By upstream name.
    pub issuers: Vec<(String, IssuerReading)>,
    /// By upstream name, if it introspects tokens.
    pub introspections: Vec<(String, IntrospectionReading)>,
    /// The memory budget.
    pub memory: MemoryReading,
    /// Log lines dropped since the start.
    pub log_lines_dropped: u64,
}

/// The requests in flight at a provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotReading {
    /// How many there are.
    pub in_flight: usize,
    /// How many there may be.
    pub limit: usize,
    /// How many had to wait since the start.
    pub waited: u64,
}

/// A provider's limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuotaReading {
    /// What the provider last reported.
    pub quota: Quota,
    /// How long ago.
    pub age: Duration,
}

/// The introspections of an upstream since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct IntrospectionReading {
    /// By result.
    pub results: EnumMap<IntrospectionResult, u64>,
    /// Those that a cached result replaced.
    pub cached: EnumMap<IntrospectionCache, u64>,
}

/// The values of an issuer.
#[derive(Debug, Clone, Copy, Default)]
pub struct IssuerReading {
    /// Usable keys.
    pub keys: usize,
    /// Successful fetches.
    pub fetched: u64,
    /// Failed fetches.
    pub failed: u64,
    /// Seconds since the last successful fetch.
    pub age: Option<u64>,
    /// The interval between fetches.
    pub refresh: Duration,
    /// The age at which keys become invalid.
    pub max_stale: Duration,
    /// Whether its last discovery document names another issuer; `None` if none was fetched.
    pub mismatch: Option<bool>,
    /// Tokens verified by signature.
    pub verified: u64,
    /// Tokens found in the cache.
    pub cached: u64,
}
