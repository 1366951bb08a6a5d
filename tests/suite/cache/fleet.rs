//! Coherence of the cache across replicas: a read through any replica that starts after a write through any replica was
//! acknowledged never gets an older response, and no reader sees a session go back. Gateways run as processes. To test
//! a store that loses acknowledged data, the caches run in the test, with and without the fence.
//!
//! Without the fence, the checker must find stale responses: otherwise the test proves nothing.

use crate::harness::replica::SEAL_KEY;
use crate::harness::{Fleet, Known, LoadReport, Random, RedisServer, SESSIONS, long, redis_installed, seed, wait_for};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use secrecy::SecretSlice;
use sessiongate::cache::{
    AcquireRequest, Acquisition, CacheCounters, FetchedResponse, FillResult, MarkFailurePolicy, ReadOptions,
    ReadResult, RedisStore, Scope, Sessions, Store, StoreError, StoreOutage, StoreUsage, Stored,
};
use sessiongate::coherence::exclusive::{RightReply, RightStep};
use sessiongate::coherence::reading::ConnectionId;
use sessiongate::coherence::{
    Acquired, DEFAULT_TENANT, Entry, Millis, Retired, Settled, TenantId, Token, WriteEnd, WriteScope,
};
use sessiongate::config::{Login, Redis, RedisAddress, RedisTimeouts, Servers};
use sessiongate::gateway::{CacheKey, Cacheability, OnUnreachable, ProviderResponse, WriteOutcome};
use sessiongate::metrics::StoreMetrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn three_replicas_serve_no_stale_read_after_a_write() {
    if !redis_installed() {
        return;
    }
    let operations: u64 = if long() { 2_000_000 } else { 200_000 };
    let server = RedisServer::start();
    // On a very busy machine, a mark may take longer than this, and its write proceeds without it.
    let timeouts = "{ connect: 2s, read: 5s, write: 5s }";
    let fleet = Fleet::start(&format!("url: \"{}\", timeouts: {timeouts}", server.url()), 3);
    let found = fleet.under_load(|found| {
        let mut before = 0;
        while found.operations() < operations {
            wait_for("operations", || (found.operations() > before).then_some(()));
            before = found.operations();
            thread::sleep(Duration::from_millis(100));
        }
    });
    found.print("three gateways");
    let unmarked = fleet.event("invalidation_failed");
    for event in ["bypass_failed", "lease_lost", "fenced", "mark_lost", "unconfirmed", "invalidation_failed"] {
        println!("{event} {}", fleet.event(event));
    }
    assert_eq!(found.stale.into_inner(), 0);
    assert_eq!((found.backwards.into_inner(), unmarked), (0, 0));
    assert_eq!(found.others_deleted.into_inner(), 0);
    // If the store does not respond, the read goes to the provider.
    assert!(found.undeleted.into_inner() <= fleet.event("bypass_failed"), "a session came back");
    assert!(found.hits.into_inner() > operations / 3, "the cache did little");
}

/// A store that hides from its readers that its connection is another one.
struct Unfenced(RedisStore);

#[async_trait]
impl Store for Unfenced {
    fn token(&self) -> Token {
        self.0.token()
    }

    async fn acquire(&self, key: &CacheKey, ask: AcquireRequest) -> Result<Acquisition, StoreError> {
        let found = self.0.acquire(key, ask).await?;
        Ok(Acquisition { connection_id: ConnectionId::default(), ..found })
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

pub(super) fn settings(server: &RedisServer) -> Redis {
    Redis {
        servers: Servers::Single(RedisAddress { host: "127.0.0.1".into(), port: server.port() }),
        database: 0,
        tls: None,
        login: Login::default(),
        namespace: "fleet".into(),
        seal_keys: vec![SecretSlice::from(SEAL_KEY.as_bytes().to_vec())],
        hash_key: SecretSlice::from(b"a hash key of the fleet".to_vec()),
        timeouts: RedisTimeouts {
            connect: Duration::from_millis(250),
            read: Duration::from_millis(100),
            write: Duration::from_millis(200),
        },
        lease_wait: Duration::from_millis(200),
        max_in_flight: 1024,
        settle: Duration::ZERO,
    }
}

/// Three caches in this process on one server, which is set back to an older copy of its data again and again.
fn set_back(fenced: bool) -> LoadReport {
    const READERS: u64 = 6;
    const WRITERS: u64 = 3;
    const ROUNDS: u64 = 12;
    const ENOUGH_HITS: u64 = 1_000;
    // How long the checker may take to find what is wrong without the fence: when that shows is left to chance.
    const MOST_ROUNDS: u64 = 120;
    let seed = seed();
    let mut server = RedisServer::start();
    let known: Arc<Vec<Known>> = Arc::new((0..SESSIONS).map(|_| Known::default()).collect());
    let (found, over) = (Arc::new(LoadReport::default()), Arc::new(AtomicBool::new(false)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let caches: Vec<Arc<Sessions>> = (0..3)
        .map(|_| {
            let (tally, listener) = (Arc::new(CacheCounters::default()), Arc::new(StoreMetrics::new().unwrap()));
            let lease = Duration::from_secs(5);
            let store = RedisStore::new(&settings(&server), lease, tally.clone(), listener).unwrap();
            store.start();
            let store: Arc<dyn Store> = if fenced { Arc::new(store) } else { Arc::new(Unfenced(store)) };
            Arc::new(Sessions::new(store, Duration::from_millis(200), tally))
        })
        .collect();
    let wait_connected = || {
        wait_for("all caches to be connected", || {
            caches.iter().all(|cache| cache.store().connection_id(Scope::Upstream(0)).is_some()).then_some(())
        });
    };
    wait_connected();
    for task in 0..READERS + WRITERS {
        let (caches, known, found, over) = (caches.clone(), known.clone(), found.clone(), over.clone());
        let mut random = Random::of(seed, task);
        runtime.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let number = random.below(SESSIONS as u64) as usize;
                let cache = &caches[random.below(3) as usize];
                if task < READERS {
                    read(cache, &known, number, &mut random, &found).await;
                } else {
                    write(cache, &known[number], number, &mut random, &found).await;
                    tokio::time::sleep(Duration::from_micros(random.below(4000))).await;
                }
            }
        });
    }
    for round in 0..MOST_ROUNDS {
        let (hits, stale) = (found.hits.load(Ordering::Relaxed), found.stale.load(Ordering::Relaxed));
        // A busy machine needs more rounds for as many hits.
        let is_enough = if fenced { round >= ROUNDS && hits > ENOUGH_HITS } else { stale > 0 };
        if is_enough {
            break;
        }
        let before = found.writes.load(Ordering::Relaxed);
        let more = |count: u64| {
            wait_for("more writes", || (found.writes.load(Ordering::Relaxed) > before + count).then_some(()));
        };
        more(20);
        // What is written from now on is lost, also what is acknowledged.
        let _: () = server.ask(&["SAVE"]);
        more(60);
        server.kill();
        wait_for("all caches to be disconnected", || {
            caches.iter().all(|cache| cache.store().connection_id(Scope::Upstream(0)).is_none()).then_some(())
        });
        server.restart();
        wait_connected();
    }
    over.store(true, Ordering::Relaxed);
    drop(_entered);
    runtime.shutdown_timeout(Duration::from_secs(10));
    found.print(if fenced { "set back" } else { "set back, without the fence" });
    wait_for("the tasks to end", || (Arc::strong_count(&found) == 1).then_some(()));
    Arc::into_inner(found).unwrap()
}

fn name(session: usize) -> [u8; 16] {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&(session as u64).to_le_bytes());
    name
}

async fn read(cache: &Sessions, known: &Arc<Vec<Known>>, number: usize, random: &mut Random, found: &LoadReport) {
    let key = CacheKey { upstream: 0, session: name(number), variant: [0; 16] };
    let bounds = known[number].bounds();
    let (before, after) = (random.below(1500), random.below(1500));
    let provider = known.clone();
    let fetch = move |floor: Option<u64>| async move {
        tokio::time::sleep(Duration::from_micros(before)).await;
        let version = provider[number].version.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_micros(after)).await;
        let too_old = floor.is_some_and(|floor| version < floor);
        fetched(version, too_old)
    };
    let (shown, hit) = match cache.read(key, ReadOptions::default(), fetch).await {
        ReadResult::Hit { response, .. } => (version_of(&response), true),
        ReadResult::Coalesced(fetched) => (version_of(&fetched.response.unwrap()), true),
        ReadResult::Miss(fetched, _) => (version_of(&fetched.response.unwrap()), false),
        ReadResult::Bypass(_) => {
            // What a read does instead.
            tokio::time::sleep(Duration::from_micros(before)).await;
            (known[number].version.load(Ordering::SeqCst), false)
        }
        ReadResult::Deleted => panic!("nothing is deleted here"),
    };
    known[number].check(bounds, shown, hit, found);
}

/// As `proxy/governed.rs` carries a write out.
async fn write(cache: &Sessions, known: &Known, number: usize, random: &mut Random, found: &LoadReport) {
    let on_mark_failure = MarkFailurePolicy { on_unreachable: OnUnreachable::Forward, bound: Duration::from_secs(300) };
    let scope = Scope::Session(0, name(number));
    let mark = cache.begin(scope, Duration::from_secs(30), on_mark_failure).await.unwrap();
    tokio::time::sleep(Duration::from_micros(random.below(1500))).await;
    let version = known.version.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::time::sleep(Duration::from_micros(random.below(1500))).await;
    // Without a version there is no floor: only generations and the fence keep what is old away.
    cache.end(mark, WriteOutcome::End(Settled::default())).await;
    known.acknowledged.fetch_max(version, Ordering::SeqCst);
    found.writes.fetch_add(1, Ordering::Relaxed);
}

fn fetched(version: u64, too_old: bool) -> FetchedResponse {
    let (headers, body) = (HeaderMap::new(), Bytes::from(version.to_string()));
    let response = ProviderResponse::new(StatusCode::OK, headers, body, None);
    let storable = if too_old {
        Cacheability::TooOld { version }
    } else {
        Cacheability::Store { fresh: 300_000, stale: 0, version: Some(version), missing: false, only: false }
    };
    FetchedResponse { response: Ok(Arc::new(response)), status: None, storable, failed: false, caller: [0; 16] }
}

fn version_of(response: &ProviderResponse) -> u64 {
    std::str::from_utf8(&response.body).unwrap().parse().unwrap()
}

#[test]
fn store_rollback_causes_no_stale_reads() {
    if !redis_installed() {
        return;
    }
    let found = set_back(true);
    assert_eq!(found.stale.into_inner(), 0);
    assert!(found.hits.into_inner() > 1_000, "the cache did little");
}

#[test]
fn checker_finds_stale_reads_without_the_fence() {
    if !redis_installed() {
        return;
    }
    let found = set_back(false);
    assert!(found.stale.into_inner() > 0, "the checker finds nothing");
}

/// If an upstream-wide write changes nothing, the previous state is valid again, including its leases.
#[test]
fn read_during_an_upstream_wide_write_leaves_no_lease() {
    if !redis_installed() {
        return;
    }
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let [here, there] = [(), ()].map(|()| {
        let (tally, listener) = (Arc::new(CacheCounters::default()), Arc::new(StoreMetrics::new().unwrap()));
        let lease = Duration::from_secs(600);
        let store = RedisStore::new(&settings(&server), lease, tally.clone(), listener).unwrap();
        store.start();
        Sessions::new(Arc::new(store), Duration::from_secs(600), tally)
    });
    let scope = Scope::Upstream(0);
    wait_for("both to be connected", || {
        [&here, &there].iter().all(|cache| cache.store().connection_id(scope).is_some()).then_some(())
    });
    let key = |number| CacheKey { upstream: 0, session: name(number), variant: [0; 16] };
    let ask = |cache: &Sessions| AcquireRequest {
        reader: cache.store().token(),
        steal: None,
        fresh: false,
        no_store: false,
        caller: [0; 16],
        tenant: DEFAULT_TENANT,
    };
    runtime.block_on(async {
        // From here on it knows the epoch, and asks under it.
        here.store().acquire(&key(0), ask(&here)).await.unwrap();
        let writer = there.store().token();
        there.store().begin(scope, writer, 600_000, WriteScope::Upstream).await.unwrap();
        let found = here.read(key(1), ReadOptions::default(), |_| async { fetched(0, false) }).await;
        assert!(matches!(found, ReadResult::Bypass(_)), "{found:?}");
        let unchanged = Settled { unchanged: true, ..Settled::default() };
        there.store().end(scope, writer, unchanged).await.unwrap();
    });
    wait_for("its lease to be given back", || {
        let found = runtime.block_on(there.store().acquire(&key(1), ask(&there))).unwrap();
        matches!(found.acquired, Acquired::Lead { .. }).then_some(())
    });
}
