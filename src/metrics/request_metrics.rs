//! Metrics of requests, by their outcome.

use super::registrar::Registrar;
use prometheus::{HistogramVec, IntCounterVec};

/// Metrics of requests.
pub(super) struct RequestMetrics {
    pub total: IntCounterVec,
    pub durations: HistogramVec,
    pub violations: IntCounterVec,
    pub rejections: IntCounterVec,
}

impl RequestMetrics {
    pub fn new(registrar: &Registrar) -> Result<RequestMetrics, prometheus::Error> {
        let request_labels = ["upstream", "operation", "decision", "cache"];
        Ok(RequestMetrics {
            total: registrar.counters(
                "sessiongate_requests_total",
                "Requests, by upstream, operation, decision, cache status and class of the response status.",
                &["upstream", "operation", "decision", "cache", "status"],
            )?,
            durations: registrar.durations(
                "sessiongate_request_duration_seconds",
                "Time from the request head to the end of the response.",
                &request_labels,
            )?,
            violations: registrar.counters(
                "sessiongate_violations_total",
                "Violations of policies, by upstream and rule; each rule once per request.",
                &["upstream", "rule"],
            )?,
            rejections: registrar.counters(
                "sessiongate_rejections_total",
                "Requests that the gateway rejected, or that failed, by upstream and reason.",
                &["upstream", "reason"],
            )?,
        })
    }
}
