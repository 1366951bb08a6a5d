//! Unverified callers and the cache: their requests bypass the cache only while they are in flight, unless the provider
//! accepts them, and never cause a write of another caller to be rejected. Also: pass-through requests that invalidate.

use crate::harness::grpc::{field, frame};
use crate::harness::recorder::{Call, Recorder, SESSION, Then};
use crate::harness::replica::Replica;
use crate::harness::{
    Connection, Gate, Gateway, H2Provider, Part, RedisServer, Reply, Request, Response, TIMEOUT, redis_installed,
    wait_for,
};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

const USER: &str = "/api/v2/users/auth0%7Cx";
const CACHED: &str = "cache: { ttl: 5m }\nbody: { max: 64KiB }\nlimits: { in_flight: 1000, per_source: 1000 }\n";
const CLIENTS: &str = "clients: { limits: { per_source: 1000 } }\n";

fn path() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

/// A provider that checks credentials by itself, and a gateway that leaves it to it, but for those of the issuer.
struct Place {
    recorder: Recorder,
    gateway: Gateway,
    _server: Option<RedisServer>,
}

impl Place {
    fn new(act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static) -> Place {
        Place::on(None, act)
    }

    /// On this server, or in the gateway's own memory.
    fn on(server: Option<RedisServer>, act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static) -> Place {
        let recorder = Recorder::start(act);
        let url = recorder.url();
        let auth = format!("{{ issuer: {url}/, audience: {url}/api/v2/, opaque: forward }}");
        let config = format!("{CLIENTS}{}", recorder.upstream_as(&auth, CACHED));
        let gateway = match &server {
            Some(server) => {
                let timeouts = "{ connect: 2s, read: 5s, write: 5s }";
                let store = format!("url: \"{}\", timeouts: {timeouts}, seal_keys: [{{ env: SEAL }}]", server.url());
                let config = format!("hash_key: {{ env: HASH }}\nstore: {{ redis: {{ {store} }} }}\n{config}");
                Replica::start(&config, "").gateway
            }
            None => Gateway::start(&config),
        };
        gateway.ready();
        Place { recorder, gateway, _server: server }
    }

    /// One whose provider rejects opaque tokens, once the gate is open.
    fn checking(status: u16, gate: &Gate) -> Place {
        Place::checking_on(None, status, gate)
    }

    fn checking_on(server: Option<RedisServer>, status: u16, gate: &Gate) -> Place {
        let gate = gate.clone();
        Place::on(server, move |call: &mut Call| {
            if call.seen.header("Authorization") != Some("Bearer junk") {
                return call.as_auth0();
            }
            call.body()?;
            gate.pass();
            call.json(status, &json!({ "statusCode": status }))
        })
    }

    fn send(&self, request: &Request, token: &str) -> Response {
        request.clone().bearer(token).send(&self.gateway.url())
    }

    fn get(&self) -> Response {
        self.send(&Request::new("GET", &path()), &self.recorder.token())
    }

    fn cache(&self) -> String {
        self.get().header("Cache-Status").unwrap_or("none").to_owned()
    }

    fn is_hit(&self) -> bool {
        self.cache().starts_with("sessiongate; hit; ttl=")
    }

    /// Reads until the response comes from the cache: entries are stored after the first response was sent.
    fn prime(&self) {
        wait_for("a hit", || self.is_hit().then_some(()));
    }

    /// Sends bytes and leaves the connection open.
    fn begin(&self, bytes: &[u8]) -> Connection {
        let mut connection = Connection::open(self.gateway.address()).unwrap();
        connection.write(bytes).unwrap();
        connection
    }

    fn begin_junk(&self, request: &Request) -> Connection {
        self.begin(&request.clone().bearer("junk").bytes(self.gateway.address()))
    }

    /// Waits until exactly so many requests are in the gateway.
    fn wait_in_flight(&self, count: usize) {
        wait_in_flight(&self.gateway, count);
    }
}

fn wait_in_flight(gateway: &Gateway, count: usize) {
    let line = format!("sessiongate_requests_in_flight {count}");
    gateway.wait_for_metric(&line);
}

fn patch() -> Request {
    Request::new("PATCH", &path()).json(r#"{"session_metadata":{"a":"b"}}"#)
}

fn block() -> Request {
    Request::new("PATCH", USER).json(r#"{"blocked":true}"#)
}

#[test]
fn request_with_an_incomplete_body_is_not_sent_and_sets_no_mark() {
    let place = Place::new(|call: &mut Call| call.as_auth0());
    place.get();
    for (method, target, framing) in [
        ("POST", "/api/v2/users/1/identities", "Content-Length: 10\r\n\r\n{"),
        ("PATCH", USER, "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
        ("DELETE", USER, "Content-Length: 10\r\n\r\n"),
        ("DELETE", USER, "Transfer-Encoding: chunked\r\n\r\n"),
    ] {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer junk\r\n{framing}");
        let connection = place.begin(head.as_bytes());
        place.wait_in_flight(1);
        for _ in 0..3 {
            assert!(place.is_hit(), "{method} {framing:?}: {}", place.cache());
        }
        drop(connection);
        place.wait_in_flight(0);
        assert!(place.is_hit(), "{method} {framing:?}, when it has broken off");
    }
    assert_eq!(place.recorder.count(), 1);
}

/// In memory, and on a server where there is one.
fn stores() -> Vec<Option<RedisServer>> {
    let server = redis_installed().then(RedisServer::start);
    std::iter::once(None).chain(server.map(Some)).collect()
}

#[test]
fn junk_writes_do_not_block_writes_of_the_owner() {
    for store in stores() {
        let gate = Gate::closed();
        let place = Place::checking_on(store, 401, &gate);
        place.prime();
        let junk: Vec<Connection> = (0..100).map(|_| place.begin_junk(&patch())).collect();
        wait_for("all at the provider", || (place.recorder.count_of("PATCH") == 100).then_some(()));
        assert_eq!(place.send(&patch(), &place.recorder.token()).status, 200);
        assert_eq!(place.cache(), "sessiongate; fwd=bypass", "while they are in flight");
        gate.set(true);
        for mut connection in junk {
            assert_eq!(connection.response(false).unwrap().status, 401);
        }
        assert_eq!(place.cache(), "sessiongate; fwd=miss; stored", "after the owner's write");
        place.prime();
    }
}

#[test]
fn rejected_writes_do_not_invalidate_even_if_they_overlap() {
    for status in [400, 401, 403, 404, 405, 429, 501] {
        let stores = if status == 401 { stores() } else { vec![None] };
        stores.into_iter().for_each(|store| rejected_leaves_every_hit(store, status));
    }
}

fn rejected_leaves_every_hit(store: Option<RedisServer>, status: u16) {
    let gate = Gate::closed();
    let place = Place::checking_on(store, status, &gate);
    place.prime();
    let before = place.recorder.count();
    let requests = match status {
        // The provider has responded that the session does not exist.
        404 | 405 | 501 => {
            vec![block(), Request::new("DELETE", USER), Request::new("POST", "/api/v2/users/1/identities")]
        }
        _ => vec![
            patch(),
            block(),
            Request::new("DELETE", &path()),
            Request::new("POST", &format!("{}/revoke", path())),
            Request::new("DELETE", &format!("{USER}/sessions")),
        ],
    };
    let mut junk: Vec<Connection> = requests.iter().chain(&requests).map(|one| place.begin_junk(one)).collect();
    let count = before + junk.len();
    place.recorder.wait(count);
    gate.set(true);
    for connection in &mut junk {
        assert_eq!(connection.response(false).unwrap().status, status);
    }
    assert!(place.is_hit(), "{status}: {}", place.cache());
    assert_eq!(place.recorder.count(), count);
}

#[test]
fn rejected_writes_beyond_the_tracked_number_do_not_invalidate() {
    let gate = Gate::closed();
    let place = Place::checking(403, &gate);
    place.get();
    let mut junk: Vec<Connection> = (0..270).map(|_| place.begin_junk(&block())).collect();
    place.recorder.wait(271);
    gate.set(true);
    for connection in &mut junk {
        assert_eq!(connection.response(false).unwrap().status, 403);
    }
    assert!(place.is_hit(), "{}", place.cache());
}

/// At ZITADEL, a verified token may be any user's. Only the provider knows what a user may do.
#[test]
fn writes_of_users_without_permission_neither_invalidate_nor_block() {
    let gate = Gate::closed();
    let own = gate.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        call.body()?;
        let user = call.seen.header("X-User").unwrap_or_default().to_owned();
        match (call.seen.method.as_str(), user.as_str()) {
            (_, "junk") => {
                own.pass();
                call.json(403, &json!({ "code": 7, "message": "No matching permissions found" }))
            }
            ("GET", _) => call.json(200, &json!({ "session": { "id": "s1", "sequence": "5" } })),
            _ => call.json(200, &json!({ "details": { "sequence": "5" } })),
        }
    });
    let url = recorder.url();
    let auth = format!("{{ issuer: {url}/, audience: {url}/api/v2/ }}");
    let upstream = recorder.upstream_as(&auth, CACHED).replace("dialect: auth0", "dialect: zitadel");
    let gateway = Gateway::start(&format!("{CLIENTS}{upstream}"));
    gateway.ready();
    let (owner, user) = (recorder.token_of("owner"), recorder.token_of("user"));
    let read = || {
        let response = Request::new("GET", "/v2/sessions/s1").bearer(&owner).send(&gateway.url());
        response.header("Cache-Status").unwrap_or("none").to_owned()
    };
    let patch = || Request::new("PATCH", "/v2/sessions/s1").json(r#"{"metadata":{"a":"YQ=="}}"#);
    let begin = |request: Request| {
        let mut connection = Connection::open(gateway.address()).unwrap();
        connection.write(&request.header("X-User", "junk").bearer(&user).bytes(gateway.address())).unwrap();
        connection
    };
    let end = |junk: Vec<Connection>| {
        gate.set(true);
        for mut connection in junk {
            assert_eq!(connection.response(false).unwrap().status, 403);
        }
        gate.set(false);
    };
    read();
    assert!(read().starts_with("sessiongate; hit; ttl="));
    // More of each than the gateway tracks for callers with permissions.
    let locks: Vec<Connection> = (0..270).map(|_| begin(Request::new("POST", "/v2/users/x/lock").json("{}"))).collect();
    recorder.wait(271);
    end(locks);
    assert!(read().starts_with("sessiongate; hit; ttl="), "{}", read());
    let patches: Vec<Connection> = (0..70).map(|_| begin(patch())).collect();
    recorder.wait(341);
    assert_eq!(patch().bearer(&owner).send(&gateway.url()).status, 200);
    end(patches);
    assert_eq!(read(), "sessiongate; fwd=miss; stored", "after the owner's write");
}

#[test]
fn unknown_outcome_bypasses_the_cache_and_blocks_no_write() {
    for store in stores() {
        let gate = Gate::closed();
        gate.set(true);
        let place = Place::checking_on(store, 503, &gate);
        place.get();
        for _ in 0..70 {
            assert_eq!(place.send(&patch(), "junk").status, 503);
        }
        assert_eq!(place.cache(), "sessiongate; fwd=bypass");
        assert_eq!(place.send(&patch(), &place.recorder.token()).status, 200);
    }
}

#[test]
fn write_completes_after_its_client_left_and_invalidates() {
    let gate = Gate::closed();
    let own = gate.clone();
    let place = Place::new(move |call: &mut Call| {
        if call.seen.method == "PATCH" {
            call.body()?;
            own.pass();
            return call.json(200, &json!({}));
        }
        call.as_auth0()
    });
    place.get();
    assert!(place.is_hit());
    let connection = place.begin_junk(&block());
    place.recorder.wait(2);
    drop(connection);
    assert_eq!(place.cache(), "sessiongate; fwd=bypass");
    gate.set(true);
    wait_for("its end", || (place.cache() != "sessiongate; fwd=bypass").then_some(()));
    wait_for("a hit", || place.is_hit().then_some(()));
    assert_eq!(place.recorder.count_of("PATCH"), 1);
}

#[test]
fn deletion_by_an_unverified_caller_counts_during_junk_writes() {
    let gate = Gate::closed();
    let place = Place::checking(401, &gate);
    place.get();
    let mut junk: Vec<Connection> = (0..3).map(|_| place.begin_junk(&patch())).collect();
    place.recorder.wait(4);
    let deleted = place.send(&Request::new("DELETE", &path()), "good-opaque");
    assert_eq!(deleted.status, 202);
    let gone = |response: Response| (response.status, response.header("Cache-Status").map(str::to_owned));
    let expected = (404, Some("sessiongate; hit; detail=deleted".to_owned()));
    assert_eq!(gone(place.get()), expected, "although the mark of the others stands");
    gate.set(true);
    for connection in &mut junk {
        assert_eq!(connection.response(false).unwrap().status, 401);
    }
    assert_eq!(gone(place.get()), expected);
}

#[test]
fn body_beyond_the_limit_is_rejected_and_not_sent() {
    let place = Place::new(|call: &mut Call| call.as_auth0());
    place.get();
    let token = place.recorder.token();
    let large = "x".repeat((64 << 10) + 1);
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    for request in [
        Request::new("PATCH", USER).json(&large),
        Request::new("PATCH", USER).header("Transfer-Encoding", "chunked").body(chunked),
    ] {
        let response = place.send(&request, &token);
        assert_eq!((response.status, &response.json()["statusCode"]), (413, &json!(413)));
    }
    assert!(place.is_hit());
    assert_eq!(place.recorder.count(), 1);
    let fits = Request::new("PATCH", USER).json(&large[1..]);
    assert_eq!(place.send(&fits, &token).status, 200);
    assert_eq!(place.recorder.seen()[1].body.len(), 64 << 10);
}

#[test]
fn invalidating_requests_and_responses_pass_unchanged() {
    let large: Vec<u8> = (0..6_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let body = large.clone();
    let place = Place::new(move |call: &mut Call| {
        call.body()?;
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: keep-alive\r\n";
        match call.seen.target.contains("chunked") {
            true => {
                call.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()))?;
                call.send(&body)?;
                call.send("\r\n0\r\n\r\n")?;
            }
            false => {
                call.send(format!("{head}Content-Length: {}\r\n\r\n", body.len()))?;
                call.send(&body)?;
            }
        }
        Ok(Then::Keep)
    });
    for (place_in_log, target) in [USER, "/api/v2/users/%61uth0|x?chunked=%zz&q=a%20b+c&`"].into_iter().enumerate() {
        let response = Request::new("PATCH", target)
            .header("Content-Type", "text/plain; charset=latin1")
            .header("Content-Encoding", "br")
            .header("Accept-Encoding", "gzip, br")
            .header("If-Match", "\"x\"")
            .header("X-Request-Id", "own")
            .header("X-Twice", "1")
            .header("X-Twice", "2")
            .header("Cookie", "a=b; c=d")
            .header("Expect", "100-continue")
            .header("X-Forwarded-For", "1.2.3.4")
            .bearer("junk")
            .body(vec![0xff, 0, 1])
            .send(&place.gateway.url());
        assert_eq!((response.status, response.header("Content-Encoding")), (200, Some("gzip")));
        assert!(response.header("X-Request-Id").is_some());
        assert_eq!(response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).count(), 2);
        assert!(response.body == large, "{target}: the client got something else");
        let seen = place.recorder.seen()[place_in_log].clone();
        assert_eq!((seen.target.as_str(), seen.body.as_slice()), (target, &[0xff, 0, 1][..]));
        for (name, value) in [
            ("Content-Type", Some("text/plain; charset=latin1")),
            ("Content-Encoding", Some("br")),
            ("Accept-Encoding", Some("gzip, br")),
            ("If-Match", Some("\"x\"")),
            ("X-Request-Id", Some("own")),
            ("Cookie", Some("a=b; c=d")),
            ("Content-Length", Some("3")),
            ("Expect", None),
            ("X-Forwarded-For", None),
            ("Authorization", Some("Bearer junk")),
        ] {
            assert_eq!(seen.header(name), value, "{name}");
        }
        assert_eq!(seen.all("X-Twice"), ["1", "2"]);
        assert_eq!(seen.header("Host"), Some(place.recorder.address().to_string().as_str()));
    }
}

#[test]
fn truncated_response_is_truncated_at_the_client() {
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let place = Place::new(move |call: &mut Call| {
            call.body()?;
            let part = if framing.ends_with("chunked") { "4\r\nhalf\r\n" } else { "half" };
            call.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}"))?;
            Ok(Then::Close)
        });
        let mut connection = place.begin_junk(&block());
        assert!(connection.response(false).is_err(), "{framing}");
    }
}

const LOCK: &str = "/zitadel.user.v2.UserService/LockUser";
const GET: &str = "/zitadel.session.v2.SessionService/GetSession";
const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web+proto";

/// A ZITADEL that responds to reads, and to every write with this head, these parts and these trailers.
struct Calls {
    provider: H2Provider,
    gateway: Gateway,
    runtime: Runtime,
}

type Said = (&'static [(&'static str, &'static str)], Vec<u8>, Option<&'static [(&'static str, &'static str)]>);

fn map(all: &[(&str, &str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

impl Calls {
    fn new(content_type: &'static str, said: impl Fn() -> Said + Send + Sync + 'static) -> Calls {
        Calls::waiting(content_type, None, said)
    }

    /// The same, where what follows the head of the response to a change waits for the test.
    fn waiting(
        content_type: &'static str,
        until: Option<Arc<Notify>>,
        said: impl Fn() -> Said + Send + Sync + 'static,
    ) -> Calls {
        let provider = H2Provider::start(None, move |arrived| {
            let read = arrived.head.uri.path() == GET;
            let good: Said =
                (&[], frame(&field(1, &[field(1, b"s1"), vec![4 << 3, 1]].concat())), Some(&[("grpc-status", "0")]));
            let (headers, body, trailers) = if read { good } else { said() };
            let mut head = http::Response::builder().header("content-type", if read { GRPC } else { content_type });
            for (name, value) in headers {
                head = head.header(*name, *value);
            }
            let waits = until.clone().filter(|_| !read).map(Part::Wait);
            let bytes = Some(body).filter(|body| !body.is_empty()).map(|body| Part::Bytes(body.into()));
            let parts = waits.into_iter().chain(bytes).collect();
            Reply { head: head.body(()).unwrap(), parts, trailers: trailers.map(map) }
        });
        let address = provider.address();
        let gateway = Gateway::start(&format!(
            "upstreams:\n  idp:\n    dialect: zitadel\n    url: http://{address}\n    protocol: http2\n    auth: forward\n    cache: {{}}\n"
        ));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Calls { provider, gateway, runtime }
    }

    /// A call with this body; where it is to break off, it does so once the gateway has it.
    fn call(&self, path: &str, content_type: &str, body: &[u8]) -> WriteEnd {
        let request = request(self.gateway.address(), path, content_type);
        let body = Bytes::copy_from_slice(body);
        self.runtime.block_on(async {
            let mut client = connect(self.gateway.address()).await;
            let (response, mut sending) = client.send_request(request, false).unwrap();
            sending.send_data(body, true).unwrap();
            let (head, mut incoming) = tokio::time::timeout(TIMEOUT, response).await.unwrap().unwrap().into_parts();
            let only_head = incoming.is_end_stream();
            let mut body = Vec::new();
            while let Some(part) = incoming.data().await {
                body.extend_from_slice(&part.unwrap());
            }
            let trailers = incoming.trailers().await.unwrap().unwrap_or_default();
            WriteEnd { headers: head.headers, body, trailers, only_head }
        })
    }

    fn cache(&self) -> String {
        let ended = self.call(GET, GRPC, &frame(&field(1, b"s1")));
        ended.headers["cache-status"].to_str().unwrap().to_owned()
    }

    fn is_hit(&self) -> bool {
        self.cache().starts_with("sessiongate; hit; ttl=")
    }

    fn locks(&self) -> usize {
        self.provider.arrived().iter().filter(|one| one.head.uri.path() == LOCK).count()
    }
}

struct WriteEnd {
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
    only_head: bool,
}

fn request(address: SocketAddr, path: &str, content_type: &str) -> http::Request<()> {
    let request = http::Request::post(format!("http://{address}{path}")).header("authorization", "Bearer pat");
    request.header("content-type", content_type).header("te", "trailers").body(()).unwrap()
}

async fn connect(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

#[test]
fn incomplete_call_is_not_sent_and_sets_no_mark() {
    let calls = Calls::new(GRPC, || (&[], frame(b""), Some(&[("grpc-status", "0")])));
    calls.cache();
    for (path, content_type) in
        [(LOCK, GRPC), (LOCK, WEB), (LOCK, "application/json"), ("/v2/users/1/lock", "application/json")]
    {
        let address = calls.gateway.address();
        let sending = calls.runtime.block_on(async {
            let mut client = connect(address).await;
            let (response, mut sending) = client.send_request(request(address, path, content_type), false).unwrap();
            sending.send_data(Bytes::from_static(b"\0\0\0\0\x09{"), false).unwrap();
            (client, response, sending)
        });
        wait_in_flight(&calls.gateway, 1);
        assert!(calls.is_hit(), "{path} {content_type}: {}", calls.cache());
        let (_client, _response, mut sending) = sending;
        sending.send_reset(h2::Reason::CANCEL);
        wait_in_flight(&calls.gateway, 0);
        assert!(calls.is_hit(), "{path} {content_type}, when it was reset");
    }
    assert_eq!(calls.provider.arrived().len(), 1);
}

/// `grpc-status` in the head alone, after an empty body, and in a frame of the body.
#[test]
fn rejected_calls_do_not_invalidate_and_pass_unchanged() {
    fn trailers(code: &str) -> Vec<u8> {
        let text = format!("grpc-status: {code}\r\n");
        [&[0x80, 0, 0, 0, u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat()
    }
    let only_head: fn() -> Said = || (&[("grpc-status", "16"), ("grpc-message", "no")], Vec::new(), None);
    let behind: fn() -> Said = || (&[], Vec::new(), Some(&[("grpc-status", "7"), ("x-more", "1")]));
    let in_body: fn() -> Said = || (&[], trailers("16"), None);
    for (content_type, said) in [(GRPC, only_head), (GRPC, behind), (WEB, only_head), (WEB, in_body)] {
        let calls = Calls::new(content_type, said);
        calls.cache();
        let ended = calls.call(LOCK, content_type, &frame(&field(1, b"u1")));
        assert_eq!(calls.locks(), 1);
        let (headers, body, trailers) = said();
        assert_eq!((&ended.body, ended.only_head), (&body, body.is_empty() && trailers.is_none()));
        assert_eq!(ended.trailers, map(trailers.unwrap_or_default()));
        for (name, value) in headers {
            assert_eq!(ended.headers[*name], *value);
        }
        assert!(calls.is_hit(), "{content_type}: {}", calls.cache());
    }
}

#[test]
fn call_completes_by_its_status_after_its_client_left() {
    for (code, changed) in [("0", true), ("16", false)] {
        let go = Arc::new(Notify::new());
        let trailers: &'static [(&str, &str)] =
            if changed { &[("grpc-status", "0")] } else { &[("grpc-status", "16")] };
        let calls = Calls::waiting(GRPC, Some(go.clone()), move || {
            (&[], if changed { frame(b"\x0a\x00") } else { Vec::new() }, Some(trailers))
        });
        calls.cache();
        let address = calls.gateway.address();
        let call = calls.runtime.block_on(async {
            let mut client = connect(address).await;
            let (response, mut sending) = client.send_request(request(address, LOCK, GRPC), false).unwrap();
            sending.send_data(frame(&field(1, b"u1")).into(), true).unwrap();
            (client, response, sending)
        });
        wait_for("the call at the provider", || (calls.locks() == 1).then_some(()));
        let (_client, _response, mut sending) = call;
        sending.send_reset(h2::Reason::CANCEL);
        assert_eq!(calls.cache(), "sessiongate; fwd=bypass", "{code}");
        go.notify_one();
        let after = wait_for("its end", || Some(calls.cache()).filter(|cache| cache != "sessiongate; fwd=bypass"));
        assert_eq!(after == "sessiongate; fwd=miss; stored", changed, "{code}: {after}");
        assert!(calls.is_hit(), "{code}");
        assert_eq!(calls.locks(), 1);
    }
}

/// Messages of any size are streamed. Only the end of a call waits until the invalidation is settled.
#[test]
fn message_is_streamed_before_its_call_ends() {
    const SIZE: usize = 6 << 20;
    let go = Arc::new(Notify::new());
    let own = go.clone();
    let provider = H2Provider::start(None, move |_| {
        let head = http::Response::builder().header("content-type", GRPC).body(()).unwrap();
        let message = Bytes::from(frame(&vec![b'x'; SIZE]));
        let parts = vec![Part::Bytes(Bytes::new()), Part::Bytes(message), Part::Wait(own.clone())];
        Reply { head, parts, trailers: Some(map(&[("grpc-status", "0")])) }
    });
    let gateway = Gateway::start(&format!(
        "upstreams:\n  idp:\n    dialect: zitadel\n    url: http://{}\n    protocol: http2\n    auth: forward\n    cache: {{}}\n",
        provider.address()
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = connect(gateway.address()).await;
        let (response, mut sending) = client.send_request(request(gateway.address(), LOCK, GRPC), false).unwrap();
        sending.send_data(frame(&field(1, b"u1")).into(), true).unwrap();
        let mut body = tokio::time::timeout(TIMEOUT, response).await.unwrap().unwrap().into_body();
        let mut came = 0;
        while came < SIZE + 5 {
            let part = tokio::time::timeout(TIMEOUT, body.data()).await.unwrap().unwrap().unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            came += part.len();
        }
        go.notify_one();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap(), map(&[("grpc-status", "0")]));
    });
}

#[test]
fn successful_calls_invalidate() {
    let done: fn() -> Said = || (&[], frame(b"\x0a\x00"), Some(&[("grpc-status", "0")]));
    let calls = Calls::new(GRPC, done);
    calls.cache();
    assert!(calls.is_hit());
    let ended = calls.call(LOCK, GRPC, &frame(&field(1, b"u1")));
    assert_eq!((ended.body, ended.trailers), (frame(b"\x0a\x00"), map(&[("grpc-status", "0")])));
    assert_eq!(calls.cache(), "sessiongate; fwd=miss; stored");
    let arrived = calls.provider.arrived().into_iter().find(|one| one.head.uri.path() == LOCK).unwrap();
    assert_eq!((arrived.body.as_slice(), arrived.all("te")), (frame(&field(1, b"u1")).as_slice(), vec!["trailers"]));
}
