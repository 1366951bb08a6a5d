//! What becomes of what a fetch has brought: it is stored, or ends what is, or says nothing.

use super::fetched::{FetchedResponse, ReadOptions};
use super::{CacheCounters, FillResult, Sessions, Store, StoreError, Stored};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{Entry, Micros, Observed, RetireCause, Retired, Stamp, Token};
use crate::gateway::{CacheKey, Cacheability};
use crate::telemetry::{CacheEvent, StoreFailure};
use std::sync::Arc;

/// A fetch that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartedFetch {
    pub key: CacheKey,
    pub stamp: Stamp,
    pub connection_id: ConnectionId,
    /// When.
    pub began: Micros,
    pub reader: Token,
    pub read_options: ReadOptions,
}

impl StartedFetch {
    /// Does with the store what follows from the response. Gives what those who wait for it are shown.
    pub async fn keep(self, store: &dyn Store, counters: &CacheCounters, fetched: FetchedResponse) -> FetchedResponse {
        let StartedFetch { key, began, reader, read_options, .. } = self;
        if let Cacheability::TooOld { .. } = fetched.storable {
            counters.count(CacheEvent::TooOld);
        }
        let retired = || retired(&fetched, read_options, began);
        let kept = match self.entry(&fetched) {
            Some(entry) => {
                let filled = store.fill(&key, reader, entry, read_options.kept).await;
                // Where it is shown all the same, nothing older may be shown after it.
                match (filled, retired()) {
                    (Ok(FillResult::Stored(instead)), _) => {
                        return FetchedResponse { response: Ok(instead), status: None, ..fetched };
                    }
                    (Ok(FillResult::Unreadable), Some(retired)) => {
                        counters.count(CacheEvent::Unreadable);
                        retire(store, &key, reader, retired).await
                    }
                    (Err(error), Some(retired)) if may_pass(&error) => store.retire(&key, reader, retired).await,
                    (filled, _) => filled.map(drop),
                }
            }
            None => match retired() {
                Some(retired) => retire(store, &key, reader, retired).await,
                None => store.release(&key, reader).await,
            },
        };
        if let Err(error) = kept {
            tracing::debug!(%error, "what an answer means was not stored");
        }
        fetched
    }

    /// What is to be stored.
    fn entry(&self, fetched: &FetchedResponse) -> Option<Entry<Stored>> {
        let StartedFetch { stamp, began, read_options, .. } = *self;
        let (Ok(response), Cacheability::Store { fresh, stale, version, missing, only }) =
            (&fetched.response, fetched.storable)
        else {
            return None;
        };
        if read_options.unstored {
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
    /// A read that left the cache out has this response, whose fetch did not begin before `began`: what it ends must
    /// not come back once the cache is in again.
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
        // A store that has just failed is not pressed with every response that is shown: each try is waited for, and
        // commands that fail bring the connection to its end before the marks of writes are sent over it.
        if began.is_none() && matches!(retired.cause, RetireCause::Superseded(_)) {
            return;
        }
        if let Err(error) = retire(&*self.store, key, self.store.token(), retired).await {
            tracing::debug!(%error, "what an answer means was not stored");
        }
    }
}

/// What a response does to what is stored where it is not stored itself: whoever has seen it must not be shown anything
/// older.
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

/// With a second try: doing it twice does no harm.
async fn retire(store: &dyn Store, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError> {
    let tried = store.retire(key, reader, retired).await;
    if tried.as_ref().is_err_and(may_pass) {
        return store.retire(key, reader, retired).await;
    }
    tried
}

/// Whether a store that failed so may do the next step. Where there is no connection it would meet the same.
fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Failed(StoreFailure::Timeout | StoreFailure::Broken))
}
