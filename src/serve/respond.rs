//! Serving a governed request within its caller's deadline.

use super::service::{ClientRequest, NotServed, ProviderClient, Served, Service};
use crate::gateway::{DecodedRequest, Evaluated};
use crate::model::Rejection;
use crate::telemetry::Decision;
use std::sync::Arc;
use std::time::Duration;

impl<P: ProviderClient> Service<P> {
    /// Serves a request before its caller's own deadline.
    pub async fn respond<C: ClientRequest>(
        self: &Arc<Self>,
        client: &mut C,
        request: Box<DecodedRequest>,
    ) -> Result<Served, NotServed<C::Gone>> {
        let outcome = client.outcome();
        outcome.session = request.session_hash();
        outcome.decision = Decision::Responded;
        let limit = request.carrier().deadline(client.headers());
        let left = limit.map(|limit| limit.saturating_sub(client.started().elapsed()));
        if let Some((limit, Duration::ZERO)) = limit.zip(left) {
            return Err(Rejection::UpstreamTimeout(limit).into());
        }
        let served = match limit.zip(left) {
            // Boxed, so that the future of a request without a deadline is built in place.
            Some((limit, left)) => tokio::time::timeout(left, Box::pin(self.serve(client, request)))
                .await
                .map_err(|_| Rejection::UpstreamTimeout(limit))??,
            None => self.serve(client, request).await?,
        };
        client.outcome().cache = served.source.status();
        Ok(served)
    }

    async fn serve<C: ClientRequest>(
        self: &Arc<Self>,
        client: &mut C,
        request: Box<DecodedRequest>,
    ) -> Result<Served, NotServed<C::Gone>> {
        if request.reads() {
            let Evaluated { findings, result } = request.read(&self.gateway);
            client.outcome().findings = findings;
            return self.read(client, result?).await;
        }
        // Boxed, so that the future of a cache hit stays small.
        Box::pin(self.write(client, request)).await
    }
}
