use super::*;
use crate::cache::{CacheCounters, MemoryStore, Sessions};
use crate::config::{EmptyEnvironment, compile};
use crate::gateway::{
    CallerCheck, Credential, DecodedRequest, Gateway, Outcome, ProviderResponse, RequestHead, Routed,
};
use crate::metrics::{Meters, Metrics};
use crate::model::{Caller, PeerIdentity, Rejection};
use crate::provider::{ExchangeRecord, Failure, Fetch, Origin, RequestHeaders, Slots};
use crate::token::Verified;
use crate::wire::trace::Trace;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

mod exclusive;
mod grants;
mod masks;
mod owners;

const CONFIG: &str = "
upstreams:
  a: { url: https://a.example, dialect: auth0, match: { host: a }, auth: forward, cache: { ttl: 10s } }
  z: { url: https://z.example, dialect: zitadel, match: { host: z }, auth: forward }
";

/// A provider in memory: each session is the body that was written to it last.
struct FakeProvider {
    session: Mutex<String>,
    /// The next response to a write, in place of success.
    failure: Mutex<Option<Failure>>,
    /// Whether a fetch panics.
    panics: AtomicBool,
    sent: Mutex<Vec<String>>,
    /// Each fetch takes one.
    gate: Semaphore,
    reached: Semaphore,
}

impl ProviderClient for FakeProvider {
    async fn fetch(&self, fetch: Fetch) -> Result<ProviderResponse, Failure> {
        self.sent.lock().push(format!("{} {}", fetch.method, fetch.path));
        self.reached.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        assert!(!self.panics.load(Ordering::Relaxed), "a bug");
        if fetch.method != Method::GET
            && let Some(failure) = self.failure.lock().take()
        {
            return Err(failure);
        }
        if let Some(body) = fetch.body {
            *self.session.lock() = String::from_utf8(body.to_vec()).unwrap();
        }
        let body = self.session.lock().replace('{', r#"{"id":"s","updated_at":"2030-01-01T00:00:00Z","#);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        Ok(ProviderResponse::new(StatusCode::OK, headers, body.into(), None))
    }
}

/// A client that stays, or that has left already.
struct FakeClient {
    headers: HeaderMap,
    outcome: Outcome,
    record: Option<ExchangeRecord>,
    is_gone: bool,
}

impl ClientRequest for FakeClient {
    type Gone = &'static str;

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn origin(&self) -> Origin {
        Origin { peer: None, host: None, tls: true, trusted: false, trace: Trace::default() }
    }

    fn client_ip(&self) -> Option<IpAddr> {
        None
    }

    fn started(&self) -> Instant {
        Instant::now()
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    fn record(&mut self) -> &mut Option<ExchangeRecord> {
        &mut self.record
    }

    async fn attend<W>(&mut self, work: W) -> Result<W::Output, &'static str>
    where
        W: Future<Output: Send> + Send,
    {
        if self.is_gone { Err("gone") } else { Ok(work.await) }
    }
}

#[derive(Clone)]
struct World {
    service: Arc<Service<FakeProvider>>,
    provider: Arc<FakeProvider>,
}

type Answer = Result<Served, NotServed<&'static str>>;

impl World {
    /// A service whose provider answers so many fetches.
    fn new(fetches: usize) -> World {
        World::of(CONFIG, fetches)
    }

    fn of(config: &str, fetches: usize) -> World {
        let gateway: Arc<Gateway> = compile("c", config, &EmptyEnvironment, [7; 32]).unwrap().config.gateway;
        let provider = Arc::new(FakeProvider {
            session: Mutex::new(r#"{"session_metadata":{"v":"0"}}"#.into()),
            failure: Mutex::default(),
            panics: AtomicBool::new(false),
            sent: Mutex::default(),
            gate: Semaphore::new(fetches),
            reached: Semaphore::new(0),
        });
        let store = Arc::new(MemoryStore::new(1 << 20, Duration::from_secs(5)));
        let backend = |upstream| UpstreamHandles {
            provider: provider.clone(),
            headers: Arc::new(RequestHeaders::new(upstream)),
            slots: Slots::new(upstream.slots, Arc::default()),
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let service = Arc::new(Service {
            backends: gateway.upstreams().iter().map(backend).collect(),
            sessions: Arc::new(Sessions::new(store, Duration::from_secs(1), Arc::new(CacheCounters::default()))),
            lockouts: Arc::default(),
            metrics: Arc::new(Meters::new(metrics, ["a", "z"].into_iter())),
            gateway,
        });
        World { service, provider }
    }

    fn decoded(
        &self,
        host: &str,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: &'static str,
    ) -> Box<DecodedRequest> {
        let head = RequestHead {
            listener: "",
            method: &method,
            path,
            query: None,
            host,
            headers,
            http2: false,
            trusted: false,
        };
        let Ok(Routed::Governed(governed)) = self.service.gateway.route(head) else { panic!("{path} is not governed") };
        let credential = match &governed.upstream().check {
            CallerCheck::Token { .. } => Credential::Verified(Arc::new(Verified::for_test(Caller {
                scopes: ["read", "update", "delete"]
                    .iter()
                    .flat_map(|verb| [format!("{verb}:sessions"), format!("{verb}:refresh_tokens")])
                    .collect(),
                expires_at: u64::MAX,
                ..Caller::default()
            }))),
            CallerCheck::Forward | CallerCheck::None => Credential::Forwarded(Bytes::from_static(b"Bearer token")),
        };
        let caller = governed.upstream().matched(credential, &PeerIdentity::default()).unwrap();
        governed
            .authorize(caller)
            .unwrap()
            .read_body(&self.service.gateway, Bytes::from_static(body.as_bytes()))
            .unwrap()
    }

    async fn send(&self, is_gone: bool, method: Method, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", HeaderValue::from(body.len()));
        let request = self.decoded("a", method, "/api/v2/sessions/s", &headers, body);
        let mut client = FakeClient { headers, outcome: Outcome::default(), record: None, is_gone };
        self.service.respond(&mut client, request).await
    }

    async fn read(&self) -> (ServedFrom, String) {
        let Served { response, source } = self.send(false, Method::GET, "").await.unwrap();
        (source, String::from_utf8(response.body.to_vec()).unwrap())
    }

    async fn write(&self, is_gone: bool) -> Answer {
        self.send(is_gone, Method::PATCH, r#"{"session_metadata":{"v":"1"}}"#).await
    }

    fn sent(&self) -> Vec<String> {
        self.provider.sent.lock().clone()
    }
}

#[tokio::test]
async fn the_second_read_is_a_hit() {
    let world = World::new(1);
    let (source, first) = world.read().await;
    assert!(matches!(source, ServedFrom::Miss { stored: true, .. }), "{source:?}");
    let (source, second) = world.read().await;
    assert!(matches!(source, ServedFrom::Hit { .. }), "{source:?}");
    assert_eq!((first, world.sent()), (second, vec!["GET /api/v2/sessions/s".to_owned()]));
}

#[tokio::test]
async fn reads_at_the_same_time_share_one_fetch_that_outlives_its_client() {
    let world = World::new(0);
    let reading = |world: &World| {
        let world = world.clone();
        tokio::spawn(async move { world.read().await.0 })
    };
    let first = reading(&world);
    world.provider.reached.acquire().await.unwrap().forget();
    let second = reading(&world);
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    world.provider.gate.add_permits(1);
    assert_eq!(second.await.unwrap(), ServedFrom::Coalesced);
    assert_eq!(world.sent().len(), 1);
}

#[tokio::test]
async fn no_read_after_a_write_shows_what_was_before() {
    let world = World::new(3);
    world.read().await;
    let Served { source, .. } = world.write(false).await.unwrap();
    assert_eq!(source, ServedFrom::Write);
    let (source, body) = world.read().await;
    assert!(matches!(source, ServedFrom::Miss { .. }) && body.contains(r#""v":"1""#), "{source:?} {body}");
}

#[tokio::test]
async fn a_write_is_settled_after_its_client_has_left() {
    let world = World::new(1);
    world.read().await;
    world.provider.reached.acquire().await.unwrap().forget();
    let own = world.clone();
    let write = tokio::spawn(async move { own.write(false).await.map(drop) });
    world.provider.reached.acquire().await.unwrap().forget();
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    world.provider.gate.add_permits(3);
    // Reads bypass the cache until the write is settled; from then on they are stored again.
    while !matches!(world.read().await.0, ServedFrom::Hit { .. }) {
        world.provider.gate.add_permits(1);
        tokio::task::yield_now().await;
    }
    assert!(world.read().await.1.contains(r#""v":"1""#));
}

#[tokio::test]
async fn a_panic_is_a_failure_of_the_gateway() {
    let world = World::new(3);
    world.provider.panics.store(true, Ordering::Relaxed);
    let internal = |answer: Answer| matches!(answer, Err(NotServed::Rejected(Rejection::InternalError)));
    assert!(internal(world.send(false, Method::GET, "").await));
    assert!(internal(world.write(false).await));
    world.provider.panics.store(false, Ordering::Relaxed);
    assert!(world.read().await.1.contains(r#""v":"0""#));
}

#[tokio::test]
async fn nothing_is_sent_for_a_client_that_has_left() {
    let world = World::new(1);
    assert!(matches!(world.write(true).await, Err(NotServed::Gone("gone"))));
    assert!(world.sent().is_empty());
}

#[tokio::test]
async fn a_write_that_was_not_sent_leaves_the_cache_as_it_is() {
    let world = World::new(2);
    world.read().await;
    for (sent, kept) in [(false, true), (true, false)] {
        let failure = Failure { rejection: Rejection::UpstreamFailed, sent, status: None };
        *world.provider.failure.lock() = Some(failure);
        world.provider.gate.add_permits(1);
        assert!(matches!(world.write(false).await, Err(NotServed::Rejected(Rejection::UpstreamFailed))));
        assert_eq!(matches!(world.read().await.0, ServedFrom::Hit { .. }), kept, "sent: {sent}");
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing() {
    let world = World::new(1);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("content-length", HeaderValue::from_static("17"));
    headers.insert("connect-timeout-ms", HeaderValue::from_static("0"));
    let path = "/zitadel.session.v2.SessionService/GetSession";
    let request = world.decoded("z", Method::POST, path, &headers, r#"{"sessionId":"1"}"#);
    let mut client = FakeClient { headers, outcome: Outcome::default(), record: None, is_gone: false };
    let stopped = world.service.respond(&mut client, request).await;
    assert!(matches!(stopped, Err(NotServed::Rejected(Rejection::UpstreamTimeout(_)))));
    assert!(world.sent().is_empty());
}
