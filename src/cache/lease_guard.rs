//! Leases that nobody fetches under: given back, so that nobody waits for them.

use super::{AcquireRequest, Acquisition, Sessions, Store, StoreError};
use crate::gateway::CacheKey;
use crate::telemetry::StoreFailure;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What a read may have in the store: the lease of a fetch that it has not begun. It is given back when the read is
/// over, also where the read is given up while the store is asked, and where the store is too slow to say: it may carry
/// the step out all the same.
pub(super) struct LeaseGuard<'a> {
    store: &'a Arc<dyn Store>,
    key: CacheKey,
    /// Who asks, and for what.
    pub request: AcquireRequest,
    leased: bool,
}

impl Sessions {
    /// What a read has in the store before it has asked.
    pub(super) fn lease_guard(&self, key: CacheKey, request: AcquireRequest) -> LeaseGuard<'_> {
        LeaseGuard { store: &self.store, key, request, leased: false }
    }
}

impl LeaseGuard<'_> {
    /// Asks the store.
    pub async fn acquire(&mut self) -> Result<Acquisition, StoreError> {
        // Only a read that would be given a lease has one to give back.
        self.leased = !self.request.fresh && !self.request.unstored;
        let found = self.store.acquire(&self.key, self.request).await;
        self.leased &= match &found {
            Ok(acquisition) => acquisition.leased,
            Err(StoreError::Failed(failure)) => *failure == StoreFailure::Timeout,
            Err(StoreError::TooManyWrites | StoreError::Partial(_)) => false,
        };
        found
    }

    /// The fetch begins, and gives the lease back itself.
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
        // Where the process ends there is nothing to run it on.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.release(&key, reader).await {
                    tracing::debug!(%error, "a lease was not given back");
                }
            });
        }
    }
}
