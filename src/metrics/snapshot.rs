//! The values that are read when metrics are requested.

use crate::memory::MemoryReading;

/// The values that are read when metrics are requested.
#[derive(Debug, Clone, Default)]
pub struct MetricsSnapshot {
    /// The cache: bytes, sessions, evictions since the start.
    pub cache: (usize, usize, u64),
    /// Cache events since the start, by name.
    pub cache_events: Vec<(&'static str, u64)>,
    /// By upstream name: requests in flight at the provider, and how many had to wait since the start.
    pub slots: Vec<(String, (usize, u64))>,
    /// By upstream name.
    pub issuers: Vec<(String, IssuerReading)>,
    /// The memory budget.
    pub memory: MemoryReading,
    /// Log lines dropped since the start.
    pub log_lines_dropped: u64,
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
    /// Tokens verified by signature.
    pub verified: u64,
    /// Tokens found in the cache.
    pub cached: u64,
}
