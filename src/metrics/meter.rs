//! The metrics of one upstream.

use crate::model::Operation;
use crate::telemetry::{CacheStatus, Decision, Label, Reused, StatusClass};
use enum_map::{Enum, EnumMap};
use parking_lot::RwLock;
use prometheus::{Histogram, IntCounter, IntCounterVec};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

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

/// The labels of a series of requests to the provider, besides the upstream.
#[derive(Clone, Copy, Enum)]
pub(super) struct ExchangeSeries {
    pub operation: Operation,
    pub status: StatusClass,
    pub failed: bool,
}

/// The series of the requests under one grant.
pub(super) type GrantSeries = EnumMap<Decision, OnceLock<IntCounter>>;

/// The metrics of one upstream.
pub(super) struct Meter {
    pub name: String,
    /// The request series in use, created on first use.
    pub series: Box<EnumMap<Series, OnceLock<(IntCounter, Histogram)>>>,
    /// The same for requests to the provider: the time, and the count of fetches.
    pub exchanges: Box<EnumMap<ExchangeSeries, OnceLock<(Histogram, IntCounter)>>>,
    /// The series of requests by grant, created on first use.
    pub grants: RwLock<HashMap<Arc<str>, Arc<GrantSeries>>>,
    /// Connections used by pass-through requests: new and reused.
    pub connections: Option<[IntCounter; 2]>,
}

impl Meter {
    pub fn new(upstream_connections: &IntCounterVec, name: &str) -> Meter {
        let connections = |reused: Reused| upstream_connections.with_label_values(&[name, reused.name()]);
        Meter {
            name: name.to_owned(),
            series: Box::default(),
            exchanges: Box::default(),
            grants: RwLock::default(),
            connections: (name != NO_UPSTREAM).then(|| [Reused::False, Reused::True].map(connections)),
        }
    }

    /// The series of requests under this grant.
    pub fn grant(&self, name: &Arc<str>) -> Arc<GrantSeries> {
        if let Some(series) = self.grants.read().get(name) {
            return series.clone();
        }
        self.grants.write().entry(name.clone()).or_default().clone()
    }
}
