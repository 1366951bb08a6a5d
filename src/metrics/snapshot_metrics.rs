//! Metrics whose values are read from the components when metrics are scraped.

use super::registrar::{Registrar, raise_to, to_i64};
use super::snapshot::MetricsSnapshot;
use crate::memory::MemoryReading;
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
            upstream_in_flight: registrar.gauges(
                "sessiongate_upstream_requests_in_flight",
                "Requests in flight at the provider, including those whose client has left.",
                &["upstream"],
            )?,
            upstream_waits: registrar.counters(
                "sessiongate_upstream_waits_total",
                "Requests that waited for a slot at the provider.",
                &["upstream"],
            )?,
            cache_bytes: registrar.gauge("sessiongate_cache_bytes", "Memory used by the cache.")?,
            cache_sessions: registrar.gauge("sessiongate_cache_sessions", "Sessions in the cache.")?,
            cache_evictions: registrar
                .counter("sessiongate_cache_evictions_total", "Sessions evicted to make room.")?,
            cache_events: registrar.counters(
                "sessiongate_cache_events_total",
                "Cache events other than hits and misses, by event.",
                &["event"],
            )?,
            jwks_keys: registrar.gauges(
                "sessiongate_jwks_keys",
                "Usable signing keys of the issuer.",
                &["upstream"],
            )?,
            jwks_fetches: registrar.counters(
                "sessiongate_jwks_fetches_total",
                "Fetches of the issuer's signing keys, by upstream and result.",
                &["upstream", "result"],
            )?,
            jwks_age: registrar.gauges(
                "sessiongate_jwks_age_seconds",
                "Time since the last successful fetch of the issuer's keys; -1 if there was none.",
                &["upstream"],
            )?,
            token_checks: registrar.counters(
                "sessiongate_token_checks_total",
                "Valid tokens, by whether the signature was verified or the result was cached.",
                &["upstream", "result"],
            )?,
            log_lines_dropped: registrar.counter(
                "sessiongate_log_lines_dropped_total",
                "Log lines dropped because the log was not read fast enough.",
            )?,
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
            raise_to(&self.jwks_fetches.with_label_values(&[name, "good"]), issuer.fetched);
            raise_to(&self.jwks_fetches.with_label_values(&[name, "failed"]), issuer.failed);
            raise_to(&self.token_checks.with_label_values(&[name, "verified"]), issuer.verified);
            raise_to(&self.token_checks.with_label_values(&[name, "cached"]), issuer.cached);
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
            limit: registrar.gauge("sessiongate_memory_limit_bytes", "Memory limit of the process.")?,
            budget: registrar.gauge("sessiongate_memory_budget_bytes", "Memory budget for clients.")?,
            held: registrar.gauges("sessiongate_memory_held_bytes", "Memory held for clients, by kind.", &["kind"])?,
            shed: registrar.counters(
                "sessiongate_memory_shed_total",
                "Work shed because memory was low, by kind.",
                &["shed"],
            )?,
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
