//! How a metric is declared: what it is called and what it means, for registration and for the reference documentation.

use crate::telemetry::LabelValue;

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// The name of the family.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The labels, in the order of their values where the metric counts.
    pub labels: &'static [&'static MetricLabel],
    /// The help text: plain text, because a scrape shows it.
    pub help: &'static str,
    /// What the documentation says in addition, in Markdown.
    pub note: &'static str,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Never decreases while the process runs.
    Counter,
    /// A current value.
    Gauge,
    /// A distribution over buckets with these upper bounds.
    Histogram(&'static [f64]),
}

impl MetricKind {
    /// The name in the text format.
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        }
    }
}

/// A label.
#[derive(Debug)]
pub struct MetricLabel {
    /// The name.
    pub name: &'static str,
    /// What its values say.
    pub meaning: &'static str,
    /// Its values.
    pub values: LabelValues,
}

/// The values of a label. None comes from a client.
#[derive(Debug)]
pub enum LabelValues {
    /// The values of a closed set.
    Closed(fn() -> Vec<LabelValue>),
    /// Values that the configuration or the build determines.
    Open,
}

impl Metric {
    /// The names of the labels.
    pub fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }

    /// The same metric with a note for the documentation.
    pub(super) const fn note(self, note: &'static str) -> Metric {
        Metric { note, ..self }
    }
}

type Labels = &'static [&'static MetricLabel];

pub(super) const fn counter(name: &'static str, labels: Labels, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, labels, help, note: "" }
}

pub(super) const fn gauge(name: &'static str, labels: Labels, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, help, note: "" }
}

pub(super) const fn histogram(
    name: &'static str,
    labels: Labels,
    buckets: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram(buckets), labels, help, note: "" }
}
