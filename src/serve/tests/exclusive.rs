//! Writes that are decided by the current state, and the exclusive right that they take.

use super::{Answer, FakeClient, NotServed, Outcome, Rejection, ServedFrom, World};
use crate::cache::SessionName;
use crate::coherence::DEFAULT_TENANT;
use crate::coherence::exclusive::{RightReply, RightStep};
use crate::telemetry::RightResult;
use http::{HeaderMap, HeaderValue, Method};

const CONFIG: &str = "
policies: { p: { keys: { protected: [plan] } } }
upstreams:
  a: { url: https://a.example, dialect: auth0, match: { host: a }, auth: { issuer: 'https://i/', audience: a }, policy: p,
       cache: { ttl: 10s } }
  z: { url: https://z.example, dialect: zitadel, match: { host: z }, auth: forward }
";
const PATH: &str = "/api/v2/sessions/s";
const BODY: &str = r#"{"session_metadata":{"v":"1"}}"#;

impl World {
    fn exclusive() -> World {
        World::of(CONFIG, 0)
    }

    /// Sends a request, and gives what became of its right beside the response.
    async fn ask(&self, method: Method, body: &'static str) -> (Answer, Option<RightResult>) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", HeaderValue::from(body.len()));
        let request = self.decoded("a", method, PATH, &headers, body);
        let mut client = FakeClient { headers, outcome: Outcome::default(), record: None, is_gone: false };
        let response = self.service.respond(&mut client, request).await;
        (response, client.outcome.right.map(|right| right.result))
    }

    fn spawn(&self, method: Method, body: &'static str) -> tokio::task::JoinHandle<(Answer, Option<RightResult>)> {
        let world = self.clone();
        tokio::spawn(async move { world.ask(method, body).await })
    }

    /// Waits until so many requests have reached the provider, which has not responded yet.
    async fn reached(&self, requests: u32) {
        self.provider.reached.acquire_many(requests).await.unwrap().forget();
    }

    /// Lets the provider respond to so many requests.
    fn respond(&self, requests: usize) {
        self.provider.gate.add_permits(requests);
    }

    fn session(&self) -> SessionName {
        let (headers, upstream) = (HeaderMap::new(), &self.service.gateway.upstreams()[0]);
        (upstream.scope, self.decoded("a", Method::GET, PATH, &headers, "").right_hash().unwrap())
    }

    /// A step of another replica.
    async fn step(&self, step: RightStep) -> RightReply {
        let (store, (upstream, session)) = (self.service.sessions.store(), self.session());
        store.right(upstream, &session, store.token(), step).await.unwrap().0
    }

    async fn is_free(&self) -> bool {
        self.step(GIVE_BACK).await == RightReply::NotHeld(0)
    }

    /// Waits for what happens in the background.
    async fn until_free(&self) {
        while !self.is_free().await {
            tokio::task::yield_now().await;
        }
    }
}

const TAKE: RightStep = RightStep::Take { tenant: DEFAULT_TENANT, lifetime: 60_000 };
const RENEW: RightStep = RightStep::Renew { tenant: DEFAULT_TENANT, lifetime: 1 };
const GIVE_BACK: RightStep = RightStep::GiveBack { tenant: DEFAULT_TENANT, version: None };
const END: RightStep = RightStep::End { tenant: DEFAULT_TENANT };

#[tokio::test]
async fn writes_decided_by_the_current_state_go_one_after_the_other() {
    let world = World::exclusive();
    let first = world.spawn(Method::PATCH, BODY);
    world.reached(1).await;
    let second = world.spawn(Method::PATCH, BODY);
    tokio::task::yield_now().await;
    world.respond(1);
    world.reached(1).await;
    assert_eq!(world.sent(), [format!("GET {PATH}"), format!("PATCH {PATH}")]);
    world.respond(3);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(first.0.is_ok() && second.0.is_ok());
    assert_eq!([first.1, second.1], [Some(RightResult::Taken), Some(RightResult::Waited)]);
    assert_eq!(world.sent()[2..], [format!("GET {PATH}"), format!("PATCH {PATH}")]);
    world.until_free().await;
}

#[tokio::test]
async fn only_writes_decided_by_the_current_state_take_the_right() {
    let world = World::of(super::CONFIG, 1);
    assert_eq!(world.ask(Method::PATCH, BODY).await.1, None);
    let unverified = CONFIG.replace("{ issuer: 'https://i/', audience: a }", "forward");
    let world = World::of(&unverified, 2);
    let (response, right) = world.ask(Method::PATCH, BODY).await;
    assert!(response.is_ok() && right.is_none(), "anybody can send it");
    let world = World::exclusive();
    world.respond(2);
    assert_eq!(world.ask(Method::GET, "").await.1, None);
    assert_eq!(world.ask(Method::DELETE, "").await.1, None);
}

#[tokio::test]
async fn client_that_leaves_gives_the_right_back() {
    let world = World::exclusive();
    let write = world.spawn(Method::PATCH, BODY);
    world.reached(1).await;
    assert!(!world.is_free().await);
    write.abort();
    world.until_free().await;
}

#[tokio::test]
async fn right_of_a_write_with_unknown_outcome_is_kept() {
    let world = World::exclusive();
    let failure = |sent| crate::provider::Failure { rejection: Rejection::UpstreamFailed, sent, status: None };
    for (sent, free) in [(false, true), (true, false)] {
        *world.provider.failure.lock() = Some(failure(sent));
        world.respond(2);
        assert!(world.ask(Method::PATCH, BODY).await.0.is_err());
        if free {
            world.until_free().await;
        }
        assert_eq!(world.is_free().await, free);
    }
}

#[tokio::test]
async fn write_that_waits_too_long_is_rejected() {
    let world = World::exclusive();
    world.step(TAKE).await;
    tokio::time::pause();
    let (response, right) = world.ask(Method::PATCH, BODY).await;
    assert!(matches!(response, Err(NotServed::Rejected(Rejection::MetadataBusy))));
    assert_eq!((right, world.sent()), (Some(RightResult::Conflict), Vec::new()));
}

/// A write that has lost its right is not sent, and leaves no mark.
#[tokio::test]
async fn write_without_its_right_is_not_sent() {
    let world = World::exclusive();
    let write = world.spawn(Method::PATCH, BODY);
    world.reached(1).await;
    world.step(END).await;
    world.step(TAKE).await;
    world.respond(1);
    let (response, right) = write.await.unwrap();
    assert!(matches!(response, Err(NotServed::Rejected(Rejection::RightLost))));
    assert_eq!((right, world.sent()), (Some(RightResult::Expired), vec![format!("GET {PATH}")]));
    assert!(!world.is_free().await, "the other's is not given back");
    world.respond(1);
    world.read().await;
    assert!(matches!(world.read().await.0, ServedFrom::Hit { .. }));
}

#[tokio::test]
async fn deletion_does_not_wait_for_the_right_and_ends_it() {
    let world = World::exclusive();
    let write = world.spawn(Method::PATCH, BODY);
    world.reached(1).await;
    let deletion = world.spawn(Method::DELETE, "");
    world.reached(1).await;
    assert!(!world.is_free().await);
    world.respond(2);
    assert!(deletion.await.unwrap().0.is_ok());
    world.until_free().await;
    // Either the deletion was in time to end the right of the write, or the write was sent before.
    world.respond(1);
    drop(write.await.unwrap());
}

#[tokio::test]
async fn revocation_of_refresh_tokens_ends_their_rights() {
    const TOKEN: &str = "/api/v2/refresh-tokens/t";
    for (method, path, body) in
        [(Method::DELETE, TOKEN, ""), (Method::POST, "/api/v2/refresh-tokens/revoke", r#"{"ids":["other","t"]}"#)]
    {
        let world = World::exclusive();
        let decoded = |method, path, body: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static("application/json"));
            headers.insert("content-length", HeaderValue::from(body.len()));
            (world.decoded("a", method, path, &headers, body), headers)
        };
        let hash = decoded(Method::GET, TOKEN, "").0.right_hash().unwrap();
        let (store, upstream) = (world.service.sessions.store(), world.service.gateway.upstreams()[0].scope);
        let step = |step| store.right(upstream, &hash, crate::coherence::Token(1), step);
        step(TAKE).await.unwrap();
        world.respond(1);
        let (request, headers) = decoded(method, path, body);
        let mut client = FakeClient { headers, outcome: Outcome::default(), record: None, is_gone: false };
        assert!(world.service.respond(&mut client, request).await.is_ok());
        while step(RENEW).await.unwrap().0 != RightReply::NotHeld(0) {
            tokio::task::yield_now().await;
        }
    }
}

/// The one gap: a process that is suspended after it has confirmed its right, and before the first byte is sent. Its
/// write then arrives after another one that it does not know of.
#[tokio::test]
async fn write_suspended_after_its_last_check_overwrites_another() {
    let world = World::exclusive();
    let suspended = world.spawn(Method::PATCH, r#"{"session_metadata":{"v":"suspended"}}"#);
    world.respond(1);
    world.reached(2).await;
    assert_eq!(world.sent()[1], format!("PATCH {PATH}"), "its last check is over");
    // Its right runs out: another replica takes it, and changes the session.
    world.step(END).await;
    assert!(matches!(world.step(TAKE).await, RightReply::Held { .. }));
    *world.provider.session.lock() = r#"{"session_metadata":{"v":"other"}}"#.into();
    world.respond(1);
    assert!(suspended.await.unwrap().0.is_ok());
    assert!(world.provider.session.lock().contains("suspended"));
    assert!(!world.is_free().await, "it gives back only its own right");
}
