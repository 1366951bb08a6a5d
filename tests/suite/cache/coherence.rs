//! Coherence of the cache, at the level of the store: a read that starts after a write was acknowledged never gets an
//! older response from the cache. Many readers and writers use a simulated provider. A checker compares each response
//! with the state that was acknowledged when its read began.
//!
//! With a store that ignores invalidation marks, the checker must find stale responses: otherwise the test proves
//! nothing.

use crate::harness::{Random, seed};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sessiongate::cache::{
    AcquireRequest, Acquisition, CacheCounters, FetchedResponse, FillResult, MarkFailurePolicy, MemoryStore,
    ReadOptions, ReadResult, Scope, Sessions, Store, StoreError, StoreOutage, StoreUsage, Stored,
};
use sessiongate::coherence::exclusive::{RightReply, RightStep};
use sessiongate::coherence::reading::{ConnectionId, FreshnessWindows};
use sessiongate::coherence::{
    Acquired, DEFAULT_TENANT, Entry, Generation, Millis, Retired, Settled, Stamp, TenantId, Token, WriteEnd, WriteScope,
};
use sessiongate::gateway::{CacheKey, Cacheability, OnUnreachable, ProviderResponse, WriteOutcome};
use sessiongate::telemetry::CacheEvent;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const GUARD: Millis = 600_000;
const TTL: Millis = 600_000;

/// Ten times as much where `SESSIONGATE_LONG` is set.
fn operations() -> u64 {
    let long = std::env::var_os("SESSIONGATE_LONG").is_some();
    if long { 200_000 } else { 20_000 }
}

/// What a run is made of.
#[derive(Clone, Copy)]
struct Setting {
    sessions: u64,
    readers: u64,
    writers: u64,
    store_bytes: usize,
    /// Whether reads of the provider may show the version before the current one.
    lagging: bool,
    /// Whether some writes change every session.
    wide: bool,
}

const PLAIN: Setting =
    Setting { sessions: 4, readers: 24, writers: 6, store_bytes: 64 << 20, lagging: false, wide: true };

/// A session at the provider, and what was acknowledged of it.
#[derive(Default)]
struct Session {
    version: AtomicU64,
    acknowledged: AtomicU64,
}

struct World {
    setting: Setting,
    sessions: Vec<Session>,
    cache: Sessions,
    done: AtomicU64,
    hits: AtomicU64,
    coalesced: AtomicU64,
    misses: AtomicU64,
    bypassed: AtomicU64,
    stale: AtomicU64,
}

impl World {
    fn new(setting: Setting, store: Arc<dyn Store>) -> Arc<World> {
        Arc::new(World {
            setting,
            sessions: (0..setting.sessions).map(|_| Session::default()).collect(),
            cache: Sessions::new(store, Duration::from_secs(2), Arc::new(CacheCounters::default())),
            done: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            coalesced: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bypassed: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        })
    }

    fn key(&self, session: usize) -> CacheKey {
        CacheKey { upstream: 0, session: name(session), variant: tenant(session) }
    }

    /// One more operation, unless there were enough.
    fn next(&self) -> bool {
        self.done.fetch_add(1, Ordering::Relaxed) < operations()
    }

    async fn read(self: &Arc<World>, session: usize, random: &mut Random) {
        let acknowledged = self.sessions[session].acknowledged.load(Ordering::SeqCst);
        let (before, after, lag) = (random.below(20), random.below(20), random.below(3) == 0);
        let world = self.clone();
        let fetch = move |floor: Option<u64>| async move {
            pause(before).await;
            let mut version = world.sessions[session].version.load(Ordering::SeqCst);
            if lag && world.setting.lagging {
                version = version.saturating_sub(1);
            }
            pause(after).await;
            let too_old = floor.is_some_and(|floor| version < floor);
            fetched(version, too_old)
        };
        let wanted = ReadOptions { tenant: tenant(session), ..ReadOptions::default() };
        let (counter, shown) = match self.cache.read(self.key(session), wanted, fetch).await {
            ReadResult::Hit { response, .. } => (&self.hits, version_of(&response)),
            ReadResult::Coalesced(fetched) if !self.setting.lagging => {
                (&self.coalesced, version_of(&fetched.response.unwrap()))
            }
            ReadResult::Coalesced(_) => (&self.coalesced, u64::MAX),
            ReadResult::Miss(..) => (&self.misses, u64::MAX),
            ReadResult::Bypass(_) => (&self.bypassed, u64::MAX),
            ReadResult::Deleted => panic!("nothing is deleted here"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if std::ptr::eq(counter, &self.bypassed) {
            // What a read beside a write does instead.
            pause(before + after).await;
        }
        if shown < acknowledged {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As `proxy/governed.rs` carries a write out, of a verified caller or of another: mark, forward, settle,
    /// acknowledge.
    async fn write(&self, session: usize, random: &mut Random) {
        let wide = self.setting.wide && random.below(10) == 0;
        let scope = if wide { Scope::Upstream(0) } else { Scope::Session(0, name(session)) };
        let rejected = random.below(8) == 0;
        let (guard, bound) = (Duration::from_millis(GUARD), Duration::from_millis(TTL));
        let on_mark_failure = MarkFailurePolicy { on_unreachable: OnUnreachable::Forward, bound };
        let mark = match random.below(2) {
            0 => self.cache.begin(scope, guard, on_mark_failure).await.unwrap(),
            _ => self.cache.begin_shared(scope, guard, on_mark_failure).await.unwrap(),
        };
        pause(random.below(20)).await;
        let changed: Vec<(usize, u64)> = match (rejected, wide) {
            (true, _) => Vec::new(),
            (false, true) => (0..self.sessions.len()).map(|one| (one, self.change(one))).collect(),
            (false, false) => vec![(session, self.change(session))],
        };
        pause(random.below(20)).await;
        let version = changed.first().map(|(_, version)| *version).filter(|_| !wide);
        let settled = Settled { version, unchanged: rejected, tenant: tenant(session), ..Settled::default() };
        self.cache.end(mark, WriteOutcome::End(settled)).await;
        for (one, version) in changed {
            self.sessions[one].acknowledged.fetch_max(version, Ordering::SeqCst);
        }
    }

    fn change(&self, session: usize) -> u64 {
        self.sessions[session].version.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// Gives way to others, which is what time is made of here.
async fn pause(times: u64) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// Two sessions have one name: they are those of two tenants.
fn name(session: usize) -> [u8; 16] {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&(session as u64 / 2).to_le_bytes());
    name
}

/// The provider's own tenant, or another.
fn tenant(session: usize) -> TenantId {
    let mut tenant = DEFAULT_TENANT;
    tenant[0] = session as u8 % 2;
    tenant
}

fn fetched(version: u64, too_old: bool) -> FetchedResponse {
    let response = ProviderResponse::new(StatusCode::OK, HeaderMap::new(), Bytes::from(version.to_string()), None);
    FetchedResponse {
        response: Ok(Arc::new(response)),
        status: None,
        storable: if too_old {
            Cacheability::TooOld { version }
        } else {
            Cacheability::Store { fresh: TTL, stale: 0, version: Some(version), missing: false, only: false }
        },
        failed: false,
        caller: [0; 16],
    }
}

fn version_of(response: &ProviderResponse) -> u64 {
    std::str::from_utf8(&response.body).unwrap().parse().unwrap()
}

fn run(setting: Setting, store: Arc<dyn Store>) -> Arc<World> {
    let seed = seed();
    let world = World::new(setting, store);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for task in 0..setting.readers + setting.writers {
            let world = world.clone();
            let mut random = Random::of(seed, task);
            tasks.push(tokio::spawn(async move {
                while world.next() {
                    let session = random.below(world.setting.sessions) as usize;
                    if task < world.setting.readers {
                        world.read(session, &mut random).await;
                        pause(random.below(20)).await;
                    } else {
                        world.write(session, &mut random).await;
                        // Writers rest, so that there is something to cache in between.
                        pause(random.below(600)).await;
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "hits {}, coalesced {}, misses {}, bypassed {}, stale {}",
        count(&world.hits),
        count(&world.coalesced),
        count(&world.misses),
        count(&world.bypassed),
        count(&world.stale)
    );
    world
}

fn memory(setting: Setting) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(setting.store_bytes, Duration::from_secs(600)))
}

/// That the run was one in which the cache did something.
fn assert_lively(world: &World) {
    for (what, counter) in [
        ("hits", &world.hits),
        ("coalesced reads", &world.coalesced),
        ("misses", &world.misses),
        ("reads beside a write", &world.bypassed),
    ] {
        let count = counter.load(Ordering::Relaxed);
        assert!(count > operations() / 500, "only {count} {what}");
    }
}

#[test]
fn no_stale_read_after_an_acknowledged_write() {
    let world = run(PLAIN, memory(PLAIN));
    assert_eq!(world.stale.load(Ordering::Relaxed), 0);
    assert_lively(&world);
}

#[test]
fn no_stale_read_when_entries_are_evicted() {
    let setting = Setting { sessions: 400, store_bytes: 16 * 4096, ..PLAIN };
    let store = memory(setting);
    let world = run(setting, store.clone());
    assert_eq!(world.stale.load(Ordering::Relaxed), 0);
    assert!(store.usage().evictions > 0, "nothing was dropped");
}

/// A run while another thread sweeps the store without a pause.
fn run_swept(setting: Setting) -> Arc<World> {
    let store = memory(setting);
    let swept = store.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let sweeper = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            swept.sweep();
            std::thread::yield_now();
        }
    });
    let world = run(setting, store);
    drop(stop);
    sweeper.join().unwrap();
    world
}

#[test]
fn no_stale_read_when_the_store_is_swept_constantly() {
    let world = run_swept(PLAIN);
    assert_eq!(world.stale.load(Ordering::Relaxed), 0);
    assert_lively(&world);
}

/// The provider's reads lag behind its writes. The version in the response to a write keeps older responses out of the
/// cache.
#[test]
fn responses_of_a_lagging_provider_are_not_stored() {
    let setting = Setting { lagging: true, wide: false, ..PLAIN };
    let world = run(setting, memory(setting));
    assert_eq!(world.stale.load(Ordering::Relaxed), 0);
    assert_lively(&world);
}

/// The minimum version keeps older responses of a lagging provider out of the cache. It must survive a sweep between
/// the write and the next read.
#[test]
fn sweep_keeps_the_minimum_version() {
    let store = memory(PLAIN);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let acquired = runtime.block_on(async {
        let (scope, writer) = (Scope::Session(0, name(0)), store.token());
        store.begin(scope, writer, GUARD, scope.write_scope()).await.unwrap();
        let settled = Settled { version: Some(5), ..Settled::default() };
        store.end(scope, writer, settled).await.unwrap();
        store.sweep();
        let key = CacheKey { upstream: 0, session: name(0), variant: [0; 16] };
        store
            .acquire(
                &key,
                AcquireRequest {
                    reader: store.token(),
                    steal: None,
                    fresh: false,
                    no_store: false,
                    caller: [0; 16],
                    tenant: DEFAULT_TENANT,
                },
            )
            .await
            .unwrap()
            .acquired
    });
    match acquired {
        Acquired::Lead { floor, .. } => assert_eq!(floor, Some(5)),
        _ => panic!("somebody else reads"),
    }
}

/// While another process holds the lease, readers wait, but only a limited number of them.
#[test]
fn number_of_waiting_readers_is_bounded() {
    const MOST: u64 = 10_000;
    let (store, tally) = (memory(PLAIN), Arc::new(CacheCounters::default()));
    let cache = Arc::new(Sessions::new(store.clone(), Duration::from_secs(3600), tally.clone()));
    let bypassed = || tally.read().find(|(event, _)| *event == CacheEvent::BypassWaiting).unwrap().1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let key = CacheKey { upstream: 0, session: name(0), variant: [0; 16] };
        store
            .acquire(
                &key,
                AcquireRequest {
                    reader: store.token(),
                    steal: None,
                    fresh: false,
                    no_store: false,
                    caller: [0; 16],
                    tenant: DEFAULT_TENANT,
                },
            )
            .await
            .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..MOST + 100 {
            let cache = cache.clone();
            tasks.spawn(async move { cache.read(key, ReadOptions::default(), |_| async { fetched(0, false) }).await });
        }
        for _ in 0..100 {
            assert!(matches!(tasks.join_next().await.unwrap().unwrap(), ReadResult::Bypass(_)));
        }
        pause(100).await;
        assert_eq!(bypassed(), 100);
        assert!(tasks.try_join_next().is_none(), "the others wait");
    });
}

/// If another process could not set its mark, its write waits only until no older entry can be a hit. A fetch may run
/// longer than that. Its response is given to the readers that were already waiting, and to no others.
#[test]
fn fetch_longer_than_the_ttl_is_not_joined() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, tally) = (memory(PLAIN), Arc::new(CacheCounters::default()));
        let cache = Arc::new(Sessions::new(store.clone(), Duration::from_secs(3600), tally.clone()));
        let key = CacheKey { upstream: 0, session: name(0), variant: [0; 16] };
        let wanted = |fresh| ReadOptions {
            windows: FreshnessWindows { fresh, ..FreshnessWindows::default() },
            ..ReadOptions::default()
        };
        let (stalls, goes_on) = tokio::sync::oneshot::channel::<()>();
        let (cache_of_first, mut first) = (cache.clone(), tokio::task::JoinSet::new());
        first.spawn(async move {
            let fetch = |_| async { goes_on.await.map_or_else(|_| fetched(9, false), |()| fetched(0, false)) };
            cache_of_first.read(key, wanted(TTL), fetch).await
        });
        pause(10).await;
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(5) {
            pause(1).await;
        }
        // Still on its way, it is joined by a read to which its response would be fresh, ...
        let cache_of_second = cache.clone();
        first.spawn(async move { cache_of_second.read(key, wanted(TTL), |_| async { fetched(9, false) }).await });
        pause(10).await;
        // ... and not by one to which it would not: that one waits for nothing that it cannot use.
        let third = cache.read(key, wanted(2), |_| async { fetched(1, false) });
        let third = tokio::time::timeout(Duration::from_secs(20), third).await.expect("it waits for the first");
        assert!(matches!(&third, ReadResult::Miss(fetched, _) if version_of(fetched.response.as_ref().unwrap()) == 1));
        stalls.send(()).unwrap();
        for coalesced in first.join_all().await {
            let (ReadResult::Miss(fetched, _) | ReadResult::Coalesced(fetched)) = coalesced else {
                panic!("{coalesced:?}")
            };
            assert_eq!(version_of(&fetched.response.unwrap()), 0);
        }
        // The late response replaces nothing.
        let last = cache.read(key, wanted(TTL), |_| async { fetched(9, false) }).await;
        assert!(matches!(&last, ReadResult::Hit { response, .. } if version_of(response) == 1), "{last:?}");
    });
}

/// A store whose marks do nothing.
struct Unmarked(Arc<MemoryStore>);

#[async_trait]
impl Store for Unmarked {
    fn token(&self) -> Token {
        self.0.token()
    }

    async fn acquire(&self, key: &CacheKey, ask: AcquireRequest) -> Result<Acquisition, StoreError> {
        self.0.acquire(key, ask).await
    }

    async fn fill(
        &self,
        key: &CacheKey,
        reader: Token,
        entry: Entry<Stored>,
        kept: Millis,
    ) -> Result<FillResult, StoreError> {
        self.0.fill(key, reader, entry, kept).await
    }

    async fn retire(&self, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError> {
        self.0.retire(key, reader, retired).await
    }

    async fn release(&self, key: &CacheKey, reader: Token) -> Result<(), StoreError> {
        self.0.release(key, reader).await
    }

    async fn begin(&self, _: Scope, _: Token, _: Millis, _: WriteScope) -> Result<ConnectionId, StoreError> {
        Ok(ConnectionId::default())
    }

    async fn end(&self, _: Scope, _: Token, _: Settled) -> Result<WriteEnd, StoreError> {
        Ok(WriteEnd::Reopened)
    }

    async fn right(
        &self,
        upstream: u64,
        session: &[u8; 16],
        writer: Token,
        step: RightStep,
    ) -> Result<(RightReply, ConnectionId), StoreError> {
        self.0.right(upstream, session, writer, step).await
    }

    async fn rights_count_in(&self, session: &[u8; 16], after: Duration) -> Duration {
        self.0.rights_count_in(session, after).await
    }

    async fn has_older_replica(&self) -> Result<bool, StoreError> {
        self.0.has_older_replica().await
    }

    async fn deleted(&self, upstream: u64, tenant: &TenantId, sessions: &[[u8; 16]]) -> Result<Vec<bool>, StoreError> {
        self.0.deleted(upstream, tenant, sessions).await
    }

    fn connection_id(&self, scope: Scope) -> Option<ConnectionId> {
        self.0.connection_id(scope)
    }

    fn outage(&self, scope: Scope) -> Option<StoreOutage> {
        self.0.outage(scope)
    }

    fn usage(&self) -> StoreUsage {
        self.0.usage()
    }
}

#[test]
fn checker_finds_stale_reads_without_invalidation_marks() {
    let world = run(PLAIN, Arc::new(Unmarked(memory(PLAIN))));
    assert!(world.stale.load(Ordering::Relaxed) > 0, "the checker finds nothing");
}

/// The classic mistake of single flights: known by the response's name alone, a fetch that began before a write is joined
/// after it. Here every lease has the same stamp, as if there were no generations; stored responses are left out, so that
/// only joining counts.
struct Unstamped(Arc<MemoryStore>);

const NO_STAMP: Stamp = Stamp { session: Generation(0), epoch: Generation(0) };

#[async_trait]
impl Store for Unstamped {
    fn token(&self) -> Token {
        self.0.token()
    }

    async fn acquire(&self, key: &CacheKey, ask: AcquireRequest) -> Result<Acquisition, StoreError> {
        // Only the first reader of a name leads, whatever was written since; a release ends it.
        let unmarked = CacheKey { upstream: 1, ..*key };
        let found = self.0.acquire(&unmarked, ask).await?;
        let acquired = match found.acquired {
            Acquired::Lead { floor, stale, .. } => Acquired::Lead { stamp: NO_STAMP, floor, stale, since: 0 },
            Acquired::Wait { reader, stale, .. } => Acquired::Wait { stamp: NO_STAMP, reader, stale, since: 0 },
            other => other,
        };
        Ok(Acquisition { acquired, ..found })
    }

    async fn fill(&self, key: &CacheKey, reader: Token, _: Entry<Stored>, _: Millis) -> Result<FillResult, StoreError> {
        // As after a response that may not be stored: the next reader leads.
        let unmarked = CacheKey { upstream: 1, ..*key };
        self.0.release(&unmarked, reader).await.map(|()| FillResult::Fetched)
    }

    async fn retire(&self, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError> {
        self.0.retire(key, reader, retired).await
    }

    async fn release(&self, key: &CacheKey, reader: Token) -> Result<(), StoreError> {
        self.0.release(key, reader).await
    }

    async fn begin(
        &self,
        scope: Scope,
        writer: Token,
        guard: Millis,
        reach: WriteScope,
    ) -> Result<ConnectionId, StoreError> {
        self.0.begin(scope, writer, guard, reach).await
    }

    async fn end(&self, scope: Scope, writer: Token, settled: Settled) -> Result<WriteEnd, StoreError> {
        self.0.end(scope, writer, settled).await
    }

    async fn right(
        &self,
        upstream: u64,
        session: &[u8; 16],
        writer: Token,
        step: RightStep,
    ) -> Result<(RightReply, ConnectionId), StoreError> {
        self.0.right(upstream, session, writer, step).await
    }

    async fn rights_count_in(&self, session: &[u8; 16], after: Duration) -> Duration {
        self.0.rights_count_in(session, after).await
    }

    async fn has_older_replica(&self) -> Result<bool, StoreError> {
        self.0.has_older_replica().await
    }

    async fn deleted(&self, upstream: u64, tenant: &TenantId, sessions: &[[u8; 16]]) -> Result<Vec<bool>, StoreError> {
        self.0.deleted(upstream, tenant, sessions).await
    }

    fn connection_id(&self, scope: Scope) -> Option<ConnectionId> {
        self.0.connection_id(scope)
    }

    fn outage(&self, scope: Scope) -> Option<StoreOutage> {
        self.0.outage(scope)
    }

    fn usage(&self) -> StoreUsage {
        self.0.usage()
    }
}

#[test]
fn checker_finds_late_joins_without_timestamps() {
    let world = run(PLAIN, Arc::new(Unstamped(memory(PLAIN))));
    assert_eq!(world.hits.load(Ordering::Relaxed), 0, "nothing is stored");
    assert!(world.stale.load(Ordering::Relaxed) > 0, "the checker finds nothing");
}
