//! What callers with grants get, and what the provider is sent for them.

use super::{FakeClient, ServedFrom};
use crate::cache::{CacheCounters, MemoryStore, Sessions};
use crate::config::{EmptyEnvironment, compile};
use crate::gateway::{Credential, Gateway, Outcome, ProviderResponse, RequestHead, Routed, Upstream};
use crate::grant::{CallerMatcher, Grant, Grants, KeyGrant, SessionScope};
use crate::metrics::{Meters, Metrics};
use crate::model::{Caller, Operation, PeerIdentity, Rejection};

use crate::policy::{ChallengeRule, KeyPattern, KeyPatterns, Mode, Policy, ReturnCode};
use crate::provider::{Failure, Fetch, RequestHeaders, Slots};
use crate::serve::{NotServed, ProviderClient, Served, Service, UpstreamHandles};
use crate::telemetry::RightResult;
use crate::token::Verified;
use crate::wire::frame::{framed, framed_trailers};
use crate::wire::proto::{put_bytes, put_number};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
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

/// A provider with a list of responses for each path. It gives them in turn, and repeats the last one. Any other path is
/// 404.
#[derive(Default)]
pub(super) struct Provider {
    responses: Mutex<HashMap<String, VecDeque<(u16, Bytes)>>>,
    sent: Mutex<Vec<String>>,
    /// The last body that it was sent.
    body: Mutex<Option<Bytes>>,
}

impl ProviderClient for Provider {
    async fn fetch(&self, fetch: Fetch) -> Result<ProviderResponse, Failure> {
        let named = format!("{} {}", fetch.method, fetch.path);
        self.sent.lock().push(named.clone());
        *self.body.lock() = fetch.body;
        let missing = (404, r#"{"message":"(QUERY-SFeaa)","errorCode":"E0000007"}"#.into());
        let (status, body) = self.responses.lock().get_mut(&named).map_or(missing, |responses| {
            if responses.len() > 1 { responses.pop_front() } else { responses.front().cloned() }.unwrap()
        });
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        Ok(ProviderResponse::new(StatusCode::from_u16(status).unwrap(), headers, body, None))
    }
}

/// A service whose callers have grants.
pub(super) struct World {
    pub(super) service: Arc<Service<Provider>>,
    provider: Arc<Provider>,
    pub(super) caller: Caller,
    /// What became of the exclusive right of the last request.
    pub(super) right: Mutex<Option<RightResult>>,
}

pub(super) fn grant(sessions: SessionScope) -> Grant {
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
    pub(super) fn new(grant: Grant) -> World {
        World::with([grant])
    }

    pub(super) fn with(grants: impl IntoIterator<Item = Grant>) -> World {
        let compiled = compile("c", CONFIG, &EmptyEnvironment, [7; 32]).unwrap().config.gateway;
        let grants = Grants::new(grants);
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
        World { service, provider, caller, right: Mutex::default() }
    }

    pub(super) fn shows(self, path: &str, body: &str) -> World {
        self.responds(path, 200, body)
    }

    pub(super) fn responds(self, path: &str, status: u16, body: &str) -> World {
        let response = (status, Bytes::copy_from_slice(body.as_bytes()));
        self.provider.responses.lock().insert(path.to_owned(), VecDeque::from([response]));
        self
    }

    /// What a path shows the next time.
    pub(super) fn then_shows(&self, path: &str, body: &str) {
        let response = (200, Bytes::copy_from_slice(body.as_bytes()));
        self.provider.responses.lock().entry(path.to_owned()).or_default().push_back(response);
    }

    /// Sends a request as `HOST METHOD /PATH`. The result is the status and the body, or why it is rejected.
    pub(super) async fn send(&self, request: &str, body: &str) -> Result<(ServedFrom, String), Rejection> {
        let (source, body) = self.send_as("application/json", request, body.as_bytes()).await?;
        Ok((source, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// Sends a body of this content type.
    async fn send_as(
        &self,
        content_type: &'static str,
        request: &str,
        body: &[u8],
    ) -> Result<(ServedFrom, Bytes), Rejection> {
        let mut words = request.split(' ');
        let [host, method, target] = [(); 3].map(|()| words.next().unwrap());
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert("content-type", HeaderValue::from_static(content_type));
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
        let body = Bytes::copy_from_slice(body);
        let request = governed.authorize(caller)?.read_body(&self.service.gateway, body)?;
        let mut client = FakeClient { headers, outcome: Outcome::default(), record: None, is_gone: false };
        let response = self.service.respond(&mut client, request).await;
        *self.right.lock() = client.outcome.right.map(|right| right.result);
        match response {
            Ok(Served { response, source }) => Ok((source, response.body.clone())),
            Err(NotServed::Rejected(rejection)) => Err(rejection),
            Err(NotServed::Gone(gone)) => panic!("{gone}"),
        }
    }

    /// The last body that the provider was sent.
    pub(super) fn last_body(&self) -> String {
        String::from_utf8_lossy(self.provider.body.lock().as_deref().unwrap_or_default()).into_owned()
    }

    pub(super) fn sent(&self) -> Vec<String> {
        std::mem::take(&mut *self.provider.sent.lock())
    }
}

fn no_own() -> Rejection {
    Rejection::Grant("requests that do not name the caller's own session".into())
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
        assert_eq!(world.send(request, "").await.unwrap_err(), Rejection::ForeignSession, "{request}");
    }
    assert_eq!(world.send("a PATCH /api/v2/sessions/other", PATCH).await.unwrap_err(), Rejection::ForeignSession);
    assert!(world.sent().is_empty(), "nothing is read");
    let revoke = "a POST /api/v2/users/u1/revoke-access";
    assert_eq!(world.send(revoke, r#"{"session_id":"other"}"#).await.unwrap_err(), Rejection::ForeignSession);
    let elsewhere = "a POST /api/v2/users/u2/revoke-access";
    assert_eq!(world.send(elsewhere, r#"{"session_id":"own"}"#).await.unwrap_err(), no_own());
    let world = world.responds("POST /api/v2/users/u1/revoke-access", 202, "{}");
    assert!(world.send(revoke, r#"{"session_id":"own"}"#).await.is_ok());
}

#[tokio::test]
async fn a_token_without_a_session_has_none_of_its_own() {
    for session in [None, Some(String::new())] {
        let mut world = World::new(grant(SessionScope::Own));
        world.caller.session = session;
        assert_eq!(world.send(&format!("a GET {OWN}"), "").await.unwrap_err(), Rejection::ForeignSession);
        assert_eq!(world.send("a GET /api/v2/refresh-tokens/t", "").await.unwrap_err(), Rejection::ForeignSession);
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
        assert_eq!(world.send(request, body).await.unwrap_err(), no_own(), "{request} {body}");
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
                        assert_eq!(rejected, Rejection::ForeignSession, "{request} {status} {body}");
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
        let expected = if subject.is_empty() { others() } else { Rejection::ForeignSession };
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

#[tokio::test]
async fn a_list_is_bound_to_the_subject() {
    let world = World::new(grant(SessionScope::User));
    for (request, body) in [
        ("a GET /api/v2/users/u2/sessions", ""),
        ("a GET /api/v2/users/U1/sessions", ""),
        ("a GET /api/v2/users/u1%20x/sessions", ""),
        ("a GET /api/v2/users/u2/refresh-tokens", ""),
        ("a GET /api/v2/refresh-tokens?user_id=u2", ""),
        ("a GET /api/v2/refresh-tokens", ""),
        ("a GET /api/v2/refresh-tokens?client_id=u1", ""),
        ("z POST /v2/sessions/search", "{}"),
        ("z POST /v2/sessions/search", r#"{"queries":[]}"#),
        ("z POST /v2/sessions/search", r#"{"queries":[{"userIdQuery":{"id":"u2"}}]}"#),
        ("z POST /v2/sessions/search", r#"{"queries":[{"userIdQuery":{}}]}"#),
        ("z POST /v2/sessions/search", r#"{"queries":[{"creatorQuery":{"id":"u1"}}]}"#),
        // A filter or a field that the gateway does not know may count instead.
        ("z POST /v2/sessions/search", r#"{"queries":[{"userIdQuery":{"id":"u1"},"laterQuery":{}}]}"#),
        ("z POST /v2/sessions/search", r#"{"queries":[{"userIdQuery":{"id":"u1","other":"u2"}}]}"#),
    ] {
        assert_eq!(world.send(request, body).await.unwrap_err(), others(), "{request} {body}");
    }
    assert!(world.sent().is_empty());
    for (request, sent, body) in [
        ("a GET /api/v2/users/%75%31/sessions", "GET /api/v2/users/u1/sessions", ""),
        ("a GET /api/v2/users/u1/refresh-tokens?take=1", "GET /api/v2/users/u1/refresh-tokens?take=1", ""),
        ("a GET /api/v2/refresh-tokens?take=1&user_id=%75%31", "GET /api/v2/refresh-tokens?take=1&user_id=u1", ""),
        (
            "z POST /v2/sessions/search",
            "POST /v2/sessions/search",
            r#"{"queries":[{"ids_query":{"ids":["x"]}},{"user_id_query":{"id":"u1"}}]}"#,
        ),
    ] {
        let world = World::new(grant(SessionScope::User)).shows(sent, r#"{"sessions":[],"tokens":[]}"#);
        assert!(world.send(request, body).await.is_ok(), "{request} {body}");
    }
}

/// A session in protocol buffers.
fn session_proto(id: &str, user: Option<&str>) -> Vec<u8> {
    let mut factors = Vec::new();
    if let Some(user) = user {
        let [mut inner, mut outer] = [Vec::new(), Vec::new()];
        put_bytes(&mut inner, 2, user.as_bytes());
        put_bytes(&mut outer, 1, &inner);
        put_bytes(&mut factors, 5, &outer);
    }
    let mut session = Vec::new();
    put_bytes(&mut session, 1, id.as_bytes());
    [session, factors].concat()
}

/// A list of sessions in protocol buffers, framed with its trailers.
fn list_proto(total: u64, sessions: &[Vec<u8>]) -> Vec<u8> {
    let [mut details, mut list] = [Vec::new(), Vec::new()];
    put_number(&mut details, 1, total);
    put_bytes(&mut list, 1, &details);
    sessions.iter().for_each(|session| put_bytes(&mut list, 2, session));
    let trailers = [(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))].into_iter().collect();
    [framed(&list), framed_trailers(&trailers)].concat()
}

#[tokio::test]
async fn a_framed_list_keeps_its_frames_and_trailers() {
    let own = || session_proto("a", Some("u1"));
    let shown = [session_proto("b", Some("u2")), own(), session_proto("c", None)];
    let list = "/zitadel.session.v2.SessionService/ListSessions";
    let world = World::new(grant(SessionScope::User));
    let response = (200, Bytes::from(list_proto(300, &shown)));
    world.provider.responses.lock().insert(format!("POST {list}"), VecDeque::from([response]));
    let request = format!("z POST {list}");
    let send = async |filter: &[u8]| {
        let mut query = Vec::new();
        put_bytes(&mut query, 2, filter);
        world.send_as("application/grpc-web+proto", &request, &framed(&query)).await.map(|(_, body)| body)
    };
    assert_eq!(send(&by_user_filter()).await.unwrap(), list_proto(1, &[own()]));
    // A second member of the filter would count in place of the first.
    let second = |number: u32| {
        let mut filter = by_user_filter();
        put_bytes(&mut filter, number, b"");
        filter
    };
    assert!(matches!(send(&second(4)).await.unwrap_err(), Rejection::Malformed(_)));
    assert_eq!(send(&second(9)).await.unwrap_err(), others());
}

/// A trailers frame with this status.
fn ended(status: &'static str, more: &[(&'static str, &'static str)]) -> Bytes {
    let trailers = [("grpc-status", status)].into_iter().chain(more.iter().copied());
    let trailers = trailers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    framed_trailers(&trailers.collect())
}

#[tokio::test]
async fn a_failed_call_shows_no_session() {
    let mut session = Vec::new();
    put_bytes(&mut session, 1, &session_proto("s", Some("u2")));
    let message = framed(&session);
    let [mut named, mut query] = [Vec::new(), Vec::new()];
    put_bytes(&mut named, 1, b"s");
    put_bytes(&mut query, 2, &by_user_filter());
    let details = [("grpc-message", "m"), ("grpc-status-details-bin", "c2Vzc2lvbg"), ("x-session", "s")];
    for (call, request) in [("GetSession", named), ("ListSessions", query)] {
        for (body, shown) in [
            (message.to_vec(), Bytes::new()),
            ([&message[..], &message].concat(), Bytes::new()),
            ([&message[..], &message, &ended("0", &[])].concat(), Bytes::new()),
            ([&message[..], &ended("8", &[])].concat(), ended("8", &[])),
            ([&message[..], &ended("13", &details)].concat(), ended("13", &details[..1])),
            ([&message[..], &ended("16", &[])].concat(), ended("16", &[])),
        ] {
            let path = format!("POST /zitadel.session.v2.SessionService/{call}");
            let world = World::new(grant(SessionScope::User));
            world.provider.responses.lock().insert(path.clone(), VecDeque::from([(200, Bytes::from(body.clone()))]));
            let sent = world.send_as("application/grpc-web+proto", &format!("z {path}"), &framed(&request)).await;
            assert_eq!(sent.map(|(_, body)| body), Ok(shown), "{call} {body:?}");
        }
    }
}

#[tokio::test]
async fn a_failed_read_shows_no_session() {
    let session = r#"{"id":"s","user_id":"u2"}"#;
    let error = r#"{"statusCode":503,"current":{"id":"s","user_id":"u2"},"message":"m"}"#;
    for (body, shown) in [(session, "{}"), (error, r#"{"statusCode":503,"message":"m"}"#), ("<html>", "")] {
        for (path, statuses) in [
            ("/api/v2/sessions/s", &[401, 429, 503][..]),
            ("/api/v2/users/u1/sessions", &[302, 401, 404, 409, 503]),
            ("/api/v2/users/u1/refresh-tokens", &[302, 404, 503]),
        ] {
            for status in statuses {
                let world = World::new(grant(SessionScope::User)).responds(&format!("GET {path}"), *status, body);
                assert_eq!(world.send(&format!("a GET {path}"), "").await.unwrap().1, shown, "{path} {status}");
            }
        }
        let world = World::new(grant(SessionScope::User)).responds("GET /api/v2/sessions/s", 503, body);
        assert_eq!(world.send("a PATCH /api/v2/sessions/s", PATCH).await.unwrap().1, shown, "before a write");
    }
}

/// A filter by the user `u1`, in protocol buffers.
fn by_user_filter() -> Vec<u8> {
    let [mut by_user, mut filter] = [Vec::new(), Vec::new()];
    put_bytes(&mut by_user, 1, b"u1");
    put_bytes(&mut filter, 2, &by_user);
    filter
}

#[tokio::test]
async fn each_listed_session_is_compared() {
    let path = "GET /api/v2/users/u1/sessions?include_totals=true";
    let list =
        |one: &str, total: &str| format!(r#"{{"sessions":[{{"id":"a","user_id":"u1"}}{one}]{total},"next":"c"}}"#);
    let foreign = [r#","user_id":"u2""#, "", r#","user_id":null"#, r#","user_id":["u1"]"#];
    for user in foreign {
        let shown = list(&format!(r#",{{"id":"b"{user}}}"#), r#","total":7,"length":2"#);
        let world = World::new(grant(SessionScope::User)).shows(path, &shown);
        let body = world.send(&format!("a {path}"), "").await.unwrap().1;
        assert_eq!(body, r#"{"sessions":[{"id":"a","user_id":"u1"}],"total":1,"length":1}"#);
    }
    let own = list(r#",{"id":"b","user_id":"u1"}"#, r#","total":7"#);
    let world = World::new(grant(SessionScope::User)).shows(path, &own);
    assert_eq!(world.send(&format!("a {path}"), "").await.unwrap().1, own);
    let tokens = r#"{"tokens":[{"id":"a","user_id":"u2"},{"id":"b","user_id":"u1"}],"next":"x"}"#;
    let path = "GET /api/v2/users/u1/refresh-tokens";
    let world = World::new(grant(SessionScope::User)).shows(path, tokens);
    let body = world.send(&format!("a {path}"), "").await.unwrap().1;
    assert_eq!(body, r#"{"tokens":[{"id":"b","user_id":"u1"}]}"#);
    let world = World::new(grant(SessionScope::User)).shows(
        "POST /v2/sessions/search",
        r#"{"details":{"totalResult":"3"},
        "sessions":[{"id":"a","factors":{"user":{"id":"u1"}}},{"id":"b"},{"id":"c","factors":{"user":{"id":"u2"}}}]}"#,
    );
    let body =
        world.send("z POST /v2/sessions/search", r#"{"queries":[{"userIdQuery":{"id":"u1"}}]}"#).await.unwrap().1;
    assert!(body.contains(r#"{"totalResult":"1"}"#), "{body}");
    assert!(body.contains(r#""sessions":[{"id":"a","factors":{"user":{"id":"u1"}}}]"#), "{body}");
    for wrong in ["", "[", r#"{"sessions":{}}"#, r#"{"sessions":["u1"]}"#] {
        let world = World::new(grant(SessionScope::User)).shows(path, wrong);
        assert_eq!(world.send(&format!("a {path}"), "").await.unwrap_err(), Rejection::UpstreamFailed, "{wrong}");
    }
}

/// Writes of one session, and the read before them.
const WRITES: [(&str, &str, &str); 7] = [
    ("a PATCH /api/v2/sessions/s", PATCH, "GET /api/v2/sessions/s"),
    ("a DELETE /api/v2/sessions/s", "", "GET /api/v2/sessions/s"),
    ("a POST /api/v2/sessions/s/revoke", "", "GET /api/v2/sessions/s"),
    ("a POST /api/v2/users/u1/revoke-access", r#"{"session_id":"s"}"#, "GET /api/v2/sessions/s"),
    ("z PATCH /v2/sessions/s", r#"{"lifetime":"60s"}"#, "GET /v2/sessions/s"),
    ("z DELETE /v2/sessions/s", "", "GET /v2/sessions/s"),
    ("o POST /api/v1/sessions/s/lifecycle/refresh", "", "GET /api/v1/sessions/s"),
];

fn session_of(request: &str, user: &str) -> String {
    match request.split(' ').next() {
        Some("a") => format!(r#"{{"id":"s","user_id":"{user}"}}"#),
        Some("z") => format!(r#"{{"session":{{"id":"s","factors":{{"user":{{"id":"{user}"}}}}}}}}"#),
        _ => format!(r#"{{"id":"s","userId":"{user}"}}"#),
    }
}

#[tokio::test]
async fn a_write_is_forwarded_after_a_read_that_shows_its_user() {
    for (request, body, read) in WRITES {
        let world = World::new(grant(SessionScope::User)).shows(read, &session_of(request, "u1"));
        let (_, written) = request.split_once(' ').unwrap();
        let world = world.shows(written, "{}");
        assert_eq!(world.send(request, body).await.unwrap().1, "{}", "{request}");
        assert_eq!(world.sent(), [read, written]);
        for (status, user) in [(200, "u2"), (200, ""), (403, "u1"), (404, "u1"), (410, "u1"), (302, "u1")] {
            let world = World::new(grant(SessionScope::User)).responds(read, status, &session_of(request, user));
            assert_eq!(
                world.send(request, body).await.unwrap_err(),
                Rejection::ForeignSession,
                "{request} {status} {user}"
            );
            assert_eq!(world.sent(), [read], "nothing is written");
        }
        let world = World::new(grant(SessionScope::User)).responds(read, 429, "slow down");
        assert_eq!(world.send(request, body).await.unwrap().1, "", "{request}: nothing that is no plain error");
    }
}

/// The response to the read is for REST, and says more than what the call is rejected for.
#[tokio::test]
async fn a_call_is_rejected_with_the_status_of_its_read() {
    let read = "GET /v2/sessions/s";
    let limit = || Rejection::ProviderLimit(Duration::from_secs(1));
    let policy = Policy { protected: KeyPatterns(vec![KeyPattern::parse("team").unwrap()]), ..Policy::default() };
    let writer = Grant {
        policy: Some(policy),
        keys: KeyGrant {
            set: Some(KeyPatterns::default()),
            clear: Some(KeyPatterns::default()),
            ..KeyGrant::default()
        },
        ..grant(SessionScope::Any)
    };
    for (own, call, body, statuses) in [
        (
            grant(SessionScope::User),
            "z POST /zitadel.session.v2.SessionService/DeleteSession",
            r#"{"sessionId":"s"}"#,
            [(401, Rejection::CredentialRefused), (403, Rejection::ForeignSession), (404, Rejection::ForeignSession)],
        ),
        (
            writer,
            "z POST /zitadel.session.v2.SessionService/SetSession",
            r#"{"sessionId":"s","metadata":{"team":""}}"#,
            [(401, Rejection::CredentialRefused), (403, Rejection::ReadDenied), (404, Rejection::ForeignSession)],
        ),
    ] {
        let failures = [(429, limit()), (500, Rejection::UpstreamFailed), (503, Rejection::UpstreamFailed)];
        for (status, expected) in statuses.into_iter().chain(failures) {
            let world = World::new(own.clone()).responds(read, status, r#"{"message":"details"}"#);
            assert_eq!(world.send(call, body).await.unwrap_err(), expected, "{call} {status}");
            assert_eq!(world.sent(), [read], "nothing is written");
        }
    }
}

#[tokio::test]
async fn a_caller_who_may_not_read_writes_nothing() {
    for (request, body, _) in WRITES.into_iter().filter(|(request, ..)| !request.starts_with('z')) {
        let mut world = World::new(grant(SessionScope::User));
        world.caller.scopes.retain(|scope| !scope.contains("read"));
        let scope = if request.starts_with('a') { "read:sessions" } else { "okta.sessions.read" };
        assert_eq!(world.send(request, body).await.unwrap_err(), Rejection::Scope(scope), "{request}");
        let token = world.send("a DELETE /api/v2/refresh-tokens/t", "").await.unwrap_err();
        assert_eq!(token, Rejection::Scope("read:refresh_tokens"));
        assert!(world.sent().is_empty());
        world = World::new(grant(SessionScope::Own));
        world.caller.session = Some("s".into());
        world.caller.scopes.retain(|scope| !scope.contains("read"));
        let (_, written) = request.split_once(' ').unwrap();
        assert!(world.shows(written, "{}").send(request, body).await.is_ok(), "an own session is not read");
    }
}

#[tokio::test]
async fn one_read_serves_proof_policy_and_keys() {
    let keys = |all: &[&str]| Some(KeyPatterns(all.iter().map(|key| KeyPattern::parse(key).unwrap()).collect()));
    let policy = Policy { protected: keys(&["team_*"]).unwrap(), ..Policy::default() };
    let shop = Grant {
        policy: Some(policy),
        keys: KeyGrant { set: keys(&["cart_*"]), clear: keys(&["cart_*"]), ..KeyGrant::default() },
        ..grant(SessionScope::User)
    };
    let read = "GET /api/v2/sessions/s";
    let world = World::new(shop)
        .shows(read, r#"{"user_id":"u1","session_metadata":{"team_a":"1","cart_b":"2"}}"#)
        .shows("PATCH /api/v2/sessions/s", "{}");
    let write = r#"{"session_metadata":{"team_a":"1","cart_a":"1"}}"#;
    assert!(world.send("a PATCH /api/v2/sessions/s", write).await.is_ok());
    assert_eq!(world.sent(), [read, "PATCH /api/v2/sessions/s"]);
}

#[tokio::test]
async fn a_key_is_not_set_or_cleared_without_a_grant_even_in_audit_mode() {
    let keys = |all: &[&str]| Some(KeyPatterns(all.iter().map(|key| KeyPattern::parse(key).unwrap()).collect()));
    for mode in [Mode::Enforce, Mode::Audit] {
        let policy = Policy { mode, required: vec![KeyPattern::parse("cart_a").unwrap()], ..Policy::default() };
        let shop = || Grant {
            policy: Some(policy.clone()),
            keys: KeyGrant { set: keys(&["cart_*"]), clear: keys(&["cart_*"]), ..KeyGrant::default() },
            ..grant(SessionScope::Any)
        };
        let read = "GET /api/v2/sessions/s";
        for (body, metadata, expected) in [
            (r#"{"cart_a":"1"}"#, "{}", None),
            (r#"{"cart_a":"1","team_a":"1"}"#, r#"{"team_a":"1"}"#, None),
            (r#"{"cart_a":"1","team_a":"2"}"#, r#"{"team_a":"1"}"#, Some("setting `session_metadata.team_a`")),
            (r#"{"cart_a":"1"}"#, r#"{"team_a":"1"}"#, Some("clearing `session_metadata.team_a`")),
        ] {
            let world = World::new(shop())
                .shows(read, &format!(r#"{{"session_metadata":{metadata}}}"#))
                .shows("PATCH /api/v2/sessions/s", "{}");
            let body = format!(r#"{{"session_metadata":{body}}}"#);
            let found = world.send("a PATCH /api/v2/sessions/s", &body).await;
            let expected = expected.map(|what| Rejection::Grant(what.into()));
            assert_eq!(found.err(), expected, "{body} {metadata}");
        }
        let mut world = World::new(shop());
        assert_eq!(
            world.send("z POST /v2/sessions", r#"{"metadata":{"team_a":"MQ==","cart_a":"MQ=="}}"#).await.unwrap_err(),
            Rejection::Grant("setting `metadata.team_a`".into())
        );
        // What the grant needs is not left out because the provider does not show it.
        let world_failing = World::new(shop()).responds(read, 500, "no");
        assert_eq!(world_failing.send("a PATCH /api/v2/sessions/s", PATCH).await.unwrap().1, "no");
        assert_eq!(world_failing.sent(), [read]);
        world.caller.scopes.retain(|scope| !scope.contains("read"));
        assert_eq!(
            world.send("a PATCH /api/v2/sessions/s", PATCH).await.unwrap_err(),
            Rejection::Scope("read:sessions")
        );
    }
}

#[tokio::test]
async fn a_new_session_is_the_subjects() {
    for (body, is_own) in [
        (r#"{"checks":{"user":{"userId":"u1"}}}"#, true),
        (r#"{"checks":{"user":{"user_id":"u1"},"password":{"password":"p"}}}"#, true),
        (r#"{"checks":{"user":{"userId":"u2"}}}"#, false),
        (r#"{"checks":{"user":{"loginName":"u1"}}}"#, false),
        (r#"{"checks":{"user":{"userId":"u1","email":"a@b"}}}"#, false),
        (r#"{"checks":{}}"#, false),
        ("{}", false),
    ] {
        let world = World::new(grant(SessionScope::User)).responds("POST /v2/sessions", 201, "{}");
        let found = world.send("z POST /v2/sessions", body).await;
        assert_eq!(found.err(), (!is_own).then(others), "{body}");
    }
    let read = "GET /v2/sessions/s";
    for (user, is_own) in [
        (r#"{"userId":"u1"}"#, true),
        (r#"{"loginName":"any"}"#, true),
        (r#"{"userId":"u2"}"#, false),
        (r#"{"loginName":"any","later":1}"#, false),
    ] {
        let world = World::new(grant(SessionScope::User)).shows(read, &session_of("z", "u1"));
        let world = world.shows("PATCH /v2/sessions/s", "{}");
        let found = world.send("z PATCH /v2/sessions/s", &format!(r#"{{"checks":{{"user":{user}}}}}"#)).await;
        assert_eq!(found.err(), (!is_own).then(others), "{user}");
    }
}

#[tokio::test]
async fn revocations_name_the_subject_or_tokens_that_are_read_first() {
    let world = World::new(grant(SessionScope::User))
        .responds("DELETE /api/v2/users/u1/sessions", 202, "{}")
        .responds("POST /api/v2/users/u1/revoke-access", 202, "{}")
        .responds("DELETE /api/v2/users/u1/refresh-tokens", 202, "{}")
        .responds("POST /api/v2/refresh-tokens/revoke", 202, "{}")
        .responds("DELETE /api/v1/users/u1/sessions", 204, "");
    for (request, body) in [
        ("a DELETE /api/v2/users/u1/sessions", ""),
        ("a POST /api/v2/users/u1/revoke-access", r#"{"preserve_refresh_tokens":true}"#),
        ("a DELETE /api/v2/users/u1/refresh-tokens", ""),
        ("a POST /api/v2/refresh-tokens/revoke", r#"{"user_id":"u1"}"#),
        ("o DELETE /api/v1/users/u1/sessions", ""),
    ] {
        assert!(world.send(request, body).await.is_ok(), "{request}");
        let foreign = world.send(&request.replace("u1", "u2"), &body.replace("u1", "u2")).await;
        assert_eq!(foreign.unwrap_err(), others(), "{request}");
    }
    assert_eq!(world.sent().len(), 5);
    let bulk = |ids: &str| format!(r#"{{"ids":{ids}}}"#);
    let token = |user: &str| format!(r#"{{"user_id":"{user}","session_id":"own"}}"#);
    let world = world
        .shows("GET /api/v2/refresh-tokens/t1", &token("u1"))
        .shows("GET /api/v2/refresh-tokens/t2", &token("u1"))
        .shows("GET /api/v2/refresh-tokens/t3", &token("u2"));
    let revoke = "a POST /api/v2/refresh-tokens/revoke";
    assert!(world.send(revoke, &bulk(r#"["t1","t2"]"#)).await.is_ok());
    assert_eq!(
        world.sent(),
        ["GET /api/v2/refresh-tokens/t1", "GET /api/v2/refresh-tokens/t2", "POST /api/v2/refresh-tokens/revoke"]
    );
    for ids in [r#"["t1","t3"]"#, r#"["t3"]"#, r#"["t1","missing"]"#] {
        assert_eq!(world.send(revoke, &bulk(ids)).await.unwrap_err(), Rejection::ForeignSession, "{ids}");
        assert!(!world.sent().iter().any(|sent| sent.starts_with("POST")));
    }
    let rejected = world.send(revoke, &bulk(r#"["../users/u2"]"#)).await.unwrap_err();
    assert!(matches!(rejected, Rejection::RefreshTokenId(_)), "{rejected:?}");
    assert!(world.sent().is_empty());
}

#[tokio::test]
async fn the_policy_of_the_grant_strips_one_time_codes() {
    let stripping = ChallengeRule { return_code: ReturnCode::Strip, ..ChallengeRule::default() };
    for (policy, shown) in [
        (Policy { challenges: stripping, ..Policy::default() }, r#"{"challenges":{}}"#),
        (Policy::default(), r#"{"challenges":{"otpSms":"123456"}}"#),
    ] {
        let world = World::new(Grant { policy: Some(policy), ..grant(SessionScope::Any) })
            .shows("PATCH /v2/sessions/s", r#"{"challenges":{"otpSms":"123456"}}"#);
        let challenge = r#"{"challenges":{"otpSms":{"returnCode":true}}}"#;
        assert_eq!(world.send("z PATCH /v2/sessions/s", challenge).await.unwrap().1, shown);
    }
}
