use super::*;
use crate::gateway::Answer;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

fn key(number: u64) -> CacheKey {
    let mut session = [0; 16];
    session[..8].copy_from_slice(&number.to_le_bytes());
    CacheKey { upstream: 0, session, variant: [0; 16] }
}

async fn acquire(store: &MemoryStore, key: &CacheKey, reader: Token) -> Acquisition {
    store.acquire(key, Ask { reader, steal: None, fresh: false, unstored: false, asker: [1; 16] }).await.unwrap()
}

async fn put(store: &MemoryStore, key: &CacheKey, bytes: usize, ttl: Millis) {
    let reader = store.token();
    let Acquisition { acquired: Acquired::Lead { stamp, .. }, now: began, .. } = acquire(store, key, reader).await
    else {
        panic!("somebody else reads");
    };
    let body = Bytes::from(vec![b'x'; bytes]);
    let answer = Arc::new(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body, trailers: None });
    let (fresh_until, stale_until) = (began / 1_000 + ttl, began / 1_000 + ttl);
    let entry = Entry { stamp, began, fresh_until, stale_until, version: Some(1), only: None, missing: false, answer };
    store.fill(key, reader, entry, ttl).await.unwrap();
}

async fn hits(store: &MemoryStore, key: &CacheKey) -> bool {
    matches!(acquire(store, key, store.token()).await.acquired, Acquired::Hit(..))
}

#[tokio::test]
async fn it_never_holds_more_than_it_may_and_keeps_what_is_read() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    put(&store, &key(0), 2_000, 60_000).await;
    for number in 1..2_000 {
        assert!(hits(&store, &key(0)).await, "evicted although it is read, at {number}");
        put(&store, &key(number), 2_000, 60_000).await;
        assert!(store.measure().bytes <= 1 << 20);
    }
    assert!(store.measure().evictions > 1_000);
}

#[tokio::test]
async fn what_matters_is_not_evicted() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    let (marked, deleted) = (Scope::Session(0, key(0).session), Scope::Session(0, key(16).session));
    store.begin(marked, Token(1), 60_000, marked.reach()).await.unwrap();
    store.begin(deleted, Token(2), 60_000, deleted.reach()).await.unwrap();
    let settled = Settled { deleted_for: Some(60_000), ..Settled::default() };
    store.end(deleted, Token(2), settled).await.unwrap();
    for number in 1..2_000 {
        put(&store, &key(number * 1_000 + 1), 2_000, 60_000).await;
    }
    assert_eq!(acquire(&store, &key(0), Token(3)).await.acquired.name(), "bypass");
    assert_eq!(acquire(&store, &key(16), Token(4)).await.acquired.name(), "deleted");
}

#[tokio::test]
async fn what_is_over_leaves_the_memory() {
    let store = MemoryStore::new(1 << 20, Duration::ZERO);
    put(&store, &key(1), 2_000, 0).await;
    put(&store, &key(2), 2_000, 60_000).await;
    store.sweep();
    assert_eq!(store.measure().sessions, 1);
    assert!(hits(&store, &key(2)).await);
    assert!(store.measure().bytes < 4_000);
}

#[tokio::test]
async fn deletions_do_not_outgrow_the_store() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    for number in 0..20_000 {
        let scope = Scope::Session(0, key(number).session);
        let writer = store.token();
        store.begin(scope, writer, 60_000, scope.reach()).await.unwrap();
        let settled = Settled { deleted_for: Some(300_000), ..Settled::default() };
        store.end(scope, writer, settled).await.unwrap();
    }
    assert!(store.measure().bytes <= 1 << 20);
    let last = acquire(&store, &key(19_999), store.token()).await.acquired;
    assert_eq!(last.name(), "deleted", "the latest are remembered");
}

#[tokio::test]
async fn refused_credentials_leave_nothing_behind() {
    let store = MemoryStore::new(1 << 20, Duration::from_secs(5));
    put(&store, &key(1), 500, 60_000).await;
    let before = store.measure().bytes;
    for credential in 0..1_000_u64 {
        let mut other = key(1);
        other.variant[..8].copy_from_slice(&(credential + 1).to_le_bytes());
        let reader = store.token();
        assert_eq!(acquire(&store, &other, reader).await.acquired.name(), "lead");
        store.release(&other, reader).await.unwrap();
    }
    assert_eq!(store.measure().bytes, before);
    for credential in 0..1_000_u64 {
        let mut other = key(1);
        other.variant[..8].copy_from_slice(&(credential + 1).to_le_bytes());
        put(&store, &other, 500, 60_000).await;
    }
    assert!(store.measure().bytes < 80_000, "{}", store.measure().bytes);
}

#[test]
fn what_is_stored_shares_no_memory_with_the_connection_it_came_from() {
    let body = Bytes::from(vec![b'x'; 8192]).slice(10..20);
    let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body, trailers: None };
    assert_ne!(answer.stored().body.as_ptr(), answer.body.as_ptr());
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
