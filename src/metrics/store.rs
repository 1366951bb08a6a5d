//! Metrics of the shared store.

use crate::telemetry::{Label, StoreFailure, StoreObserver, StoreOperation};
use enum_map::EnumMap;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::time::Duration;

/// Buckets of the store's response times, in seconds: a nearby server takes a tenth of a millisecond.
const BUCKETS: [f64; 10] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25];

/// The metrics of a shared store.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    durations: HistogramVec,
    /// By operation, so that no lookup by name is needed.
    by_operation: EnumMap<StoreOperation, Histogram>,
    errors: IntCounterVec,
    connections: IntGauge,
    disconnects: IntCounter,
    bytes: IntCounterVec,
    read: IntCounter,
    written: IntCounter,
}

impl StoreMetrics {
    /// The metrics of a store. They are exported once [`super::Metrics::register_store`] has them.
    pub fn new() -> Result<StoreMetrics, prometheus::Error> {
        let bytes = IntCounterVec::new(
            Opts::new("sessiongate_store_bytes_total", "Bytes of cache entries read from and written to the store."),
            &["direction"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "sessiongate_store_duration_seconds",
                "Duration of store operations, including failed ones.",
            )
            .buckets(BUCKETS.to_vec()),
            &["step"],
        )?;
        Ok(StoreMetrics {
            by_operation: EnumMap::from_fn(|step: StoreOperation| durations.with_label_values(&[step.name()])),
            durations,
            errors: IntCounterVec::new(
                Opts::new("sessiongate_store_errors_total", "Failed store operations, by operation and reason."),
                &["step", "reason"],
            )?,
            connections: IntGauge::new("sessiongate_store_connections", "Open connections to the store's servers.")?,
            disconnects: IntCounter::new(
                "sessiongate_store_disconnects_total",
                "Connections to the store's servers that were closed or lost.",
            )?,
            read: bytes.with_label_values(&["read"]),
            written: bytes.with_label_values(&["written"]),
            bytes,
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let one = |metric: Box<dyn Collector>| registry.register(metric);
        one(Box::new(self.durations.clone()))?;
        one(Box::new(self.errors.clone()))?;
        one(Box::new(self.connections.clone()))?;
        one(Box::new(self.disconnects.clone()))?;
        one(Box::new(self.bytes.clone()))
    }
}

impl StoreObserver for StoreMetrics {
    fn step(&self, step: StoreOperation, took: Duration, failure: Option<StoreFailure>) {
        self.by_operation[step].observe(took.as_secs_f64());
        if let Some(failure) = failure {
            self.errors.with_label_values(&[step.name(), failure.name()]).inc();
        }
    }

    fn connected(&self) {
        self.connections.inc();
    }

    fn disconnected(&self) {
        self.connections.dec();
        self.disconnects.inc();
    }

    fn read(&self, bytes: usize) {
        self.read.inc_by(bytes as u64);
    }

    fn written(&self, bytes: usize) {
        self.written.inc_by(bytes as u64);
    }
}
