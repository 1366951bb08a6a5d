//! The store's own state, and what every step needs: its keys, its deadline, its connection to the server.

use super::connect::{self, SetupError};
use super::entry;
use super::route::Route;
use super::scripts::Script;
use super::seal::Seal;
use crate::cache::{CacheCounters, Scope, StoreError};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{Generation, Millis};
use crate::config::{Redis, RedisTimeouts};
use crate::telemetry::{StoreFailure, StoreObserver, StoreOperation};
use parking_lot::{Mutex, RwLock};
use redis::Value;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// TTL of a session's state, in milliseconds: longer than any response, so that losing it costs only a fetch.
pub(super) const STATE_TTL: Millis = 7_200_000;
/// TTL of an epoch, in milliseconds.
pub(super) const EPOCH_TTL: Millis = 7 * 24 * 3_600_000;

/// A store in Redis.
pub struct RedisStore {
    pub(super) route: Route,
    pub(super) seal: Seal,
    pub(super) namespace: String,
    /// By upstream, created on first use.
    epochs: RwLock<HashMap<u64, Arc<KnownEpoch>>>,
    pub(super) timeouts: RedisTimeouts,
    /// Limits the commands that reads have in flight. Writes are not limited: a write without its mark is worse than a
    /// late one.
    pub(super) permits: Semaphore,
    /// The size of `permits`.
    pub(super) max_in_flight: usize,
    pub(super) lease: AtomicU64,
    pub(super) seed: u64,
    pub(super) tokens_drawn: AtomicU64,
    pub(super) counters: Arc<CacheCounters>,
    pub(super) listener: Arc<dyn StoreObserver>,
    pub(super) fleet: Mutex<Option<SeenFleet>>,
}

/// The epoch of an upstream, as this process last saw it.
pub(super) struct KnownEpoch {
    pub key: String,
    /// The last epoch seen that was not marked.
    pub last: Mutex<Option<OpenEpoch>>,
}

/// Whether a replica of an older version is there, as last seen.
#[derive(Clone, Copy)]
pub(super) struct SeenFleet {
    pub older: bool,
    pub at: Instant,
}

/// An epoch without a mark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenEpoch {
    pub generation: Generation,
    pub purged: Millis,
}

impl RedisStore {
    /// A store with leases of this length. It connects once it is started.
    pub fn new(
        config: &Redis,
        lease: Duration,
        counters: Arc<CacheCounters>,
        listener: Arc<dyn StoreObserver>,
    ) -> Result<RedisStore, SetupError> {
        let mut seed = [0; 8];
        SystemRandom::new().fill(&mut seed).map_err(|_| SetupError::Random)?;
        Ok(RedisStore {
            route: connect::route(config, listener.clone())?,
            seal: Seal::new(&config.seal_keys, &config.hash_key).map_err(|_| SetupError::Random)?,
            namespace: config.namespace.clone(),
            epochs: RwLock::default(),
            timeouts: config.timeouts,
            permits: Semaphore::new(config.max_in_flight),
            max_in_flight: config.max_in_flight,
            lease: AtomicU64::new(crate::coherence::millis(lease)),
            seed: u64::from_be_bytes(seed),
            tokens_drawn: AtomicU64::new(0),
            counters,
            listener,
            fleet: Mutex::default(),
        })
    }

    /// Starts the tasks that keep the connections up. Call inside a tokio runtime.
    pub fn start(&self) {
        self.route.start();
    }

    /// Sets how long new leases last.
    pub fn set_lease(&self, lease: Duration) {
        self.lease.store(crate::coherence::millis(lease), Ordering::Relaxed);
    }

    /// The deadline that all steps of a read share.
    pub(super) fn read_deadline(&self) -> Instant {
        Instant::now() + self.timeouts.read
    }

    pub(super) fn write_deadline(&self) -> Instant {
        Instant::now() + self.timeouts.write
    }

    pub(super) async fn run(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
        deadline: Instant,
    ) -> Result<(Value, ConnectionId), StoreFailure> {
        let first = keys.first().copied().unwrap_or_default();
        self.route.execute(first, &script.run(keys, arguments), remaining(deadline)).await
    }

    pub(super) fn state_key(&self, scope: Scope) -> String {
        match scope {
            Scope::Session(_, session) => entry::state(&self.namespace, &session),
            Scope::Upstream(scope) => self.epoch_of(scope).key.clone(),
        }
    }

    /// Executes a step and reports it to the observer.
    pub(super) async fn observed<T, E: Into<StoreError>>(
        &self,
        step: StoreOperation,
        done: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let result = done.await.map_err(Into::into);
        self.listener.step(step, began.elapsed(), result.as_ref().err().and_then(StoreError::failure));
        result
    }

    pub(super) fn epoch_of(&self, scope: u64) -> Arc<KnownEpoch> {
        if let Some(known) = self.epochs.read().get(&scope) {
            return known.clone();
        }
        let new = || Arc::new(KnownEpoch { key: entry::epoch(&self.namespace, scope), last: Mutex::new(None) });
        self.epochs.write().entry(scope).or_insert_with(new).clone()
    }
}

/// The time until the deadline.
pub(super) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
