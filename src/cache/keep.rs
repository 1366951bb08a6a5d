//! What becomes of what a fetch has brought: it is stored, or ends what is, or says nothing.

use super::read::{Fetched, Wanted};
use super::{Sessions, Store, StoreError, Tally};
use crate::coherence::reading::Link;
use crate::coherence::{Entry, Micros, Retired, Stamp, Token};
use crate::gateway::{CacheKey, Event, Failure, Storable};
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
    /// Does with the store what follows from the answer.
    pub async fn keep(self, store: &dyn Store, tally: &Tally, fetched: &Fetched) {
        let Begun { key, stamp, link: _, at, reader, wanted } = self;
        let kept = match (&fetched.answer, fetched.storable) {
            (Ok(answer), Storable::For { fresh, stale, version, missing, only }) if !wanted.unstored => {
                let fresh_until = (at / 1_000).saturating_add(fresh);
                let stale_until = fresh_until.saturating_add(stale);
                let only = only.then_some(fetched.asker);
                let answer = Arc::new(answer.stored());
                let entry = Entry { stamp, began: at, fresh_until, stale_until, version, only, missing, answer };
                store.fill(&key, reader, entry, wanted.kept).await
            }
            (_, storable) => {
                if storable == Storable::TooOld {
                    tally.count(Event::TooOld);
                }
                match retired(fetched, wanted) {
                    Some(retired) => retire(store, &key, reader, retired).await,
                    None => store.release(&key, reader).await,
                }
            }
        };
        if let Err(error) = kept {
            tracing::debug!(%error, "what an answer means was not stored");
        }
    }
}

impl Sessions {
    /// A read that left the cache out has this answer: what it ends must not come back once the cache is in again.
    pub async fn bypassed(&self, key: &CacheKey, wanted: Wanted, fetched: &Fetched) {
        if let Some(retired) = retired(fetched, wanted)
            && let Err(error) = retire(&*self.store, key, self.store.token(), retired).await
        {
            tracing::debug!(%error, "what an answer means was not stored");
        }
    }
}

/// What an answer that is not stored does to what is.
fn retired(fetched: &Fetched, wanted: Wanted) -> Option<Retired> {
    let denied = match fetched.storable {
        Storable::Ends => None,
        Storable::Denies => Some(fetched.asker),
        Storable::For { .. } | Storable::TooOld | Storable::Nothing => return None,
    };
    Some(Retired { kept: wanted.kept, denied })
}

/// With a second try: doing it twice does no harm.
async fn retire(store: &dyn Store, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError> {
    let tried = store.retire(key, reader, retired).await;
    if matches!(tried, Err(StoreError::Failed(Failure::Timeout | Failure::Broken))) {
        return store.retire(key, reader, retired).await;
    }
    tried
}
