//! What becomes of what a fetch has brought: it is stored, or ends what is, or says nothing.

use super::read::{Fetched, Wanted};
use super::{Filled, Sessions, Store, StoreError, Stored, Tally};
use crate::coherence::reading::Link;
use crate::coherence::{Cause, Entry, Micros, Observed, Retired, Stamp, Token};
use crate::gateway::{CacheKey, Storable};
use crate::telemetry::{CacheEvent, StoreFailure};
use std::sync::Arc;

/// A fetch that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub key: CacheKey,
    pub stamp: Stamp,
    pub link: Link,
    /// When.
    pub at: Micros,
    pub reader: Token,
    pub wanted: Wanted,
}

impl Begun {
    /// Does with the store what follows from the answer. Gives what those who wait for it are shown.
    pub async fn keep(self, store: &dyn Store, tally: &Tally, fetched: Fetched) -> Fetched {
        let Begun { key, at, reader, wanted, .. } = self;
        if let Storable::TooOld { .. } = fetched.storable {
            tally.count(CacheEvent::TooOld);
        }
        let retired = || retired(&fetched, wanted, at);
        let kept = match self.entry(&fetched) {
            Some(entry) => {
                let filled = store.fill(&key, reader, entry, wanted.kept).await;
                // Where it is shown all the same, nothing older may be shown after it.
                match (filled, retired()) {
                    (Ok(Filled::Stored(instead)), _) => return Fetched { answer: Ok(instead), ..fetched },
                    (Ok(Filled::Unreadable), Some(retired)) => {
                        tally.count(CacheEvent::Unreadable);
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
    fn entry(&self, fetched: &Fetched) -> Option<Entry<Stored>> {
        let Begun { stamp, at: began, wanted, .. } = *self;
        let (Ok(answer), Storable::For { fresh, stale, version, missing, only }) = (&fetched.answer, fetched.storable)
        else {
            return None;
        };
        if wanted.unstored {
            return None;
        }
        let fresh_until = (began / 1_000).saturating_add(fresh);
        let stale_until = fresh_until.saturating_add(stale);
        let only = only.then_some(fetched.asker);
        let (digest, answer) = (answer.digest(), Arc::new(answer.stored()));
        Some(Entry { stamp, began, fresh_until, stale_until, version, only, missing, digest, answer })
    }
}

impl Sessions {
    /// A read that left the cache out has this answer, whose fetch did not begin before `began`: what it ends must not come back once
    /// the cache is in again.
    pub async fn bypassed(&self, key: &CacheKey, wanted: Wanted, began: Option<Micros>, fetched: &Fetched) {
        let Some(retired) = retired(fetched, wanted, began.unwrap_or(Micros::MAX)) else {
            return;
        };
        // A store that has just failed is not pressed with every response that is shown: each try is waited for, and commands that
        // fail bring the connection to its end before the marks of writes are sent over it.
        if began.is_none() && matches!(retired.cause, Cause::Superseded(_)) {
            return;
        }
        if let Err(error) = retire(&*self.store, key, self.store.token(), retired).await {
            tracing::debug!(%error, "what an answer means was not stored");
        }
    }
}

/// What an answer does to what is stored where it is not stored itself: whoever has seen it must not be shown anything older.
fn retired(fetched: &Fetched, wanted: Wanted, began: Micros) -> Option<Retired> {
    let digest = || fetched.answer.as_ref().map_or(0, |answer| answer.digest());
    let superseded = |version| Cause::Superseded(Observed { began, version, digest: digest() });
    let cause = match fetched.storable {
        Storable::Ends | Storable::For { missing: true, .. } => Cause::Ended,
        Storable::Denies => Cause::Denied(fetched.asker),
        Storable::For { version, .. } => superseded(version),
        Storable::TooOld { version } => superseded(Some(version)),
        Storable::Nothing => return None,
    };
    Some(Retired { kept: wanted.kept, cause })
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
