use super::*;
use crate::coherence::{DEFAULT_TENANT, RetireCause};
use crate::gateway::ProviderResponse;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

fn key(number: u64) -> CacheKey {
    let mut session = [0; 16];
    session[..8].copy_from_slice(&number.to_le_bytes());
    CacheKey { upstream: 0, session, variant: [0; 16] }
}

async fn acquire(store: &MemoryStore, key: &CacheKey, reader: Token) -> Acquisition {
    store
        .acquire(
            key,
            AcquireRequest {
                reader,
                steal: None,
                fresh: false,
                no_store: false,
                caller: [1; 16],
                tenant: DEFAULT_TENANT,
            },
        )
        .await
        .unwrap()
}

async fn put(store: &MemoryStore, key: &CacheKey, bytes: usize, ttl: Millis) {
    let reader = store.token();
    let Acquisition { acquired: Acquired::Lead { stamp, .. }, now: began, .. } = acquire(store, key, reader).await
    else {
        panic!("somebody else reads");
    };
    let body = Bytes::from(vec![b'x'; bytes]);
    let response = Arc::new(ProviderResponse::new(StatusCode::OK, HeaderMap::new(), body, None));
    let (fresh_until, stale_until) = (began / 1_000 + ttl, began / 1_000 + ttl);
    let entry = Entry {
        stamp,
        began,
        fresh_until,
        stale_until,
        version: Some(1),
        only: None,
        missing: false,
        digest: 0,
        response,
    };
    store.fill(key, reader, entry, ttl).await.unwrap();
}

async fn hits(store: &MemoryStore, key: &CacheKey) -> bool {
    matches!(acquire(store, key, store.token()).await.acquired, Acquired::Hit(..))
}

#[tokio::test]
async fn store_stays_within_its_size_and_keeps_recently_read_entries() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    put(&store, &key(0), 2_000, 60_000).await;
    for number in 1..2_000 {
        assert!(hits(&store, &key(0)).await, "evicted although it is read, at {number}");
        put(&store, &key(number), 2_000, 60_000).await;
        assert!(store.usage().bytes <= 1 << 20);
    }
    assert!(store.usage().evictions > 1_000);
}

#[tokio::test]
async fn marks_and_deletions_are_not_evicted() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    let (marked, deleted) = (Scope::Session(0, key(0).session), Scope::Session(0, key(16).session));
    store.begin(marked, Token(1), 60_000, marked.write_scope()).await.unwrap();
    store.begin(deleted, Token(2), 60_000, deleted.write_scope()).await.unwrap();
    let settled = Settled { deleted_for: Some(60_000), ..Settled::default() };
    store.end(deleted, Token(2), settled).await.unwrap();
    for number in 1..2_000 {
        put(&store, &key(number * 1_000 + 1), 2_000, 60_000).await;
    }
    assert_eq!(acquire(&store, &key(0), Token(3)).await.acquired.name(), "bypass");
    assert_eq!(acquire(&store, &key(16), Token(4)).await.acquired.name(), "deleted");
}

#[tokio::test]
async fn expired_state_is_dropped() {
    let store = MemoryStore::new(1 << 20, Duration::ZERO);
    put(&store, &key(1), 2_000, 0).await;
    put(&store, &key(2), 2_000, 60_000).await;
    store.sweep();
    assert_eq!(store.usage().sessions, 1);
    assert!(hits(&store, &key(2)).await);
    assert!(store.usage().bytes < 4_000);
}

#[tokio::test]
async fn deletions_do_not_outgrow_the_store() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    for number in 0..20_000 {
        let scope = Scope::Session(0, key(number).session);
        let writer = store.token();
        store.begin(scope, writer, 60_000, scope.write_scope()).await.unwrap();
        let settled = Settled { deleted_for: Some(300_000), ..Settled::default() };
        store.end(scope, writer, settled).await.unwrap();
    }
    assert!(store.usage().bytes <= 1 << 20);
    let last = acquire(&store, &key(19_999), store.token()).await.acquired;
    assert_eq!(last.name(), "deleted", "the latest are remembered");
}

#[tokio::test]
async fn rejected_credentials_leave_nothing_behind() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    put(&store, &key(1), 500, 60_000).await;
    let before = store.usage().bytes;
    for credential in 0..1_000_u64 {
        let mut other = key(1);
        other.variant[..8].copy_from_slice(&(credential + 1).to_le_bytes());
        let reader = store.token();
        assert_eq!(acquire(&store, &other, reader).await.acquired.name(), "lead");
        store.release(&other, reader).await.unwrap();
    }
    assert_eq!(store.usage().bytes, before);
    for credential in 0..1_000_u64 {
        let mut other = key(1);
        other.variant[..8].copy_from_slice(&(credential + 1).to_le_bytes());
        put(&store, &other, 500, 60_000).await;
    }
    assert!(store.usage().bytes < 80_000, "{}", store.usage().bytes);
}

fn variant(number: u64) -> CacheKey {
    let mut key = key(1);
    key.variant[..8].copy_from_slice(&number.to_le_bytes());
    key
}

const ENDED: Retired = Retired { kept: 60_000, cause: RetireCause::Invalidated };

/// A read with a credential that the provider rejects.
async fn rejected(store: &MemoryStore, key: &CacheKey) {
    let reader = store.token();
    acquire(store, key, reader).await;
    store.retire(key, reader, ENDED).await.unwrap();
}

/// A store with room for one more variant of the session.
async fn crowded() -> MemoryStore {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    for junk in 1_001..1_064 {
        rejected(&store, &variant(junk)).await;
    }
    store
}

/// A started fetch, and the entry to store.
async fn slow(store: &MemoryStore, key: &CacheKey, version: u64) -> (Token, Entry<Stored>) {
    let reader = store.token();
    let Acquisition { acquired: Acquired::Lead { stamp, .. }, now: began, .. } = acquire(store, key, reader).await
    else {
        panic!("somebody else reads");
    };
    let (headers, body) = (HeaderMap::new(), Bytes::from_static(b"old"));
    let response = Arc::new(ProviderResponse::new(StatusCode::OK, headers, body, None));
    let until = began / 1_000 + 60_000;
    let (fresh_until, stale_until, version) = (until, until, Some(version));
    (reader, Entry { stamp, began, fresh_until, stale_until, version, only: None, missing: false, digest: 0, response })
}

#[tokio::test]
async fn rejected_reads_evict_no_entry() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    for junk in 1..=70 {
        rejected(&store, &variant(junk)).await;
    }
    let owner = variant(0);
    put(&store, &owner, 500, 60_000).await;
    for junk in 71..300 {
        rejected(&store, &variant(junk)).await;
        assert!(hits(&store, &owner).await, "after {junk}");
    }
}

#[tokio::test]
async fn reads_in_flight_evict_no_entry() {
    let store = crowded().await;
    let owner = variant(0);
    let (reader, entry) = slow(&store, &owner, 1).await;
    for junk in 1..200 {
        acquire(&store, &variant(junk), store.token()).await;
    }
    store.fill(&owner, reader, entry, 60_000).await.unwrap();
    assert!(hits(&store, &owner).await);
}

#[tokio::test]
async fn evicted_slot_still_rejects_older_responses() {
    let store = crowded().await;
    let owner = variant(0);
    let (reader, entry) = slow(&store, &owner, 1).await;
    let newer = store.token();
    // Moments are compared in microseconds; wait for a later one.
    std::iter::repeat_with(|| store.now_micros()).find(|now_micros| *now_micros > entry.began);
    store.retire(&owner, newer, ENDED).await.unwrap();
    for junk in 1..200 {
        rejected(&store, &variant(junk)).await;
    }
    acquire(&store, &owner, store.token()).await;
    store.fill(&owner, reader, entry, 60_000).await.unwrap();
    assert!(!hits(&store, &owner).await, "an answer from before the 404");
    store.sweep();
    assert_eq!(store.usage().sessions, 1);
}

#[tokio::test]
async fn evicted_entry_still_rejects_older_versions() {
    let store = MemoryStore::new(2 << 20, Duration::from_secs(5));
    let owner = variant(0);
    let (_, newer) = slow(&store, &owner, 2).await;
    let older = Entry { version: Some(1), ..newer.clone() };
    store.fill(&owner, store.token(), newer, 60_000).await.unwrap();
    assert!(hits(&store, &owner).await);
    for other in 1..64 {
        put(&store, &variant(other), 500, 60_000).await;
    }
    assert!(hits(&store, &owner).await, "there is room for so many");
    put(&store, &variant(64), 500, 60_000).await;
    assert!(hits(&store, &variant(64)).await);
    store.fill(&owner, store.token(), older, 60_000).await.unwrap();
    assert!(!hits(&store, &owner).await, "an older version");
}

#[tokio::test]
async fn denials_survive_the_eviction_of_their_slot() {
    let store = crowded().await;
    let owner = variant(0);
    let denied = Retired { kept: 60_000, cause: RetireCause::Denied([1; 16]) };
    store.retire(&owner, store.token(), denied).await.unwrap();
    // Another credential requests all of them.
    for other in 1..200 {
        let (reader, key) = (store.token(), variant(other));
        let ask = AcquireRequest {
            reader,
            steal: None,
            fresh: false,
            no_store: false,
            caller: [2; 16],
            tenant: DEFAULT_TENANT,
        };
        let Acquisition { acquired: Acquired::Lead { stamp, .. }, now: began, .. } =
            store.acquire(&key, ask).await.unwrap()
        else {
            panic!("others are not denied");
        };
        let until = began / 1_000 + 60_000;
        let response = ProviderResponse::new(StatusCode::OK, HeaderMap::new(), Bytes::new(), None);
        let (fresh_until, stale_until, response) = (until, until, Arc::new(response));
        let entry = Entry {
            stamp,
            began,
            fresh_until,
            stale_until,
            version: Some(1),
            only: None,
            missing: false,
            digest: 0,
            response,
        };
        store.fill(&key, reader, entry, 60_000).await.unwrap();
    }
    assert_eq!(acquire(&store, &owner, store.token()).await.acquired.name(), "denied");
}

#[test]
fn stored_responses_share_no_memory_with_their_connection() {
    let body = Bytes::from(vec![b'x'; 8192]).slice(10..20);
    let response = ProviderResponse::new(StatusCode::OK, HeaderMap::new(), body, None);
    assert_ne!(response.cacheable_copy().body.as_ptr(), response.body.as_ptr());
}

impl Acquired<Stored> {
    fn name(&self) -> &'static str {
        match self {
            Acquired::Hit(..) => "hit",
            Acquired::Lead { .. } => "lead",
            Acquired::Wait { .. } => "wait",
            Acquired::Denied { .. } => "denied",
            Acquired::Bypass => "bypass",
            Acquired::Deleted => "deleted",
        }
    }
}
