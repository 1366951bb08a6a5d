//! Releases leases under which no fetch started, so that no other read waits for them.

use super::{AcquireRequest, Acquisition, Sessions, Store, StoreError};
use crate::gateway::CacheKey;
use crate::telemetry::StoreFailure;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The lease that a read may hold in the store before it starts its fetch. It is released when the read ends, also if
/// the read is dropped while the store works, or if the store times out: it may still execute the step.
pub(super) struct LeaseGuard<'a> {
    store: &'a Arc<dyn Store>,
    key: CacheKey,
    /// The read's request to the store.
    pub request: AcquireRequest,
    leased: bool,
}

impl Sessions {
    /// A guard for a read that has not contacted the store yet.
    pub(super) fn lease_guard(&self, key: CacheKey, request: AcquireRequest) -> LeaseGuard<'_> {
        LeaseGuard { store: &self.store, key, request, leased: false }
    }
}

impl LeaseGuard<'_> {
    /// Sends the request to the store.
    pub async fn acquire(&mut self) -> Result<Acquisition, StoreError> {
        // Other reads never get a lease.
        self.leased = !self.request.fresh && !self.request.no_store;
        let found = self.store.acquire(&self.key, self.request).await;
        self.leased &= match &found {
            Ok(acquisition) => acquisition.leased,
            Err(StoreError::Failed(failure)) => *failure == StoreFailure::Timeout,
            Err(StoreError::TooManyWrites | StoreError::Partial(_)) => false,
        };
        found
    }

    /// Hands the lease to the fetch, which releases it itself.
    pub fn disarm(&mut self) {
        self.leased = false;
    }
}

impl Drop for LeaseGuard<'_> {
    fn drop(&mut self) {
        if !self.leased {
            return;
        }
        let (store, key, reader) = (self.store.clone(), self.key, self.request.reader);
        // Without a runtime the process is ending.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.release(&key, reader).await {
                    tracing::debug!(%error, "lease not released");
                }
            });
        }
    }
}
