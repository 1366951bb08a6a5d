//! Metrics by upstream. Upstreams are identified by name: the counters continue in a new configuration with the same
//! name, and remain without it, since counters never decrease.

use super::counted::Counted;
use super::labels::FETCH_FAILED;
use super::meter::{ExchangeSeries, Meter, NO_UPSTREAM, Series};
use super::process_metrics::Metrics;
use crate::gateway::{Outcome, UpstreamExchange, UpstreamResult};
use crate::model::Operation;
use crate::telemetry::{Label, Purged, StatusClass};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The metrics of the process, with the upstreams in the order of one configuration.
pub struct Meters {
    metrics: Arc<Metrics>,
    /// For requests without an upstream.
    none: Arc<Meter>,
    upstreams: Vec<Arc<Meter>>,
}

/// Gives access to the metrics that are not per upstream.
impl Deref for Meters {
    type Target = Metrics;

    fn deref(&self) -> &Metrics {
        &self.metrics
    }
}

impl Meters {
    /// Metrics for upstreams with these names, in the order of the configuration.
    pub fn new<'n>(metrics: Arc<Metrics>, names: impl Iterator<Item = &'n str>) -> Meters {
        let mut known = metrics.meters.lock();
        let mut meter = |name: &str| {
            known
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(Meter::new(&metrics.upstream_connections, name)))
                .clone()
        };
        let (none, upstreams) = (meter(NO_UPSTREAM), names.map(&mut meter).collect());
        drop(known);
        Meters { metrics, none, upstreams }
    }

    /// Counts a request as in flight until the result is dropped.
    pub fn begin_request(&self) -> Counted {
        Counted::new(&self.in_flight)
    }

    fn meter(&self, upstream: Option<usize>) -> &Meter {
        upstream.and_then(|index| self.upstreams.get(index)).unwrap_or(&self.none)
    }

    /// Counts a finished request.
    pub fn request(&self, outcome: &Outcome, status: u16, took: Duration) {
        let meter = self.meter(outcome.upstream);
        let find = || {
            let labels = [&*meter.name, outcome.operation.name(), outcome.decision.name(), outcome.cache.name()];
            let [upstream, operation, decision, cache] = labels;
            let status = StatusClass::of(status).name();
            let requests = self.requests.total.with_label_values(&[upstream, operation, decision, cache, status]);
            (requests, self.requests.durations.with_label_values(&labels))
        };
        // Cached: a lookup by labels costs more than counting.
        let Outcome { operation, decision, cache, .. } = *outcome;
        let series = Series { operation, decision, cache, status: StatusClass::of(status) };
        let (requests, durations) = meter.series[series].get_or_init(find);
        requests.inc();
        durations.observe(took.as_secs_f64());
        if let Some(grant) = &outcome.grant {
            let labels = [meter.name.as_str(), grant, decision.name()];
            let find = || self.requests.grants.with_label_values(&labels);
            meter.grant(grant)[decision].get_or_init(find).inc();
        }
        if let Some(findings) = &outcome.findings {
            let (name, mode) = (meter.name.as_str(), findings.mode.name());
            for rule in findings.violations.rules() {
                self.requests.violations.with_label_values(&[name, rule.name(), mode]).inc();
            }
            for (kind, count) in findings.edits.counts() {
                self.requests.edits.with_label_values(&[name, kind.name(), mode]).inc_by(count);
            }
            if findings.merged {
                self.requests.merged.with_label_values(&[name]).inc();
            }
        }
        if let Some(right) = &outcome.right {
            self.requests.rights.with_label_values(&[meter.name.as_str(), right.result.name()]).inc();
        }
        if let Some(reason) = outcome.rejection {
            self.requests.rejections.with_label_values(&[meter.name.as_str(), reason]).inc();
        }
    }

    /// Counts a request that was sent to the provider. `is_fetch` unless the gateway only streamed its response.
    pub fn exchange(&self, upstream: usize, operation: Operation, exchange: &UpstreamExchange, is_fetch: bool) {
        let meter = self.meter(Some(upstream));
        let failed = exchange.result == UpstreamResult::Failed;
        let status = exchange.result.status().map_or(StatusClass::None, |status| StatusClass::of(status.as_u16()));
        let find = || {
            let (name, outcome) = (meter.name.as_str(), if failed { FETCH_FAILED } else { status.name() });
            let durations = self.upstream_durations.with_label_values(&[name, operation.name(), outcome]);
            (durations, self.fetches.with_label_values(&[name, outcome]))
        };
        let (durations, fetches) = meter.exchanges[ExchangeSeries { operation, status, failed }].get_or_init(find);
        durations.observe(exchange.duration.as_secs_f64());
        if is_fetch {
            fetches.inc();
        }
    }

    /// Counts a purge by an operator: of a session, or of all sessions of an upstream.
    pub fn purge(&self, upstream: usize, session: bool) {
        let purged = if session { Purged::Session } else { Purged::Upstream };
        self.purges.with_label_values(&[self.meter(Some(upstream)).name.as_str(), purged.name()]).inc();
    }

    /// Counts a connection used by a pass-through request.
    pub fn upstream_connection(&self, upstream: usize, reused: bool) {
        if let Some([new, old]) = &self.meter(Some(upstream)).connections {
            if reused { old.inc() } else { new.inc() }
        }
    }
}
