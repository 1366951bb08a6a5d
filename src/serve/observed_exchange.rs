//! Counts requests to the provider in the metrics.

use crate::gateway::Upstream;
use crate::metrics::Meters;
use crate::model::Operation;
use crate::provider::ExchangeRecord;
use std::sync::Arc;

/// A request to the provider. When this is dropped, the request has ended, or its client has left, and it is counted in
/// the metrics as its record shows it. A request that was not sent is not counted.
pub struct ObservedExchange {
    metrics: Arc<Meters>,
    upstream: usize,
    operation: Operation,
    is_fetch: bool,
    record: ExchangeRecord,
}

impl ObservedExchange {
    /// A request whose response the gateway reads, at least its status.
    pub fn fetch(metrics: &Arc<Meters>, upstream: &Upstream, operation: Operation, record: &ExchangeRecord) -> Self {
        Self::new(metrics, upstream, operation, record, true)
    }

    /// A pass-through request whose response is only streamed.
    pub fn streamed(metrics: &Arc<Meters>, upstream: &Upstream, operation: Operation, record: &ExchangeRecord) -> Self {
        Self::new(metrics, upstream, operation, record, false)
    }

    fn new(
        metrics: &Arc<Meters>,
        upstream: &Upstream,
        operation: Operation,
        record: &ExchangeRecord,
        is_fetch: bool,
    ) -> Self {
        let (metrics, record) = (metrics.clone(), record.clone());
        ObservedExchange { metrics, upstream: upstream.index, operation, is_fetch, record }
    }

    /// The provider failed before the head of a response came.
    pub fn failed(self) {
        if !self.record.is_over() {
            self.record.failed();
        }
    }
}

impl Drop for ObservedExchange {
    fn drop(&mut self) {
        if let Some(exchange) = self.record.read() {
            self.metrics.exchange(self.upstream, self.operation, &exchange, self.is_fetch);
        }
    }
}
