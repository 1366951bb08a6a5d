//! Metrics whose values are read from the components when metrics are scraped.

use super::registrar::{Registrar, raise_to, to_i64};
use super::snapshot::MetricsSnapshot;
use super::table;
use crate::memory::MemoryReading;
use crate::telemetry::{KeyFetch, Label, TokenCheck};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Metrics that a scrape updates from a [`MetricsSnapshot`].
pub(super) struct SnapshotMetrics {
    memory: MemoryMetrics,
    upstream_in_flight: IntGaugeVec,
    upstream_waits: IntCounterVec,
    cache_bytes: IntGauge,
    cache_sessions: IntGauge,
    cache_evictions: IntCounter,
    cache_events: IntCounterVec,
    jwks_keys: IntGaugeVec,
    jwks_fetches: IntCounterVec,
    jwks_age: IntGaugeVec,
    token_checks: IntCounterVec,
    log_lines_dropped: IntCounter,
}

impl SnapshotMetrics {
    pub fn new(registrar: &Registrar) -> Result<SnapshotMetrics, prometheus::Error> {
        Ok(SnapshotMetrics {
            memory: MemoryMetrics::new(registrar)?,
            upstream_in_flight: registrar.add(&table::UPSTREAM_IN_FLIGHT)?,
            upstream_waits: registrar.add(&table::UPSTREAM_WAITS)?,
            cache_bytes: registrar.add(&table::CACHE_BYTES)?,
            cache_sessions: registrar.add(&table::CACHE_SESSIONS)?,
            cache_evictions: registrar.add(&table::CACHE_EVICTIONS)?,
            cache_events: registrar.add(&table::CACHE_EVENTS)?,
            jwks_keys: registrar.add(&table::JWKS_KEYS)?,
            jwks_fetches: registrar.add(&table::JWKS_FETCHES)?,
            jwks_age: registrar.add(&table::JWKS_AGE)?,
            token_checks: registrar.add(&table::TOKEN_CHECKS)?,
            log_lines_dropped: registrar.add(&table::LOG_LINES_DROPPED)?,
        })
    }

    /// Sets all values.
    pub fn update(&self, reading: &MetricsSnapshot) {
        let (bytes, sessions, evictions) = reading.cache;
        self.cache_bytes.set(to_i64(bytes as u64));
        self.cache_sessions.set(to_i64(sessions as u64));
        raise_to(&self.cache_evictions, evictions);
        for (event, count) in &reading.cache_events {
            raise_to(&self.cache_events.with_label_values(&[event]), *count);
        }
        raise_to(&self.log_lines_dropped, reading.log_lines_dropped);
        self.memory.update(&reading.memory);
        // Removes upstreams that are no longer configured.
        self.upstream_in_flight.reset();
        for (name, (in_flight, waited)) in &reading.slots {
            self.upstream_in_flight.with_label_values(&[name]).set(to_i64(*in_flight as u64));
            raise_to(&self.upstream_waits.with_label_values(&[name]), *waited);
        }
        self.jwks_keys.reset();
        self.jwks_age.reset();
        for (name, issuer) in &reading.issuers {
            let name = name.as_str();
            self.jwks_keys.with_label_values(&[name]).set(to_i64(issuer.keys as u64));
            self.jwks_age.with_label_values(&[name]).set(issuer.age.map_or(-1, to_i64));
            raise_to(&self.jwks_fetches.with_label_values(&[name, KeyFetch::Good.name()]), issuer.fetched);
            raise_to(&self.jwks_fetches.with_label_values(&[name, KeyFetch::Failed.name()]), issuer.failed);
            raise_to(&self.token_checks.with_label_values(&[name, TokenCheck::Verified.name()]), issuer.verified);
            raise_to(&self.token_checks.with_label_values(&[name, TokenCheck::Cached.name()]), issuer.cached);
        }
    }
}

/// Metrics of the memory budget.
struct MemoryMetrics {
    limit: IntGauge,
    budget: IntGauge,
    held: IntGaugeVec,
    shed: IntCounterVec,
}

impl MemoryMetrics {
    fn new(registrar: &Registrar) -> Result<MemoryMetrics, prometheus::Error> {
        Ok(MemoryMetrics {
            limit: registrar.add(&table::MEMORY_LIMIT)?,
            budget: registrar.add(&table::MEMORY_BUDGET)?,
            held: registrar.add(&table::MEMORY_HELD)?,
            shed: registrar.add(&table::MEMORY_SHED)?,
        })
    }

    fn update(&self, reading: &MemoryReading) {
        self.limit.set(to_i64(reading.limit as u64));
        self.budget.set(to_i64(reading.budget as u64));
        for (kind, bytes) in &reading.reserved {
            self.held.with_label_values(&[kind]).set(to_i64(*bytes as u64));
        }
        for (shed, count) in &reading.shed {
            raise_to(&self.shed.with_label_values(&[shed]), *count);
        }
    }
}
