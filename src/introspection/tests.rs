use super::calls::{Call, Calls};
use super::endpoint_state::Change;
use super::token_cache::{Cached, Known, TokenCache};
use super::*;
use crate::gateway::ClientAuthentication;
use crate::telemetry::IntrospectionFailure;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::mpsc;

const NOW: u64 = 1_800_000_000;
const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(3);

fn source(max_stale: u64) -> IntrospectionSource {
    IntrospectionSource {
        url: "http://127.0.0.1:1/".into(),
        host: None,
        issuer: "https://i/".into(),
        client_id: "gate".into(),
        authentication: ClientAuthentication::Secret("secret".into()),
        ttl: 10 * SECOND,
        negative_ttl: 2 * SECOND,
        max_stale: SECOND * u32::try_from(max_stale).unwrap(),
        timeout: SECOND,
        in_flight: 4,
        per_source: 2,
        authorities: None,
        proxy: None,
    }
}

fn verified(expires_at: u64) -> Arc<Verified> {
    let expected = Expectations {
        issuers: vec!["https://i/".into()],
        audiences: vec!["a".into()],
        algorithms: Vec::new(),
        leeway: 0,
        claims: crate::token::ClaimNames { scopes: "scope".into(), ..crate::token::ClaimNames::default() },
        token_type: None,
    };
    let response = format!(r#"{{"active":true,"iss":"https://i/","aud":"a","exp":{expires_at}}}"#);
    Arc::new(introspected(response.as_bytes(), "token", &expected, NOW).unwrap())
}

fn is_stale(cached: &Cached) -> bool {
    matches!(cached, Cached::Expired(Known { stale: Some(_), .. }))
}

#[tokio::test(start_paused = true)]
async fn active_token_is_accepted_for_its_ttl_and_never_after_exp() {
    let (tokens, source) = (TokenCache::new().unwrap(), source(0));
    let key = tokens.key_of("token");
    assert_ne!(key, TokenCache::new().unwrap().key_of("token"), "the hash is keyed");
    assert!(matches!(tokens.find(&key, &source, NOW), Cached::Unknown));
    tokens.accept(key, Instant::now(), verified(NOW + 5));
    assert!(matches!(tokens.find(&key, &source, NOW + 4), Cached::Accepted(_)));
    assert!(matches!(tokens.find(&key, &source, NOW + 5), Cached::Unknown), "expired");
    tokens.accept(key, Instant::now(), verified(NOW + 500));
    tokio::time::advance(source.ttl - SECOND).await;
    assert!(matches!(tokens.find(&key, &source, NOW), Cached::Accepted(_)));
    tokio::time::advance(SECOND).await;
    let known = tokens.find(&key, &source, NOW);
    assert!(matches!(known, Cached::Expired(Known { stale: None, failed: None })), "{known:?}");
}

#[tokio::test(start_paused = true)]
async fn known_token_is_accepted_for_max_stale_only_while_its_introspection_fails() {
    let (tokens, source) = (TokenCache::new().unwrap(), source(20));
    let key = tokens.key_of("token");
    tokens.accept(key, Instant::now(), verified(NOW + 500));
    tokio::time::advance(source.ttl).await;
    let first = tokens.find(&key, &source, NOW);
    assert!(matches!(first, Cached::Expired(Known { stale: Some(_), failed: None })), "{first:?}");
    tokens.failed(&key);
    let again = tokens.find(&key, &source, NOW);
    assert!(matches!(again, Cached::Expired(Known { stale: Some(_), failed: Some(_) })), "{again:?}");
    assert!(!is_stale(&tokens.find(&key, &source, NOW + 500)), "never after exp");
    tokens.accept(key, Instant::now(), verified(NOW + 500));
    tokens.failed(&key);
    tokio::time::advance(source.ttl + source.max_stale).await;
    assert!(!is_stale(&tokens.find(&key, &source, NOW)), "too long ago");
    tokens.reject(key, Instant::now(), Rejection::TokenInactive);
    assert!(matches!(tokens.find(&key, &source, NOW), Cached::Rejected(Rejection::TokenInactive)), "revoked");
    tokio::time::advance(source.negative_ttl).await;
    assert!(matches!(tokens.find(&key, &source, NOW), Cached::Unknown), "no longer known");
}

#[tokio::test(start_paused = true)]
async fn rejected_tokens_neither_grow_nor_replace_active_ones() {
    let (tokens, source) = (TokenCache::new().unwrap(), source(0));
    let known = tokens.key_of("known");
    tokens.accept(known, Instant::now(), verified(NOW + 500));
    for number in 0..50_000 {
        let since = Instant::now();
        tokens.reject(tokens.key_of(&format!("stranger {number}")), since, Rejection::TokenInactive);
    }
    assert!(matches!(tokens.find(&known, &source, NOW), Cached::Accepted(_)));
    let cached = |number: &i32| {
        let key = tokens.key_of(&format!("stranger {number}"));
        matches!(tokens.find(&key, &source, NOW), Cached::Rejected(_))
    };
    assert!((0..50_000).filter(cached).count() <= 10_000);
}

/// A client address.
fn address(last: u8) -> Option<IpAddr> {
    Some(Ipv4Addr::new(127, 0, 0, last).into())
}

/// Starts calls that end only when the test ends them.
struct World {
    calls: Arc<Calls<u32>>,
    started: mpsc::UnboundedSender<Call<u32>>,
}

impl World {
    fn new(in_flight: usize, per_source: usize) -> (World, mpsc::UnboundedReceiver<Call<u32>>) {
        let (started, calls) = mpsc::unbounded_channel();
        (World { calls: Calls::new(in_flight, per_source, TTL), started }, calls)
    }

    fn join(&self, token: u8, known: bool, source: Option<IpAddr>) -> Result<watch::Receiver<Option<u32>>, Rejection> {
        self.calls.join([token; 32], known, source, |call| self.started.send(call).unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn requests_with_one_token_share_one_call() {
    let (world, mut started) = World::new(4, 1);
    let mut joined: Vec<_> = (0..100).map(|_| world.join(1, false, address(1)).unwrap()).collect();
    let call = started.recv().await.unwrap();
    assert!(started.try_recv().is_err(), "one call for all");
    call.end(7);
    for outcome in &mut joined {
        assert_eq!(*outcome.wait_for(Option::is_some).await.unwrap(), Some(7));
    }
    assert!(world.join(1, false, address(1)).is_ok());
    drop(started.recv().await.unwrap());
    assert!(joined.iter_mut().all(|outcome| outcome.has_changed().is_err()), "the sender is gone");
}

/// The token may have been revoked since the request to the issuer.
#[tokio::test(start_paused = true)]
async fn call_that_is_too_old_is_not_joined() {
    let (world, mut started) = World::new(4, 9);
    let mut early = world.join(1, true, None).unwrap();
    let old = started.recv().await.unwrap();
    tokio::time::advance(2 * TTL).await;
    world.join(1, true, None).unwrap();
    assert!(started.try_recv().is_err(), "it was not sent yet");
    old.sends();
    tokio::time::advance(TTL - SECOND).await;
    world.join(1, true, None).unwrap();
    assert!(started.try_recv().is_err(), "it is young enough");
    tokio::time::advance(SECOND).await;
    let mut late = world.join(1, true, None).unwrap();
    let new = started.recv().await.unwrap();
    assert_eq!((old.is_latest(), new.is_latest()), (false, true));
    old.end(1);
    assert_eq!(*early.wait_for(Option::is_some).await.unwrap(), Some(1));
    world.join(1, true, None).unwrap();
    assert!(started.try_recv().is_err(), "the newer one is still there");
    new.end(2);
    assert_eq!(*late.wait_for(Option::is_some).await.unwrap(), Some(2));
    let own = Calls::new(4, 9, Duration::ZERO);
    let mut calls = Vec::new();
    for _ in 0..2 {
        own.join([1; 32], true, None, |call: Call<u32>| {
            call.sends();
            calls.push(call);
        })
        .unwrap();
    }
    assert_eq!(calls.len(), 2, "without a ttl each request has its own");
}

#[tokio::test(start_paused = true)]
async fn what_one_token_causes_is_not_the_state_of_the_endpoint() {
    use IntrospectionFailure::{Client, Connect, Status};
    let error = |cause, is_outage| CallError { cause, reason: String::new(), is_outage };
    let mut state = EndpointState::default();
    assert_eq!(state.finished(Some(&error(Status, false))), Some(Change::Fails), "it has never worked");
    assert_eq!((state.is_failing(), state.outage()), (true, None));
    assert_eq!(state.finished(None), Some(Change::Recovered));
    assert!(state.works() && !state.is_failing());
    tokio::time::advance(60 * SECOND).await;
    assert_eq!(state.finished(Some(&error(Status, false))), Some(Change::FailsForToken));
    assert_eq!((state.is_failing(), state.outage()), (false, None));
    for _ in 0..50 {
        assert_eq!(state.finished(None), None);
        assert_eq!(state.finished(Some(&error(Status, false))), None, "not again so soon");
    }
    assert_eq!(state.finished(Some(&error(Client, false))), Some(Change::Fails));
    assert_eq!((state.is_failing(), state.outage()), (true, None), "no outage: known tokens are not accepted");
    assert_eq!(state.finished(Some(&error(Connect, true))), Some(Change::Fails), "another cause");
    assert_eq!((state.is_failing(), state.outage()), (true, Some(Instant::now())));
    assert_eq!(state.finished(None), Some(Change::Recovered));
    assert_eq!(state.outage(), None);
    for _ in 0..50 {
        assert_eq!(state.finished(Some(&error(Connect, true))), None, "not again so soon");
        assert_eq!(state.finished(None), None, "nor its end");
    }
    state.finished(Some(&error(Connect, true)));
    tokio::time::advance(60 * SECOND).await;
    assert_eq!(state.finished(Some(&error(Connect, true))), Some(Change::Fails), "it lasts");
    state.finished(Some(&error(Status, false)));
    assert_eq!(state.outage(), None, "it responds");
}

#[tokio::test(start_paused = true)]
async fn unknown_tokens_are_bounded_per_source_and_in_total() {
    let (world, mut started) = World::new(4, 2);
    let _first = world.join(1, false, address(1)).unwrap();
    let _second = world.join(2, false, address(1)).unwrap();
    assert_eq!(world.join(3, false, address(1)).unwrap_err(), Rejection::SourceBusy);
    assert!(world.join(2, false, address(1)).is_ok(), "joining costs nothing");
    for token in 3..7 {
        world.join(token, false, address(token)).unwrap();
    }
    assert_eq!(world.join(7, false, address(7)).unwrap_err(), Rejection::IntrospectionBusy, "two permits, four wait");
    assert_eq!(world.join(7, false, None).unwrap_err(), Rejection::IntrospectionBusy);
    assert!(world.join(8, true, None).is_ok(), "known tokens have room of their own");
    drop(started.recv().await.unwrap());
    world.join(9, false, address(1)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn flood_of_unknown_tokens_leaves_the_reserve_to_known_ones() {
    let (world, mut started) = World::new(4, 9);
    let until = Instant::now() + SECOND;
    let mut held = Vec::new();
    for token in 1..=6 {
        world.join(token, false, address(1)).unwrap();
    }
    let unknown: Vec<_> = std::iter::from_fn(|| started.try_recv().ok()).collect();
    for call in &unknown {
        held.extend(call.permit(until).await);
    }
    assert_eq!(held.len(), 2, "half of the permits, and no call waits longer than allowed");
    let until = Instant::now() + SECOND;
    let mut kept = Vec::new();
    for token in 11..=12 {
        world.join(token, true, None).unwrap();
        let call = started.recv().await.unwrap();
        let before = Instant::now();
        held.push(call.permit(until).await.unwrap());
        assert_eq!(before.elapsed(), Duration::ZERO, "at once");
        kept.push(call);
    }
    world.join(13, true, None).unwrap();
    let waiting = started.recv().await.unwrap();
    assert!(waiting.permit(until).await.is_none(), "all are in use");
    held.pop();
    assert!(waiting.permit(Instant::now() + SECOND).await.is_some());
}
