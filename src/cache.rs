//! The session cache: stores that execute [`crate::coherence`], and the reading loop in front of them, in which concurrent misses
//! on one answer make one fetch.

mod flight;
mod memory;

pub use memory::MemoryStore;

use crate::coherence::{Acquired, Ended, Millis, Settled, Stamp, Token};
use crate::gateway::{Answer, CacheKey, Storable};
use crate::model::Refusal;
use async_trait::async_trait;
use flight::Flights;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A stored answer.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The answer.
    pub answer: Arc<Answer>,
    /// When its fetch began, on the clock of the store.
    pub fetched_at: Millis,
}

/// What a write marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One session of an upstream.
    Session(usize, [u8; 16]),
    /// Every session of an upstream.
    Upstream(usize),
}

/// Why a store did not do a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many writes in flight on one session.
    #[error("too many writes in flight on one session")]
    TooManyWrites,
    /// The store cannot be reached, or did not answer in time.
    #[error("the store did not answer: {0}")]
    Unreachable(String),
}

/// How full a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    /// Bytes held, with what it costs to hold them.
    pub bytes: usize,
    /// Sessions known.
    pub sessions: usize,
    /// Sessions dropped to make room, since the start.
    pub evictions: u64,
}

/// A store: it executes the steps of [`crate::coherence`], each in one piece.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's clock.
    fn now(&self) -> Millis;
    /// A token that was never used.
    fn token(&self) -> Token;
    /// A read begins.
    async fn acquire(
        &self,
        key: &CacheKey,
        reader: Token,
        steal: Option<Token>,
    ) -> Result<Acquired<Stored>, StoreError>;
    /// An answer may be stored for `ttl` from `stored.fetched_at` on.
    async fn fill(&self, key: &CacheKey, stamp: Stamp, stored: Stored, ttl: Millis) -> Result<(), StoreError>;
    /// An answer may not be stored: the reader's lease ends.
    async fn release(&self, key: &CacheKey, reader: Token) -> Result<(), StoreError>;
    /// A write begins. It stays marked for `guard` at the most.
    async fn begin(&self, scope: Scope, writer: Token, guard: Millis) -> Result<(), StoreError>;
    /// A write's outcome is known.
    async fn end(&self, scope: Scope, writer: Token, settled: Settled) -> Result<Ended, StoreError>;
    /// How full it is.
    fn measure(&self) -> Fill;
}

/// What a fetch brought.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The answer, or why there is none.
    pub answer: Result<Arc<Answer>, Refusal>,
    /// Whether it may be stored.
    pub storable: Storable,
    /// Tells apart who asked.
    pub asker: [u8; 16],
}

/// What a read gets.
#[derive(Debug, Clone)]
pub enum Got {
    /// A stored answer.
    Hit {
        /// The answer.
        answer: Arc<Answer>,
        /// Its age, in milliseconds.
        age: Millis,
        /// How much longer it holds, in milliseconds.
        left: Millis,
    },
    /// The session was deleted through the gateway.
    Deleted,
    /// The answer of a fetch that this read began.
    Miss(Fetched),
    /// The answer of a fetch that another read began.
    Coalesced(Fetched),
    /// The cache is to be left out.
    Bypass,
}

/// How long a read waits for the fetch of another process before it takes over.
const LEASE_WAIT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The cache of all upstreams.
pub struct Sessions {
    store: Arc<dyn Store>,
    flights: Flights,
}

impl Sessions {
    /// A cache on this store.
    pub fn new(store: Arc<dyn Store>) -> Sessions {
        Sessions { store, flights: Flights::default() }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Answers a read. `fetch` is called at most once, with the version below which an answer is too old to store; it runs in a
    /// task of its own, which goes on if this read is given up.
    pub async fn read<F, W>(&self, key: CacheKey, fetch: F) -> Got
    where
        F: FnOnce(Option<u64>) -> W,
        W: Future<Output = Fetched> + Send + 'static,
    {
        let reader = self.store.token();
        let mut steal = None;
        let mut waited = Duration::ZERO;
        let mut yielded = false;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.store.acquire(&key, reader, steal).await {
                Ok(Acquired::Hit(entry)) => {
                    let now = self.store.now();
                    return Got::Hit {
                        answer: entry.answer.answer,
                        age: now.saturating_sub(entry.answer.fetched_at),
                        left: entry.fresh_until.saturating_sub(now),
                    };
                }
                Ok(Acquired::Deleted) => return Got::Deleted,
                Ok(Acquired::Bypass) | Err(_) => return Got::Bypass,
                Ok(Acquired::Lead { stamp, floor }) => {
                    return Got::Miss(self.lead(key, stamp, reader, fetch(floor)).await);
                }
                Ok(Acquired::Wait { stamp, reader: leader }) => {
                    if let Some(flight) = self.flights.join(&key, stamp) {
                        return Got::Coalesced(flight.landed().await);
                    }
                    // Between its lease and its flight a leader in this process needs a moment.
                    if waited.is_zero() && !yielded {
                        yielded = true;
                        tokio::task::yield_now().await;
                        continue;
                    }
                    if waited >= LEASE_WAIT {
                        steal = Some(leader);
                        continue;
                    }
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn lead<W>(&self, key: CacheKey, stamp: Stamp, reader: Token, fetch: W) -> Fetched
    where
        W: Future<Output = Fetched> + Send + 'static,
    {
        let store = self.store.clone();
        let flight = self.flights.start(key, stamp, async move {
            let fetched_at = store.now();
            let fetched = fetch.await;
            let stored = match (&fetched.answer, fetched.storable) {
                (Ok(answer), Storable::For(ttl)) => {
                    let answer = Arc::new(answer.stored());
                    store.fill(&key, stamp, Stored { answer, fetched_at }, ttl).await
                }
                (Ok(_), Storable::No) | (Err(_), _) => store.release(&key, reader).await,
            };
            if let Err(error) = stored {
                tracing::debug!(%error, "an answer was not stored");
            }
            fetched
        });
        flight.landed().await
    }
}
