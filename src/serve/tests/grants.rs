//! What callers with grants get, and what the provider is sent for them.

use super::{FakeClient, ServedFrom};
use crate::cache::{CacheCounters, MemoryStore, Sessions};
use crate::config::{EmptyEnvironment, compile};
use crate::gateway::{Credential, Gateway, Outcome, ProviderResponse, RequestHead, Routed, Upstream};
use crate::grant::{CallerMatcher, Grant, Grants, KeyGrant, SessionScope};
use crate::metrics::{Meters, Metrics};
use crate::model::{Caller, Operation, PeerIdentity, Rejection};

use crate::provider::{Failure, Fetch, RequestHeaders, Slots};
use crate::serve::{NotServed, ProviderClient, Served, Service, UpstreamHandles};
use crate::token::Verified;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use strum::VariantArray;

const CONFIG: &str = "
upstreams:
  a: { url: https://a.example, dialect: auth0, match: { host: a }, auth: { issuer: 'https://i/', audience: a }, cache: { ttl: 10s } }
  z: { url: https://z.example, dialect: zitadel, match: { host: z }, auth: { issuer: 'https://i/', audience: z },
       cache: { ttl: 10s } }
  o: { url: https://o.example, dialect: okta, match: { host: o }, auth: { issuer: 'https://i/', audience: o } }
";

/// A provider that responds to each path as it is told, and with 404 to any other.
#[derive(Default)]
struct Provider {
    responses: Mutex<HashMap<String, (u16, String)>>,
    sent: Mutex<Vec<String>>,
}

impl ProviderClient for Provider {
    async fn fetch(&self, fetch: Fetch) -> Result<ProviderResponse, Failure> {
        let named = format!("{} {}", fetch.method, fetch.path);
        self.sent.lock().push(named.clone());
        let missing = (404, r#"{"message":"(QUERY-SFeaa)","errorCode":"E0000007"}"#.to_owned());
        let (status, body) = self.responses.lock().get(&named).cloned().unwrap_or(missing);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        Ok(ProviderResponse::new(StatusCode::from_u16(status).unwrap(), headers, body.into(), None))
    }
}

/// A service whose callers all have the same grant.
struct World {
    service: Arc<Service<Provider>>,
    provider: Arc<Provider>,
    caller: Caller,
}

fn grant(sessions: SessionScope) -> Grant {
    Grant {
        name: "g".into(),
        callers: CallerMatcher::default(),
        operations: Operation::VARIANTS.iter().copied().collect(),
        sessions,
        policy: None,
        keys: KeyGrant::default(),
        masks: None,
    }
}

fn scopes(all: &str) -> Vec<String> {
    all.split(' ').map(str::to_owned).collect()
}

impl World {
    fn new(grant: Grant) -> World {
        let compiled = compile("c", CONFIG, &EmptyEnvironment, [7; 32]).unwrap().config.gateway;
        let grants = Grants::new([grant]);
        let upstreams = compiled.upstreams().iter();
        let upstreams = upstreams.map(|own| Upstream { grants: grants.clone(), ..Upstream::clone(own) }).collect();
        let gateway = Arc::new(Gateway::new(upstreams, &[7; 32]));
        let provider = Arc::new(Provider::default());
        let backend = |upstream| UpstreamHandles {
            provider: provider.clone(),
            headers: Arc::new(RequestHeaders::new(upstream)),
            slots: Slots::new(upstream.slots, Arc::default()),
        };
        let store = Arc::new(MemoryStore::new(1 << 20, Duration::from_secs(5)));
        let service = Arc::new(Service {
            backends: gateway.upstreams().iter().map(backend).collect(),
            sessions: Arc::new(Sessions::new(store, Duration::from_secs(1), Arc::new(CacheCounters::default()))),
            lockouts: Arc::default(),
            metrics: Arc::new(Meters::new(Arc::new(Metrics::new().unwrap()), ["a", "z", "o"].into_iter())),
            gateway,
        });
        let caller = Caller {
            subject: "u1".into(),
            session: Some("own".into()),
            scopes: scopes(
                "read:sessions update:sessions delete:sessions read:refresh_tokens update:refresh_tokens \
                 delete:refresh_tokens okta.sessions.read okta.sessions.manage okta.users.manage",
            ),
            expires_at: u64::MAX,
            ..Caller::default()
        };
        World { service, provider, caller }
    }

    fn shows(self, path: &str, body: &str) -> World {
        self.responds(path, 200, body)
    }

    fn responds(self, path: &str, status: u16, body: &str) -> World {
        self.provider.responses.lock().insert(path.to_owned(), (status, body.to_owned()));
        self
    }

    /// Sends a request as `HOST METHOD /PATH`. The result is the status and the body, or why it is rejected.
    async fn send(&self, request: &str, body: &str) -> Result<(ServedFrom, String), Rejection> {
        let mut words = request.split(' ');
        let [host, method, target] = [(); 3].map(|()| words.next().unwrap());
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
            headers.insert("content-length", HeaderValue::from(body.len()));
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let head = RequestHead {
            listener: "",
            method: &method,
            path,
            query,
            host,
            headers: &headers,
            http2: false,
            trusted: false,
        };
        let Ok(Routed::Governed(governed)) = self.service.gateway.route(head) else { panic!("{path} is not governed") };
        let credential = Credential::Verified(Arc::new(Verified::for_test(self.caller.clone())));
        let caller = governed.upstream().matched(credential, &PeerIdentity::default())?;
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = governed.authorize(caller)?.read_body(&self.service.gateway, body)?;
        let mut client = FakeClient { headers, outcome: Outcome::default(), record: None, is_gone: false };
        match self.service.respond(&mut client, request).await {
            Ok(Served { response, source }) => {
                let body = String::from_utf8(response.body.to_vec()).unwrap();
                Ok((source, body))
            }
            Err(NotServed::Rejected(rejection)) => Err(rejection),
            Err(NotServed::Gone(gone)) => panic!("{gone}"),
        }
    }

    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut *self.provider.sent.lock())
    }
}

fn others() -> Rejection {
    Rejection::Grant("sessions of other users".into())
}

const OWN: &str = "/api/v2/sessions/own";
const PATCH: &str = r#"{"session_metadata":{"cart_a":"1"}}"#;

#[tokio::test]
async fn own_session_is_the_one_that_the_token_names() {
    let world = World::new(grant(SessionScope::Own)).shows("GET /api/v2/sessions/own", "{}");
    assert_eq!(world.send(&format!("a GET {OWN}"), "").await.unwrap().1, "{}");
    assert_eq!(world.sent(), ["GET /api/v2/sessions/own"]);
    for request in ["a GET /api/v2/sessions/other", "a DELETE /api/v2/sessions/other", "z GET /v2/sessions/other"] {
        assert_eq!(world.send(request, "").await.unwrap_err(), Rejection::Deleted, "{request}");
    }
    assert_eq!(world.send("a PATCH /api/v2/sessions/other", PATCH).await.unwrap_err(), Rejection::Deleted);
    assert!(world.sent().is_empty(), "nothing is read");
    let revoke = "a POST /api/v2/users/u1/revoke-access";
    assert_eq!(world.send(revoke, r#"{"session_id":"other"}"#).await.unwrap_err(), Rejection::Deleted);
    let elsewhere = "a POST /api/v2/users/u2/revoke-access";
    assert_eq!(world.send(elsewhere, r#"{"session_id":"own"}"#).await.unwrap_err(), others());
    let world = world.responds("POST /api/v2/users/u1/revoke-access", 202, "{}");
    assert!(world.send(revoke, r#"{"session_id":"own"}"#).await.is_ok());
}

#[tokio::test]
async fn a_token_without_a_session_has_none_of_its_own() {
    for session in [None, Some(String::new())] {
        let mut world = World::new(grant(SessionScope::Own));
        world.caller.session = session;
        assert_eq!(world.send(&format!("a GET {OWN}"), "").await.unwrap_err(), Rejection::Deleted);
        assert_eq!(world.send("a GET /api/v2/refresh-tokens/t", "").await.unwrap_err(), Rejection::Deleted);
        assert!(world.sent().is_empty());
    }
}

#[tokio::test]
async fn what_names_no_single_session_is_not_the_callers_own() {
    let world = World::new(grant(SessionScope::Own));
    for (request, body) in [
        ("a GET /api/v2/users/u1/sessions", ""),
        ("a DELETE /api/v2/users/u1/sessions", ""),
        ("a POST /api/v2/users/u1/revoke-access", ""),
        ("a GET /api/v2/users/u1/refresh-tokens", ""),
        ("a DELETE /api/v2/users/u1/refresh-tokens", ""),
        ("a GET /api/v2/refresh-tokens?user_id=u1", ""),
        ("a POST /api/v2/refresh-tokens/revoke", r#"{"user_id":"u1"}"#),
        ("z POST /v2/sessions", r#"{"checks":{"user":{"userId":"u1"}}}"#),
        ("z POST /v2/sessions/search", r#"{"queries":[{"userIdQuery":{"id":"u1"}}]}"#),
        ("o DELETE /api/v1/users/u1/sessions", ""),
    ] {
        assert_eq!(world.send(request, body).await.unwrap_err(), others(), "{request} {body}");
    }
    assert!(world.sent().is_empty());
}

#[tokio::test]
async fn the_user_of_a_session_is_compared_before_it_is_released() {
    for (request, path, own, other) in [
        (
            "a GET /api/v2/sessions/s",
            "GET /api/v2/sessions/s",
            r#"{"id":"s","user_id":"u1"}"#,
            r#"{"id":"s","user_id":"u2"}"#,
        ),
        (
            "z GET /v2/sessions/s",
            "GET /v2/sessions/s",
            r#"{"session":{"id":"s","factors":{"user":{"id":"u1"}}}}"#,
            r#"{"session":{"id":"s","factors":{"user":{"id":"u2"}}}}"#,
        ),
        (
            "o GET /api/v1/sessions/s",
            "GET /api/v1/sessions/s",
            r#"{"id":"s","userId":"u1"}"#,
            r#"{"id":"s","userId":"u2"}"#,
        ),
        (
            "a GET /api/v2/refresh-tokens/t",
            "GET /api/v2/refresh-tokens/t",
            r#"{"user_id":"u1"}"#,
            r#"{"user_id":"u2"}"#,
        ),
    ] {
        let world = World::new(grant(SessionScope::User)).shows(path, own);
        for _ in 0..2 {
            // The second one is a hit, where something is cached.
            assert_eq!(world.send(request, "").await.unwrap().1, own, "{request}");
        }
        let mut world = World::new(grant(SessionScope::User)).shows(path, own);
        for status in [200, 403, 404, 410] {
            for body in [other, "{}", "", own] {
                if (status, body) != (200, own) {
                    world = World::new(grant(SessionScope::User)).responds(path, status, body);
                    for _ in 0..2 {
                        let rejected = world.send(request, "").await.unwrap_err();
                        assert_eq!(rejected, Rejection::Deleted, "{request} {status} {body}");
                    }
                }
            }
        }
        for status in [401, 429, 500] {
            let world = World::new(grant(SessionScope::User)).responds(path, status, "{}");
            assert_eq!(world.send(request, "").await.unwrap().1, "{}", "{request} {status}");
        }
        drop(world);
    }
}

#[tokio::test]
async fn a_hit_of_one_user_is_no_hit_of_another() {
    let mut world =
        World::new(grant(SessionScope::User)).shows("GET /api/v2/sessions/s", r#"{"id":"s","user_id":"u1"}"#);
    assert!(world.send("a GET /api/v2/sessions/s", "").await.is_ok());
    assert!(matches!(world.send("a GET /api/v2/sessions/s", "").await, Ok((ServedFrom::Hit { .. }, _))));
    for subject in ["u2", "", "U1", "u1 "] {
        world.caller.subject = subject.into();
        let expected = if subject.is_empty() { others() } else { Rejection::Deleted };
        assert_eq!(world.send("a GET /api/v2/sessions/s", "").await.unwrap_err(), expected, "{subject}");
    }
    assert_eq!(world.sent().len(), 1);
}

#[tokio::test]
async fn a_refresh_token_belongs_to_its_session() {
    let path = "GET /api/v2/refresh-tokens/t";
    for (session, is_own) in [("\"own\"", true), ("\"other\"", false), ("null", false)] {
        let body = format!(r#"{{"user_id":"u1","session_id":{session}}}"#);
        let world = World::new(grant(SessionScope::Own)).shows(path, &body);
        let read = world.send("a GET /api/v2/refresh-tokens/t", "").await;
        assert_eq!(read.is_ok(), is_own);
        let world = world.responds("DELETE /api/v2/refresh-tokens/t", 202, "{}");
        let deleted = world.send("a DELETE /api/v2/refresh-tokens/t", "").await;
        assert_eq!(deleted.is_ok(), is_own);
        let sent = world.sent();
        assert_eq!(sent.len(), if is_own { 3 } else { 2 }, "{sent:?}");
    }
}
