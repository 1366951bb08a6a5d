//! What is told of the cache and of its store.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::time::Duration;

/// The buckets of the store's answers, in seconds: a server nearby takes a tenth of a millisecond.
const BUCKETS: [f64; 10] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25];

/// What a cache does that an operator wants to know of. A closed set: it is also the `event` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A read left the cache out because a write was in flight.
    BypassMarked,
    /// A read left the cache out because the store failed.
    BypassFailed,
    /// A read left the cache out because too many waited.
    BypassWaiting,
    /// A read took over from a reader that did not finish.
    LeaseLost,
    /// An answer was there but may have outlived a mark that the store lost, and was fetched again.
    Fenced,
    /// An answer was there but could not be opened.
    Unreadable,
    /// An answer was older than an acknowledged write, and was not stored.
    TooOld,
    /// An answer that was no longer fresh was given while it was fetched again.
    StaleWhileRevalidate,
    /// An answer that was no longer fresh was given because the provider failed.
    StaleIfError,
    /// A write was forwarded although its mark could not be placed.
    Unmarked,
    /// A write was refused because its mark could not be placed.
    WriteRefused,
    /// A write was acknowledged although the store confirmed neither its mark nor its end.
    Unconfirmed,
    /// A write took longer than its mark stood, or the store lost the mark.
    MarkLost,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 13] = [
        Event::BypassMarked,
        Event::BypassFailed,
        Event::BypassWaiting,
        Event::LeaseLost,
        Event::Fenced,
        Event::Unreadable,
        Event::TooOld,
        Event::StaleWhileRevalidate,
        Event::StaleIfError,
        Event::Unmarked,
        Event::WriteRefused,
        Event::Unconfirmed,
        Event::MarkLost,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Event::BypassMarked => "bypass_marked",
            Event::BypassFailed => "bypass_failed",
            Event::BypassWaiting => "bypass_waiting",
            Event::LeaseLost => "lease_lost",
            Event::Fenced => "fenced",
            Event::Unreadable => "unreadable",
            Event::TooOld => "too_old",
            Event::StaleWhileRevalidate => "stale_while_revalidate",
            Event::StaleIfError => "stale_if_error",
            Event::Unmarked => "unmarked",
            Event::WriteRefused => "write_refused",
            Event::Unconfirmed => "unconfirmed",
            Event::MarkLost => "mark_lost",
        }
    }
}

/// How a store failed. A closed set: it is also the `reason` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// There is no connection.
    #[error("the store is not connected")]
    Disconnected,
    /// As many commands are under way as may be.
    #[error("too many commands are under way")]
    Busy,
    /// No answer came in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection to the store broke")]
    Broken,
    /// The server answered with an error.
    #[error("the store refused")]
    Refused,
    /// What it answered makes no sense.
    #[error("the store's answer makes no sense")]
    Nonsense,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Failure; 6] =
        [Failure::Disconnected, Failure::Busy, Failure::Timeout, Failure::Broken, Failure::Refused, Failure::Nonsense];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Disconnected => "disconnected",
            Failure::Busy => "busy",
            Failure::Timeout => "timeout",
            Failure::Broken => "broken",
            Failure::Refused => "refused",
            Failure::Nonsense => "nonsense",
        }
    }
}

/// A step that a store carries out. A closed set: it is also the `step` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A read begins.
    Acquire,
    /// An answer is stored.
    Fill,
    /// A lease ends.
    Release,
    /// A write is marked.
    Begin,
    /// A write is settled.
    End,
}

impl Step {
    /// Every step.
    pub const ALL: [Step; 5] = [Step::Acquire, Step::Fill, Step::Release, Step::Begin, Step::End];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Step::Acquire => "acquire",
            Step::Fill => "fill",
            Step::Release => "release",
            Step::Begin => "begin",
            Step::End => "end",
        }
    }
}

/// What is told of a store that is shared.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    durations: [Histogram; Step::ALL.len()],
    errors: IntCounterVec,
    connections: IntGauge,
    disconnects: IntCounter,
    bytes: IntCounterVec,
    read: IntCounter,
    written: IntCounter,
}

impl StoreMetrics {
    /// The metrics of a store. They are shown once [`super::Metrics::show`] has them.
    pub fn new() -> Result<StoreMetrics, prometheus::Error> {
        let bytes = IntCounterVec::new(
            Opts::new("sessiongate_store_bytes_total", "Bytes of entries that came from the store and went to it."),
            &["direction"],
        )?;
        let options = || {
            HistogramOpts::new("sessiongate_store_duration_seconds", "Time that a step of the store took, good or not.")
                .buckets(BUCKETS.to_vec())
        };
        let duration = |step: Step| Histogram::with_opts(options().const_label("step", step.name()));
        let [acquire, fill, release, begin, end] = Step::ALL.map(duration);
        Ok(StoreMetrics {
            durations: [acquire?, fill?, release?, begin?, end?],
            errors: IntCounterVec::new(
                Opts::new("sessiongate_store_errors_total", "Steps that the store did not carry out, by reason."),
                &["step", "reason"],
            )?,
            connections: IntGauge::new("sessiongate_store_connections", "Connections to servers of the store.")?,
            disconnects: IntCounter::new(
                "sessiongate_store_disconnects_total",
                "Connections to servers of the store that were given up or broke.",
            )?,
            read: bytes.with_label_values(&["read"]),
            written: bytes.with_label_values(&["written"]),
            bytes,
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let one = |metric: Box<dyn Collector>| registry.register(metric);
        for duration in &self.durations {
            one(Box::new(duration.clone()))?;
        }
        one(Box::new(self.errors.clone()))?;
        one(Box::new(self.connections.clone()))?;
        one(Box::new(self.disconnects.clone()))?;
        one(Box::new(self.bytes.clone()))
    }

    /// A step is over.
    pub fn step(&self, step: Step, took: Duration, failure: Option<Failure>) {
        if let Some(duration) = self.durations.get(step as usize) {
            duration.observe(took.as_secs_f64());
        }
        if let Some(failure) = failure {
            self.errors.with_label_values(&[step.name(), failure.name()]).inc();
        }
    }

    /// There is one more connection.
    pub fn connected(&self) {
        self.connections.inc();
    }

    /// There is one connection less.
    pub fn disconnected(&self) {
        self.connections.dec();
        self.disconnects.inc();
    }

    /// An entry came.
    pub fn read(&self, bytes: usize) {
        self.read.inc_by(bytes as u64);
    }

    /// An entry went.
    pub fn written(&self, bytes: usize) {
        self.written.inc_by(bytes as u64);
    }
}
