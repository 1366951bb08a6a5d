//! Metrics of requests, by their outcome.

use super::registrar::Registrar;
use super::table;
use prometheus::{HistogramVec, IntCounterVec};

/// Metrics of requests.
pub(super) struct RequestMetrics {
    pub total: IntCounterVec,
    pub durations: HistogramVec,
    pub violations: IntCounterVec,
    pub edits: IntCounterVec,
    pub rejections: IntCounterVec,
    pub grants: IntCounterVec,
    pub rights: IntCounterVec,
    pub merged: IntCounterVec,
}

impl RequestMetrics {
    pub fn new(registrar: &Registrar) -> Result<RequestMetrics, prometheus::Error> {
        Ok(RequestMetrics {
            total: registrar.add(&table::REQUESTS)?,
            durations: registrar.add(&table::REQUEST_DURATION)?,
            violations: registrar.add(&table::VIOLATIONS)?,
            edits: registrar.add(&table::EDITS)?,
            rejections: registrar.add(&table::REJECTIONS)?,
            grants: registrar.add(&table::GRANTS)?,
            rights: registrar.add(&table::EXCLUSIVE_RIGHTS)?,
            merged: registrar.add(&table::MERGED)?,
        })
    }
}
