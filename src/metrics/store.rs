//! Metrics of the shared store.

use super::registrar::Instrument;
use super::table;
use crate::telemetry::{Direction, Label, StoreFailure, StoreObserver, StoreOperation, StoreRefusal};
use enum_map::EnumMap;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};
use std::time::Duration;

/// The metrics of a shared store.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    durations: HistogramVec,
    /// By operation, so that no lookup by name is needed.
    by_operation: EnumMap<StoreOperation, Histogram>,
    errors: IntCounterVec,
    connections: IntGauge,
    disconnects: IntCounter,
    connect_failures: IntCounterVec,
    bytes: IntCounterVec,
    read: IntCounter,
    written: IntCounter,
}

impl StoreMetrics {
    /// The metrics of a store. They are exported once [`super::Metrics::register_store`] has them.
    pub fn new() -> Result<StoreMetrics, prometheus::Error> {
        let bytes = IntCounterVec::declared(&table::STORE_BYTES)?;
        let durations = HistogramVec::declared(&table::STORE_DURATION)?;
        Ok(StoreMetrics {
            by_operation: EnumMap::from_fn(|step: StoreOperation| durations.with_label_values(&[step.name()])),
            durations,
            errors: Instrument::declared(&table::STORE_ERRORS)?,
            connections: Instrument::declared(&table::STORE_CONNECTIONS)?,
            disconnects: Instrument::declared(&table::STORE_DISCONNECTS)?,
            connect_failures: Instrument::declared(&table::STORE_CONNECT_FAILURES)?,
            read: bytes.with_label_values(&[Direction::Read.name()]),
            written: bytes.with_label_values(&[Direction::Written.name()]),
            bytes,
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let one = |metric: Box<dyn Collector>| registry.register(metric);
        one(Box::new(self.durations.clone()))?;
        one(Box::new(self.errors.clone()))?;
        one(Box::new(self.connections.clone()))?;
        one(Box::new(self.disconnects.clone()))?;
        one(Box::new(self.connect_failures.clone()))?;
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

    fn connect_failed(&self, refusal: StoreRefusal) {
        self.connect_failures.with_label_values(&[refusal.name()]).inc();
    }

    fn read(&self, bytes: usize) {
        self.read.inc_by(bytes as u64);
    }

    fn written(&self, bytes: usize) {
        self.written.inc_by(bytes as u64);
    }
}
