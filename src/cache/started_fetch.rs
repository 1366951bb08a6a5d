//! The effect of a fetched response on the store: it is stored, invalidates what is stored, or has no effect.

use super::fetched::{FetchedResponse, ReadOptions};
use super::{CacheCounters, FillResult, Sessions, Store, StoreError, Stored};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{Entry, Micros, Observed, RetireCause, Retired, Stamp, Token};
use crate::gateway::{CacheKey, Cacheability};
use crate::telemetry::CacheEvent;
use std::sync::Arc;

/// A fetch that has started.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartedFetch {
    pub key: CacheKey,
    pub stamp: Stamp,
    pub connection_id: ConnectionId,
    /// When it started, by the store's clock.
    pub began: Micros,
    pub reader: Token,
    pub read_options: ReadOptions,
}

impl StartedFetch {
    /// Applies the response to the store. Returns the response for those who wait for it.
    pub async fn apply(self, store: &dyn Store, counters: &CacheCounters, fetched: FetchedResponse) -> FetchedResponse {
        let StartedFetch { key, began, reader, read_options, .. } = self;
        if let Cacheability::TooOld { .. } = fetched.storable {
            counters.count(CacheEvent::TooOld);
        }
        let retired = || retired(&fetched, read_options, began);
        let kept = match self.entry(&fetched) {
            Some(entry) => {
                let filled = store.fill(&key, reader, entry, read_options.kept).await;
                // It is shown although it was not stored, so nothing older may be shown after it.
                match (filled, retired()) {
                    (Ok(FillResult::Stored(instead)), _) => {
                        return FetchedResponse { response: Ok(instead), status: None, ..fetched };
                    }
                    (Ok(FillResult::Unreadable), Some(retired)) => {
                        counters.count(CacheEvent::Unreadable);
                        retire(store, &key, reader, retired).await
                    }
                    (Err(error), Some(retired)) if error.is_worth_a_retry() => {
                        store.retire(&key, reader, retired).await
                    }
                    (filled, _) => filled.map(drop),
                }
            }
            None => match retired() {
                Some(retired) => retire(store, &key, reader, retired).await,
                None => store.release(&key, reader).await,
            },
        };
        if let Err(error) = kept {
            tracing::debug!(%error, "cache entry not updated");
        }
        fetched
    }

    /// The entry to store, if the response may be stored.
    fn entry(&self, fetched: &FetchedResponse) -> Option<Entry<Stored>> {
        let StartedFetch { stamp, began, read_options, .. } = *self;
        let (Ok(response), Cacheability::Store { fresh, stale, version, missing, only }) =
            (&fetched.response, fetched.storable)
        else {
            return None;
        };
        if read_options.no_store {
            return None;
        }
        let fresh_until = (began / 1_000).saturating_add(fresh);
        let stale_until = fresh_until.saturating_add(stale);
        let only = only.then_some(fetched.caller);
        let (digest, response) = (response.digest(), Arc::new(response.cacheable_copy()));
        Some(Entry { stamp, began, fresh_until, stale_until, version, only, missing, digest, response })
    }
}

impl Sessions {
    /// Applies the response of a read that bypassed the cache. Its fetch did not start before `began`. What the
    /// response invalidates must not reappear when the cache is used again.
    pub async fn bypassed(
        &self,
        key: &CacheKey,
        read_options: ReadOptions,
        began: Option<Micros>,
        fetched: &FetchedResponse,
    ) {
        let Some(retired) = retired(fetched, read_options, began.unwrap_or(Micros::MAX)) else {
            return;
        };
        // After a store failure this step is skipped for mere supersessions: each attempt is waited for, and failing
        // commands close the connection before the marks of writes can be sent.
        if began.is_none() && matches!(retired.cause, RetireCause::Superseded(_)) {
            return;
        }
        if let Err(error) = retire(&*self.store, key, self.store.token(), retired).await {
            tracing::debug!(%error, "cache entry not updated");
        }
    }
}

/// How a response that is not stored affects the stored ones: nothing older may be shown after it.
fn retired(fetched: &FetchedResponse, read_options: ReadOptions, began: Micros) -> Option<Retired> {
    let digest = || fetched.response.as_ref().map_or(0, |response| response.digest());
    let superseded = |version| RetireCause::Superseded(Observed { began, version, digest: digest() });
    let cause = match fetched.storable {
        Cacheability::Invalidate | Cacheability::Store { missing: true, .. } => RetireCause::Invalidated,
        Cacheability::Deny => RetireCause::Denied(fetched.caller),
        Cacheability::Store { version, .. } => superseded(version),
        Cacheability::TooOld { version } => superseded(Some(version)),
        Cacheability::Unrelated => return None,
    };
    Some(Retired { kept: read_options.kept, cause })
}

/// Retires with one retry: the step is idempotent.
async fn retire(store: &dyn Store, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError> {
    let tried = store.retire(key, reader, retired).await;
    if tried.as_ref().is_err_and(StoreError::is_worth_a_retry) {
        return store.retire(key, reader, retired).await;
    }
    tried
}
