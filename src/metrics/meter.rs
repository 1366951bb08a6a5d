//! The metrics of one upstream.

use crate::model::Operation;
use crate::telemetry::{CacheStatus, Decision, Label, Reused, StatusClass};
use enum_map::{Enum, EnumMap};
use prometheus::{Histogram, IntCounter, IntCounterVec};
use std::sync::OnceLock;

/// The label of requests without an upstream.
pub(super) const NO_UPSTREAM: &str = "";

/// The labels of a request series, besides the upstream.
#[derive(Clone, Copy, Enum)]
pub(super) struct Series {
    pub operation: Operation,
    pub decision: Decision,
    pub cache: CacheStatus,
    pub status: StatusClass,
}

/// The metrics of one upstream.
pub(super) struct Meter {
    pub name: String,
    /// The request series in use, created on first use.
    pub series: Box<EnumMap<Series, OnceLock<(IntCounter, Histogram)>>>,
    /// Connections used by pass-through requests: new and reused.
    pub connections: Option<[IntCounter; 2]>,
}

impl Meter {
    pub fn new(upstream_connections: &IntCounterVec, name: &str) -> Meter {
        let connections = |reused: Reused| upstream_connections.with_label_values(&[name, reused.name()]);
        Meter {
            name: name.to_owned(),
            series: Box::default(),
            connections: (name != NO_UPSTREAM).then(|| [Reused::False, Reused::True].map(connections)),
        }
    }
}
