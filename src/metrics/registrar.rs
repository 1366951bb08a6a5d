//! Creates metrics as they are declared, and sets their values.

use super::declaration::{Metric, MetricKind};
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// What a metric counts with. Without labels it is a single series, otherwise a vector of them.
pub(super) trait Instrument: Collector + Clone + Sized + 'static {
    /// Creates it as declared. Its type and whether it has labels must be those of the declaration.
    fn declared(metric: &Metric) -> Result<Self, prometheus::Error>;
}

impl Instrument for IntCounter {
    fn declared(metric: &Metric) -> Result<IntCounter, prometheus::Error> {
        IntCounter::with_opts(options(metric, MetricKind::Counter)?)
    }
}

impl Instrument for IntCounterVec {
    fn declared(metric: &Metric) -> Result<IntCounterVec, prometheus::Error> {
        IntCounterVec::new(options(metric, MetricKind::Counter)?, &metric.label_names())
    }
}

impl Instrument for IntGauge {
    fn declared(metric: &Metric) -> Result<IntGauge, prometheus::Error> {
        IntGauge::with_opts(options(metric, MetricKind::Gauge)?)
    }
}

impl Instrument for IntGaugeVec {
    fn declared(metric: &Metric) -> Result<IntGaugeVec, prometheus::Error> {
        IntGaugeVec::new(options(metric, MetricKind::Gauge)?, &metric.label_names())
    }
}

impl Instrument for GaugeVec {
    fn declared(metric: &Metric) -> Result<GaugeVec, prometheus::Error> {
        GaugeVec::new(options(metric, MetricKind::Gauge)?, &metric.label_names())
    }
}

impl Instrument for HistogramVec {
    fn declared(metric: &Metric) -> Result<HistogramVec, prometheus::Error> {
        let MetricKind::Histogram(buckets) = metric.kind else {
            return Err(mismatch(metric));
        };
        let options = HistogramOpts::new(metric.name, metric.help).buckets(buckets.to_vec());
        HistogramVec::new(options, &metric.label_names())
    }
}

/// The labels are in the options too, so that a single series of a metric with labels is an error.
fn options(metric: &Metric, kind: MetricKind) -> Result<Opts, prometheus::Error> {
    if metric.kind != kind {
        return Err(mismatch(metric));
    }
    let labels = metric.label_names().into_iter().map(str::to_owned).collect();
    Ok(Opts::new(metric.name, metric.help).variable_labels(labels))
}

fn mismatch(metric: &Metric) -> prometheus::Error {
    prometheus::Error::Msg(format!("{} is declared as a {}", metric.name, metric.kind.name()))
}

/// Creates metrics and registers them.
pub(super) struct Registrar<'a>(pub &'a Registry);

impl Registrar<'_> {
    pub fn add<I: Instrument>(&self, metric: &Metric) -> Result<I, prometheus::Error> {
        let instrument = I::declared(metric)?;
        self.0.register(Box::new(instrument.clone()))?;
        Ok(instrument)
    }
}

/// Raises a counter to a total that was counted elsewhere.
pub(super) fn raise_to(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

pub(super) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
