//! What is counted by upstream. An upstream is known by its name: its counters go on where a new configuration has it
//! too, and stay where it has not, since counters never fall.

use super::Metrics;
use crate::gateway::Outcome;
use crate::model::Operation;
use crate::telemetry::{CacheStatus, Decision, Label, StatusClass};
use enum_map::{Enum, EnumMap};
use prometheus::{Histogram, IntCounter, IntGauge};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The label of requests that are for no upstream.
const NO_UPSTREAM: &str = "";

/// The labels of a series of requests, beside its upstream.
#[derive(Clone, Copy, Enum)]
struct Series {
    operation: Operation,
    decision: Decision,
    cache: CacheStatus,
    status: StatusClass,
}

/// What is counted of one upstream.
pub(super) struct Meter {
    name: String,
    /// The series of requests that were needed so far.
    series: Box<EnumMap<Series, OnceLock<(IntCounter, Histogram)>>>,
    /// Connections of pass-through requests: new and reused.
    connections: Option<[IntCounter; 2]>,
}

impl Meter {
    fn new(metrics: &Metrics, name: &str) -> Meter {
        let connections = |reused| metrics.upstream_connections.with_label_values(&[name, reused]);
        Meter {
            name: name.to_owned(),
            series: Box::default(),
            connections: (name != NO_UPSTREAM).then(|| ["false", "true"].map(connections)),
        }
    }
}

/// A request that counts as in flight until this is dropped.
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The metrics of a process, with its upstreams as one configuration numbers them.
pub struct Meters {
    metrics: Arc<Metrics>,
    /// For requests that are for no upstream.
    none: Arc<Meter>,
    upstreams: Vec<Arc<Meter>>,
}

/// Everything that is not counted by upstream.
impl Deref for Meters {
    type Target = Metrics;

    fn deref(&self) -> &Metrics {
        &self.metrics
    }
}

impl Meters {
    /// Metrics with upstreams of these names, in their order in the configuration.
    pub fn new<'n>(metrics: Arc<Metrics>, names: impl Iterator<Item = &'n str>) -> Meters {
        let mut known = metrics.meters.lock();
        let mut meter =
            |name: &str| known.entry(name.to_owned()).or_insert_with(|| Arc::new(Meter::new(&metrics, name))).clone();
        let (none, upstreams) = (meter(NO_UPSTREAM), names.map(&mut meter).collect());
        drop(known);
        Meters { metrics, none, upstreams }
    }

    /// A request begins.
    pub fn begin_request(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    fn meter(&self, upstream: Option<usize>) -> &Meter {
        upstream.and_then(|index| self.upstreams.get(index)).unwrap_or(&self.none)
    }

    /// A request is over.
    pub fn request(&self, outcome: &Outcome, status: u16, took: Duration) {
        let meter = self.meter(outcome.upstream);
        let find = || {
            let labels = [&*meter.name, outcome.operation.name(), outcome.decision.name(), outcome.cache.name()];
            let [upstream, operation, decision, cache] = labels;
            let status = StatusClass::of(status).name();
            let requests = self.requests.with_label_values(&[upstream, operation, decision, cache, status]);
            (requests, self.durations.with_label_values(&labels))
        };
        // Looking the same series up by their labels for every request costs more than counting.
        let Outcome { operation, decision, cache, .. } = *outcome;
        let series = Series { operation, decision, cache, status: StatusClass::of(status) };
        let (requests, durations) = meter.series[series].get_or_init(find);
        requests.inc();
        durations.observe(took.as_secs_f64());
        for rule in &outcome.rules {
            self.violations.with_label_values(&[meter.name.as_str(), rule.name()]).inc();
        }
        if let Some(reason) = outcome.rejection {
            self.rejections.with_label_values(&[meter.name.as_str(), reason]).inc();
        }
    }

    /// A governed request was sent to the provider; `None` where it brought no response.
    pub fn fetch(&self, upstream: usize, status: Option<u16>) {
        let class = status.map_or("failed", |status| StatusClass::of(status).name());
        self.fetches.with_label_values(&[self.meter(Some(upstream)).name.as_str(), class]).inc();
    }

    /// Something was purged from the cache by hand: a session, or all sessions of an upstream.
    pub fn purge(&self, upstream: usize, session: bool) {
        let purged = if session { "session" } else { "upstream" };
        self.purges.with_label_values(&[self.meter(Some(upstream)).name.as_str(), purged]).inc();
    }

    /// A pass-through request uses a connection to the provider.
    pub fn upstream_connection(&self, upstream: usize, reused: bool) {
        if let Some([new, old]) = &self.meter(Some(upstream)).connections {
            if reused { old.inc() } else { new.inc() }
        }
    }
}
