//! Metrics whose values are read from the components when metrics are scraped.

use super::registrar::{Registrar, raise_to, to_i64};
use super::snapshot::{IntrospectionReading, IssuerReading, MetricsSnapshot, QuotaReading, SlotReading};
use super::table;
use crate::memory::MemoryReading;
use crate::telemetry::{KeyFetch, Label, TokenCheck};
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Metrics that a scrape updates from a [`MetricsSnapshot`].
pub(super) struct SnapshotMetrics {
    memory: MemoryMetrics,
    upstreams: UpstreamMetrics,
    cache_bytes: IntGauge,
    cache_sessions: IntGauge,
    cache_evictions: IntCounter,
    cache_events: IntCounterVec,
    issuers: IssuerMetrics,
    introspections: IntrospectionMetrics,
    log_lines_dropped: IntCounter,
}

impl SnapshotMetrics {
    pub fn new(registrar: &Registrar) -> Result<SnapshotMetrics, prometheus::Error> {
        Ok(SnapshotMetrics {
            memory: MemoryMetrics::new(registrar)?,
            upstreams: UpstreamMetrics::new(registrar)?,
            cache_bytes: registrar.add(&table::CACHE_BYTES)?,
            cache_sessions: registrar.add(&table::CACHE_SESSIONS)?,
            cache_evictions: registrar.add(&table::CACHE_EVICTIONS)?,
            cache_events: registrar.add(&table::CACHE_EVENTS)?,
            issuers: IssuerMetrics::new(registrar)?,
            introspections: IntrospectionMetrics::new(registrar)?,
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
        self.upstreams.update(&reading.slots, &reading.quotas);
        self.issuers.update(&reading.issuers);
        self.introspections.update(&reading.introspections);
    }
}

/// Metrics of providers. An update removes upstreams that are no longer configured from the gauges.
struct UpstreamMetrics {
    in_flight: IntGaugeVec,
    limit: IntGaugeVec,
    waits: IntCounterVec,
    quota_limit: IntGaugeVec,
    quota_remaining: IntGaugeVec,
    quota_age: IntGaugeVec,
}

impl UpstreamMetrics {
    fn new(registrar: &Registrar) -> Result<UpstreamMetrics, prometheus::Error> {
        Ok(UpstreamMetrics {
            in_flight: registrar.add(&table::UPSTREAM_IN_FLIGHT)?,
            limit: registrar.add(&table::UPSTREAM_REQUESTS_LIMIT)?,
            waits: registrar.add(&table::UPSTREAM_WAITS)?,
            quota_limit: registrar.add(&table::UPSTREAM_QUOTA_LIMIT)?,
            quota_remaining: registrar.add(&table::UPSTREAM_QUOTA_REMAINING)?,
            quota_age: registrar.add(&table::UPSTREAM_QUOTA_AGE)?,
        })
    }

    fn update(&self, slots: &[(String, SlotReading)], quotas: &[(String, QuotaReading)]) {
        self.in_flight.reset();
        self.limit.reset();
        for (name, slots) in slots {
            self.in_flight.with_label_values(&[name]).set(to_i64(slots.in_flight as u64));
            self.limit.with_label_values(&[name]).set(to_i64(slots.limit as u64));
            raise_to(&self.waits.with_label_values(&[name]), slots.waited);
        }
        self.quota_limit.reset();
        self.quota_remaining.reset();
        self.quota_age.reset();
        for (name, QuotaReading { quota, age }) in quotas {
            for (gauge, value) in [(&self.quota_limit, quota.limit), (&self.quota_remaining, quota.remaining)] {
                if let Some(value) = value {
                    gauge.with_label_values(&[name]).set(to_i64(value));
                }
            }
            self.quota_age.with_label_values(&[name]).set(to_i64(age.as_secs()));
        }
    }
}

/// Metrics of issuers. An update removes those that are no longer configured from the gauges.
struct IssuerMetrics {
    keys: IntGaugeVec,
    age: IntGaugeVec,
    refresh: GaugeVec,
    max_stale: GaugeVec,
    mismatch: IntGaugeVec,
    fetches: IntCounterVec,
    token_checks: IntCounterVec,
}

impl IssuerMetrics {
    fn new(registrar: &Registrar) -> Result<IssuerMetrics, prometheus::Error> {
        Ok(IssuerMetrics {
            keys: registrar.add(&table::JWKS_KEYS)?,
            age: registrar.add(&table::JWKS_AGE)?,
            refresh: registrar.add(&table::JWKS_REFRESH_INTERVAL)?,
            max_stale: registrar.add(&table::JWKS_MAX_STALE)?,
            mismatch: registrar.add(&table::ISSUER_MISMATCH)?,
            fetches: registrar.add(&table::JWKS_FETCHES)?,
            token_checks: registrar.add(&table::TOKEN_CHECKS)?,
        })
    }

    fn update(&self, issuers: &[(String, IssuerReading)]) {
        self.keys.reset();
        self.age.reset();
        self.refresh.reset();
        self.max_stale.reset();
        self.mismatch.reset();
        for (name, issuer) in issuers {
            let name = name.as_str();
            self.keys.with_label_values(&[name]).set(to_i64(issuer.keys as u64));
            self.age.with_label_values(&[name]).set(issuer.age.map_or(-1, to_i64));
            self.refresh.with_label_values(&[name]).set(issuer.refresh.as_secs_f64());
            self.max_stale.with_label_values(&[name]).set(issuer.max_stale.as_secs_f64());
            if let Some(mismatch) = issuer.mismatch {
                self.mismatch.with_label_values(&[name]).set(i64::from(mismatch));
            }
            raise_to(&self.fetches.with_label_values(&[name, KeyFetch::Good.name()]), issuer.fetched);
            raise_to(&self.fetches.with_label_values(&[name, KeyFetch::Failed.name()]), issuer.failed);
            raise_to(&self.token_checks.with_label_values(&[name, TokenCheck::Verified.name()]), issuer.verified);
            raise_to(&self.token_checks.with_label_values(&[name, TokenCheck::Cached.name()]), issuer.cached);
        }
    }
}

/// Metrics of introspections.
struct IntrospectionMetrics {
    introspections: IntCounterVec,
    cached: IntCounterVec,
}

impl IntrospectionMetrics {
    fn new(registrar: &Registrar) -> Result<IntrospectionMetrics, prometheus::Error> {
        Ok(IntrospectionMetrics {
            introspections: registrar.add(&table::INTROSPECTIONS)?,
            cached: registrar.add(&table::INTROSPECTIONS_CACHED)?,
        })
    }

    fn update(&self, readings: &[(String, IntrospectionReading)]) {
        for (name, reading) in readings {
            for (result, count) in reading.results {
                raise_to(&self.introspections.with_label_values(&[name.as_str(), result.name()]), count);
            }
            for (result, count) in reading.cached {
                raise_to(&self.cached.with_label_values(&[name.as_str(), result.name()]), count);
            }
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
