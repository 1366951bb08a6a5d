//! All metrics of the process.

use super::load::ConfigMetrics;
use super::meter::Meter;
use super::registrar::{Registrar, raise_to, to_i64};
use super::snapshot::MetricsSnapshot;
use super::store::StoreMetrics;
use crate::config::RestartRequired;
use crate::model::{Operation, Rule};
use crate::telemetry::{
    CacheEvent, CacheStatus, Decision, DisconnectReason, Label, MemoryKind, ReloadResult, Shed, StoreOperation,
};
use parking_lot::Mutex;
use prometheus::{Encoder, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder};
use std::collections::HashMap;
use std::sync::Arc;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// By upstream name.
    pub(super) meters: Mutex<HashMap<String, Arc<Meter>>>,
    load: ConfigMetrics,
    pub(super) requests: IntCounterVec,
    pub(super) durations: HistogramVec,
    pub(super) violations: IntCounterVec,
    pub(super) rejections: IntCounterVec,
    connections: IntGauge,
    connections_accepted: IntCounter,
    disconnects: IntCounterVec,
    /// Requests in flight.
    pub in_flight: IntGauge,
    pub(super) fetches: IntCounterVec,
    pub(super) upstream_connections: IntCounterVec,
    upstream_in_flight: IntGaugeVec,
    upstream_waits: IntCounterVec,
    cache_bytes: IntGauge,
    cache_sessions: IntGauge,
    cache_evictions: IntCounter,
    cache_events: IntCounterVec,
    pub(super) purges: IntCounterVec,
    jwks_keys: IntGaugeVec,
    jwks_fetches: IntCounterVec,
    jwks_age: IntGaugeVec,
    token_checks: IntCounterVec,
    memory_limit: IntGauge,
    memory_budget: IntGauge,
    memory_held: IntGaugeVec,
    memory_shed: IntCounterVec,
    log_lines_dropped: IntCounter,
}

/// Counts an open connection, until this is dropped.
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Registers all metrics.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let registrar = Registrar(&registry);
        let request_labels = ["upstream", "operation", "decision", "cache"];
        let metrics = Metrics {
            meters: Mutex::default(),
            load: ConfigMetrics::new(&registrar)?,
            requests: registrar.counters(
                "sessiongate_requests_total",
                "Requests, by upstream, operation, decision, cache status and class of the response status.",
                &["upstream", "operation", "decision", "cache", "status"],
            )?,
            durations: registrar.durations(
                "sessiongate_request_duration_seconds",
                "Time from the request head to the end of the response.",
                &request_labels,
            )?,
            violations: registrar.counters(
                "sessiongate_violations_total",
                "Violations of policies, by upstream and rule; each rule once per request.",
                &["upstream", "rule"],
            )?,
            rejections: registrar.counters(
                "sessiongate_rejections_total",
                "Requests that the gateway rejected, by upstream and reason.",
                &["upstream", "reason"],
            )?,
            connections: registrar.gauge("sessiongate_open_connections", "Open client connections.")?,
            connections_accepted: registrar.counter("sessiongate_connections_total", "Client connections accepted.")?,
            disconnects: registrar.counters(
                "sessiongate_connections_cut_total",
                "Client connections, and requests on them, that the gateway ended, by reason.",
                &["reason"],
            )?,
            in_flight: registrar.gauge("sessiongate_requests_in_flight", "Requests in flight.")?,
            fetches: registrar.counters(
                "sessiongate_upstream_fetches_total",
                "Governed requests, and pass-through requests that invalidate, that were sent to the provider.",
                &["upstream", "status"],
            )?,
            upstream_connections: registrar.counters(
                "sessiongate_upstream_connections_total",
                "Provider connections used by pass-through requests, by upstream and whether they were reused.",
                &["upstream", "reused"],
            )?,
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
            purges: registrar.counters(
                "sessiongate_cache_purges_total",
                "Manual cache purges, by upstream and what was purged.",
                &["upstream", "purged"],
            )?,
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
            memory_limit: registrar.gauge("sessiongate_memory_limit_bytes", "Memory limit of the process.")?,
            memory_budget: registrar.gauge("sessiongate_memory_budget_bytes", "Memory budget for clients.")?,
            memory_held: registrar.gauges(
                "sessiongate_memory_held_bytes",
                "Memory held for clients, by kind.",
                &["kind"],
            )?,
            memory_shed: registrar.counters(
                "sessiongate_memory_shed_total",
                "Work shed because memory was low, by kind.",
                &["shed"],
            )?,
            log_lines_dropped: registrar.counter(
                "sessiongate_log_lines_dropped_total",
                "Log lines dropped because the log was not read fast enough.",
            )?,
            registry: registry.clone(),
        };
        registrar
            .gauges("sessiongate_build_info", "Version of the running process.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Registers the metrics of a store too.
    pub fn register_store(&self, store: &StoreMetrics) -> Result<(), prometheus::Error> {
        store.register(&self.registry)
    }

    /// Counts an accepted connection, and counts it as open until the result is dropped.
    pub fn connection(&self) -> OpenConnection {
        self.connections_accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Open client connections.
    pub fn open_connections(&self) -> i64 {
        self.connections.get()
    }

    /// Counts a client connection, or a request on it, that the gateway ended.
    pub fn disconnected(&self, reason: DisconnectReason) {
        self.disconnects.with_label_values(&[reason.name()]).inc();
    }

    /// Counts a reload.
    pub fn reload(&self, result: ReloadResult) {
        self.load.reload(result);
    }

    /// The configuration with this SHA-256 hash is active, and was read last; these changes need a restart.
    pub fn activate(&self, hash: &str, waiting: &[RestartRequired]) {
        self.load.activate(hash);
        self.load.set_restart_required(waiting);
    }

    /// The configuration that was read last was rejected.
    pub fn reject(&self) {
        self.load.reject();
    }

    /// All metrics in the Prometheus text format.
    pub fn text(&self, reading: &MetricsSnapshot) -> Result<Vec<u8>, prometheus::Error> {
        let (bytes, sessions, evictions) = reading.cache;
        self.cache_bytes.set(to_i64(bytes as u64));
        self.cache_sessions.set(to_i64(sessions as u64));
        raise_to(&self.cache_evictions, evictions);
        for (event, count) in &reading.cache_events {
            raise_to(&self.cache_events.with_label_values(&[event]), *count);
        }
        raise_to(&self.log_lines_dropped, reading.log_lines_dropped);
        self.memory_limit.set(to_i64(reading.memory.limit as u64));
        self.memory_budget.set(to_i64(reading.memory.budget as u64));
        for (kind, bytes) in &reading.memory.reserved {
            self.memory_held.with_label_values(&[kind]).set(to_i64(*bytes as u64));
        }
        for (shed, count) in &reading.memory.shed {
            raise_to(&self.memory_shed.with_label_values(&[shed]), *count);
        }
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
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Every value of the closed labels, for the documentation and its test.
    pub fn closed_labels() -> [(&'static str, Vec<&'static str>); 10] {
        [
            ("cut", DisconnectReason::names()),
            ("operation", Operation::names()),
            ("decision", Decision::names()),
            ("cache", CacheStatus::names()),
            ("rule", Rule::names()),
            ("event", CacheEvent::names()),
            ("step", StoreOperation::names()),
            ("kind", MemoryKind::names()),
            ("shed", Shed::names()),
            ("option", RestartRequired::names()),
        ]
    }
}
