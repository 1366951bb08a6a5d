//! The store in memory, limited in bytes. Only for a single replica: others would not see its marks.

mod rights;

use super::{
    AcquireRequest, Acquisition, FillResult, Scope, SessionName, Store, StoreError, StoreOutage, StoreUsage, Stored,
};
use crate::coherence::exclusive::{RightReply, RightStep};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{
    self, AcquireInput, Acquired, CoherenceState, DeletionState, Denied, Entry, EvictedVariants, Generation, Micros,
    Millis, Retired, Settled, TenantId, Token, VariantState, WriteEnd, WriteScope, millis,
};
use crate::gateway::CacheKey;
use async_trait::async_trait;
use parking_lot::Mutex;
use rights::Rights;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SHARDS: usize = 16;
/// Bytes per session without its responses: its entries in the map, of which some 60 % are in use, and in the queue.
const SESSION_OVERHEAD: usize = 540;
/// Bytes per variant without its response.
const VARIANT_OVERHEAD: usize = 320;

/// Sessions that one step examines for eviction, in each of two passes.
const EVICTION_SCAN: usize = 16;
/// The most responses of one session: each credential has its own if the gateway does not verify callers.
const MAX_VARIANTS: usize = 64;

/// The store in memory.
pub struct MemoryStore {
    shards: Vec<Mutex<Shard>>,
    epochs: Mutex<HashMap<u64, CoherenceState>>,
    rights: Rights,
    started: Instant,
    counter: AtomicU64,
    lease: AtomicU64,
}

#[derive(Default)]
struct Shard {
    sessions: HashMap<SessionName, CachedSession>,
    /// The eviction queue: sessions that were read since the last pass get a second chance.
    queue: VecDeque<SessionName>,
    bytes: usize,
    capacity: usize,
    evictions: u64,
}

#[derive(Default)]
struct CachedSession {
    state: CoherenceState,
    variants: Vec<([u8; 16], VariantState<Stored>)>,
    /// What is still known of evicted variants.
    evicted: EvictedVariants,
    bytes: usize,
    read: bool,
}

impl CachedSession {
    fn variant(&mut self, variant: [u8; 16]) -> Option<&mut VariantState<Stored>> {
        self.variants.iter_mut().find(|(own, _)| *own == variant).map(|(_, variant)| variant)
    }

    /// Adds the variant if it is missing.
    fn make_variant(&mut self, variant: [u8; 16], now: Millis) {
        if self.variant(variant).is_some() {
            return;
        }
        if self.variants.len() >= MAX_VARIANTS {
            self.prune(now);
            self.make_room();
        }
        // Most sessions have one variant. A vector that grows by itself would have room for four.
        self.variants.reserve_exact(1);
        self.variants.push((variant, self.evicted.variant()));
    }

    /// Evicts the oldest of the least valuable variants, so that rejected reads cost no hits. What it knew of outdated
    /// responses and denied credentials stays. If no variant can be evicted, the session gets a new generation and
    /// loses all of them.
    fn make_room(&mut self) {
        if self.variants.len() < MAX_VARIANTS {
            return;
        }
        let worth = |variant: &VariantState<Stored>| {
            (!variant.denied.is_empty(), variant.entry.is_some(), variant.lease.is_some())
        };
        let able = self.variants.iter().enumerate().filter(|(_, (_, variant))| variant.is_evictable());
        let victim = able.min_by_key(|(_, (_, variant))| worth(variant)).map(|(at, _)| at);
        let gone = match victim {
            Some(at) => at..at + 1,
            None => {
                self.state.renew();
                // Fetches of the old generation cannot be stored any more, whatever their version.
                self.variants.iter_mut().for_each(|(_, variant)| variant.newest = None);
                0..self.variants.len()
            }
        };
        self.variants.drain(gone).for_each(|(_, variant)| self.evicted.add(variant));
    }

    fn size(&self) -> usize {
        let responses = self.variants.iter().map(|(_, variant)| {
            let response = variant.entry.as_ref().map_or(0, |entry| entry.response.size());
            VARIANT_OVERHEAD + variant.denied.capacity() * size_of::<Denied>() + response
        });
        SESSION_OVERHEAD + self.state.bytes() + self.evicted.capacity() * size_of::<Denied>() + responses.sum::<usize>()
    }

    /// Removes expired content and empty variants.
    fn prune(&mut self, now: Millis) {
        self.variants.retain_mut(|(_, variant)| {
            variant.prune(now);
            !variant.is_empty()
        });
        self.evicted.prune(now);
    }

    fn is_idle(&self, now: Millis) -> bool {
        !self.state.should_keep(now) && self.variants.is_empty() && self.evicted.is_empty()
    }
}

impl Shard {
    /// Runs a step on a session and updates its size.
    fn step<R>(&mut self, name: SessionName, now: Millis, step: impl FnOnce(&mut CachedSession) -> R) -> R {
        let cached = self.sessions.entry(name).or_insert_with(|| {
            self.queue.push_back(name);
            CachedSession::default()
        });
        let result = step(cached);
        let bytes = cached.size();
        self.bytes = (self.bytes + bytes).saturating_sub(cached.bytes);
        cached.bytes = bytes;
        self.make_room(now);
        result
    }

    /// Evicts sessions until the size fits, examining a bounded number. Sessions that were read since get a second
    /// chance. Deleted ones are evicted only in the second pass. Sessions with a write mark are never evicted: an old
    /// response could be stored again.
    fn make_room(&mut self, now: Millis) {
        for spare_deleted in [true, false] {
            for _ in 0..EVICTION_SCAN {
                if self.bytes <= self.capacity {
                    return;
                }
                let Some(name) = self.queue.pop_front() else {
                    return;
                };
                let Some(cached) = self.sessions.get_mut(&name) else {
                    continue;
                };
                if cached.read || cached.state.is_marked(now) || (spare_deleted && cached.state.must_keep(now)) {
                    cached.read = false;
                    self.queue.push_back(name);
                    continue;
                }
                self.bytes = self.bytes.saturating_sub(cached.bytes);
                self.sessions.remove(&name);
                self.evictions += 1;
            }
        }
    }

    fn sweep(&mut self, now: Millis) {
        let (sessions, bytes) = (&mut self.sessions, &mut self.bytes);
        sessions.retain(|_, cached| {
            cached.prune(now);
            let weight = cached.size();
            *bytes = (*bytes + weight).saturating_sub(cached.bytes);
            cached.bytes = weight;
            let idle = cached.is_idle(now);
            if idle {
                *bytes = bytes.saturating_sub(cached.bytes);
            }
            !idle
        });
        self.queue.retain(|name| sessions.contains_key(name));
    }
}

impl MemoryStore {
    /// A store of at most `max_bytes`, with leases of this length.
    pub fn new(max_bytes: usize, lease: Duration) -> MemoryStore {
        let shard = || Mutex::new(Shard { capacity: max_bytes / SHARDS, ..Shard::default() });
        MemoryStore {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            epochs: Mutex::default(),
            rights: Rights::default(),
            started: Instant::now(),
            counter: AtomicU64::new(1),
            lease: AtomicU64::new(millis(lease)),
        }
    }

    /// Sets how long new leases last.
    pub fn set_lease(&self, lease: Duration) {
        self.lease.store(millis(lease), Ordering::Relaxed);
    }

    /// Removes what has expired. Called periodically, so that session data does not stay in memory until space is
    /// needed.
    pub fn sweep(&self) {
        let now = self.now();
        self.shards.iter().for_each(|shard| shard.lock().sweep(now));
        self.rights.sweep(now);
    }

    fn now(&self) -> Millis {
        self.now_micros() / 1_000
    }

    fn now_micros(&self) -> Micros {
        Micros::try_from(self.started.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// When the upstream was last purged.
    fn purged(&self, upstream: u64) -> Millis {
        self.epochs.lock().get(&upstream).map_or(0, CoherenceState::purged)
    }

    fn next(&self) -> u128 {
        u128::from(self.counter.fetch_add(1, Ordering::Relaxed))
    }

    fn shard(&self, session: &[u8; 16]) -> Result<&Mutex<Shard>, StoreError> {
        let index = session.first().copied().map_or(0, usize::from) % SHARDS;
        self.shards.get(index).ok_or_else(|| StoreError::from(crate::telemetry::StoreFailure::ProtocolError))
    }

    fn on<R>(&self, name: SessionName, step: impl FnOnce(&mut CachedSession, Millis) -> R) -> Result<R, StoreError> {
        self.at(name, |cached, now_micros| step(cached, now_micros / 1_000))
    }

    fn at<R>(&self, name: SessionName, step: impl FnOnce(&mut CachedSession, Micros) -> R) -> Result<R, StoreError> {
        let mut shard = self.shard(&name.1)?.lock();
        let now_micros = self.now_micros();
        Ok(shard.step(name, now_micros / 1_000, |cached| step(cached, now_micros)))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn token(&self) -> Token {
        Token(self.next())
    }

    async fn acquire(&self, key: &CacheKey, request: AcquireRequest) -> Result<Acquisition, StoreError> {
        self.at((key.upstream, key.session), |cached, now_micros| {
            let now = now_micros / 1_000;
            cached.make_variant(key.variant, now);
            let CachedSession { state, variants, read, .. } = cached;
            let mut none = VariantState::default();
            let variant =
                variants.iter_mut().find(|(own, _)| *own == key.variant).map_or(&mut none, |(_, variant)| variant);
            let AcquireRequest { reader, steal, fresh, no_store, caller, tenant } = request;
            let lease = self.lease.load(Ordering::Relaxed);
            let reading = AcquireInput { reader, steal, fresh, no_store, caller, tenant, lease, now };
            let mut epochs = self.epochs.lock();
            let epoch = epochs.entry(key.upstream).or_default();
            let acquired = coherence::acquire(state, epoch, variant, reading, || Generation(self.next()));
            // Only hits protect from eviction.
            *read |= matches!(acquired, Acquired::Hit(..));
            let leased = !fresh && !no_store && matches!(acquired, Acquired::Lead { .. });
            Acquisition { acquired, connection_id: ConnectionId::default(), now: now_micros, leased }
        })
    }

    async fn fill(
        &self,
        key: &CacheKey,
        reader: Token,
        entry: Entry<Stored>,
        kept: Millis,
    ) -> Result<FillResult, StoreError> {
        self.at((key.upstream, key.session), |cached, now| {
            // The variant may have been evicted meanwhile.
            cached.make_variant(key.variant, now / 1_000);
            let CachedSession { state, variants, .. } = cached;
            let variant = variants.iter_mut().find(|(own, _)| *own == key.variant);
            let instead = variant.and_then(|(_, variant)| {
                let mut epochs = self.epochs.lock();
                let epoch = epochs.entry(key.upstream).or_default();
                coherence::fill(state, epoch, variant, reader, entry, kept, now)
            });
            cached.variants.retain(|(own, variant)| *own != key.variant || !variant.is_empty());
            instead.map_or(FillResult::Fetched, |entry| FillResult::Stored(entry.response))
        })
    }

    async fn retire(&self, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError> {
        self.at((key.upstream, key.session), |cached, now_micros| {
            // Also without an entry: a fetch in flight may be older.
            cached.make_variant(key.variant, now_micros / 1_000);
            if let Some(variant) = cached.variant(key.variant) {
                coherence::retire(variant, reader, retired, now_micros);
            }
        })
    }

    async fn release(&self, key: &CacheKey, reader: Token) -> Result<(), StoreError> {
        self.on((key.upstream, key.session), |cached, _| {
            if let Some(variant) = cached.variant(key.variant) {
                coherence::release(variant, reader);
            }
            cached.variants.retain(|(own, variant)| *own != key.variant || !variant.is_empty());
        })
    }

    async fn begin(
        &self,
        scope: Scope,
        writer: Token,
        guard: Millis,
        write_scope: WriteScope,
    ) -> Result<ConnectionId, StoreError> {
        let begun = match scope {
            Scope::Session(upstream, session) => self.on((upstream, session), |cached, now| {
                coherence::begin(&mut cached.state, writer, guard, now, write_scope)
            })?,
            Scope::Upstream(upstream) => {
                let now = self.now();
                let mut epochs = self.epochs.lock();
                coherence::begin(epochs.entry(upstream).or_default(), writer, guard, now, write_scope)
            }
        };
        begun.map(|()| ConnectionId::default()).map_err(|_| StoreError::TooManyWrites)
    }

    async fn end(&self, scope: Scope, writer: Token, settled: Settled) -> Result<WriteEnd, StoreError> {
        let mint = || Generation(self.next());
        match scope {
            Scope::Session(upstream, session) => self.on((upstream, session), |cached, now| {
                // Under the lock a purge comes either before or after the deletion is recorded.
                let epochs = self.epochs.lock();
                let purged = epochs.get(&upstream).map_or(0, CoherenceState::purged);
                coherence::end(&mut cached.state, writer, Settled { purged, ..settled }, now, mint)
            }),
            Scope::Upstream(upstream) => {
                let now = self.now();
                let mut epochs = self.epochs.lock();
                let epoch = epochs.entry(upstream).or_default();
                if settled.lifted {
                    epoch.purge(now);
                }
                Ok(coherence::end(epoch, writer, settled, now, mint))
            }
        }
    }

    async fn right(
        &self,
        upstream: u64,
        session: &[u8; 16],
        writer: Token,
        step: RightStep,
    ) -> Result<(RightReply, ConnectionId), StoreError> {
        Ok((self.rights.step((upstream, *session), writer, step, self.now())?, ConnectionId::default()))
    }

    async fn deleted(&self, upstream: u64, tenant: &TenantId, sessions: &[[u8; 16]]) -> Result<Vec<bool>, StoreError> {
        let deleted = |session: &[u8; 16]| {
            let shard = self.shard(session)?.lock();
            let (now, purged) = (self.now(), self.purged(upstream));
            let gone = shard
                .sessions
                .get(&(upstream, *session))
                .map(|cached| cached.state.deletion_state(tenant, purged, now));
            Ok(gone == Some(DeletionState::Deleted))
        };
        sessions.iter().map(deleted).collect()
    }

    fn connection_id(&self, _: Scope) -> Option<ConnectionId> {
        Some(ConnectionId::default())
    }

    fn outage(&self, _: Scope) -> Option<StoreOutage> {
        None
    }

    fn usage(&self) -> StoreUsage {
        self.shards.iter().fold(StoreUsage::default(), |sum, shard| {
            let shard = shard.lock();
            StoreUsage {
                bytes: sum.bytes + shard.bytes,
                sessions: sum.sessions + shard.sessions.len(),
                evictions: sum.evictions + shard.evictions,
            }
        })
    }
}

#[cfg(test)]
mod tests;
