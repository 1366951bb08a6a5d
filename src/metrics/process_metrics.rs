//! All metrics of the process.

use super::counted::Counted;
use super::load::ConfigMetrics;
use super::meter::Meter;
use super::process_collector::ProcessMetrics;
use super::registrar::{Registrar, to_i64};
use super::request_metrics::RequestMetrics;
use super::snapshot::MetricsSnapshot;
use super::snapshot_metrics::SnapshotMetrics;
use super::store::StoreMetrics;
use super::table;
use crate::config::RestartRequired;
use crate::telemetry::{DisconnectReason, Label, ReloadResult};
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
    snapshot: SnapshotMetrics,
    pub(super) requests: RequestMetrics,
    connections: IntGauge,
    connections_limit: IntGauge,
    connections_accepted: IntCounter,
    certificate_expiry: IntGaugeVec,
    disconnects: IntCounterVec,
    /// Requests in flight.
    pub in_flight: IntGauge,
    pub(super) upstream_durations: HistogramVec,
    pub(super) fetches: IntCounterVec,
    pub(super) upstream_connections: IntCounterVec,
    pub(super) purges: IntCounterVec,
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
        let metrics = Metrics {
            meters: Mutex::default(),
            load: ConfigMetrics::new(&registrar)?,
            snapshot: SnapshotMetrics::new(&registrar)?,
            requests: RequestMetrics::new(&registrar)?,
            connections: registrar.add(&table::OPEN_CONNECTIONS)?,
            connections_limit: registrar.add(&table::CONNECTIONS_LIMIT)?,
            connections_accepted: registrar.add(&table::CONNECTIONS)?,
            certificate_expiry: registrar.add(&table::CERTIFICATE_EXPIRY)?,
            disconnects: registrar.add(&table::DISCONNECTS)?,
            in_flight: registrar.add(&table::REQUESTS_IN_FLIGHT)?,
            upstream_durations: registrar.add(&table::UPSTREAM_DURATION)?,
            fetches: registrar.add(&table::UPSTREAM_FETCHES)?,
            upstream_connections: registrar.add(&table::UPSTREAM_CONNECTIONS)?,
            purges: registrar.add(&table::CACHE_PURGES)?,
            registry: registry.clone(),
        };
        let build_info: IntGaugeVec = registrar.add(&table::BUILD_INFO)?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(ProcessMetrics::new()))?;
        Ok(metrics)
    }

    /// Registers the metrics of a store too.
    pub fn register_store(&self, store: &StoreMetrics) -> Result<(), prometheus::Error> {
        store.register(&self.registry)
    }

    /// Counts an accepted connection, and counts it as open until the result is dropped.
    pub fn connection(&self) -> Counted {
        self.connections_accepted.inc();
        Counted::new(&self.connections)
    }

    /// Sets how many client connections may be open.
    pub fn set_connections_limit(&self, limit: usize) {
        self.connections_limit.set(to_i64(limit as u64));
    }

    /// Sets when the certificate of a listener expires, in seconds since the epoch; `None` if it has no TLS.
    pub fn set_certificate_expiry(&self, listener: &str, expiry: Option<i64>) {
        match expiry {
            Some(expiry) => self.certificate_expiry.with_label_values(&[listener]).set(expiry),
            // An error means that there is none.
            None => drop(self.certificate_expiry.remove_label_values(&[listener])),
        }
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
        self.snapshot.update(reading);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::METRICS;
    use prometheus::Opts;

    #[test]
    fn every_declared_metric_is_registered() {
        let metrics = Metrics::new().unwrap();
        metrics.register_store(&StoreMetrics::new().unwrap()).unwrap();
        for metric in METRICS {
            let again = IntGaugeVec::new(Opts::new(metric.name, metric.help), &metric.label_names()).unwrap();
            let registered = metrics.registry.register(Box::new(again));
            assert!(matches!(registered, Err(prometheus::Error::AlreadyReg)), "{} is not registered", metric.name);
        }
    }
}
