//! HTTP/2 to providers, with prior knowledge and over TLS: requests arrive unchanged. If the provider misbehaves, a
//! write is executed at most once; a request is sent again only if the provider says that it was not processed.

use crate::connections::misbehaving_providers;
use crate::harness::recorder::{Recorder, SESSION, session};
use crate::harness::{
    Authority, Connection, FrameProvider, Frames, Gateway, H2Provider, Part, Reply, Request, Response, TIMEOUT,
    wait_for,
};
use bytes::Bytes;
use http::{HeaderMap, Version};
use rustls::ServerConfig;
use serde_json::json;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use tokio::sync::Notify;

fn good(_: &crate::harness::Arrived) -> Reply {
    Reply::json(session(&json!({})).to_string())
}

fn with_alpn(mut config: ServerConfig, protocols: &[&str]) -> ServerConfig {
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// The part of a configuration for a provider at this address.
fn upstream(url: &str, more: &str) -> String {
    format!("upstreams:\n  a:\n    dialect: auth0\n    url: {url}\n    auth: none\n{more}")
}

/// A gateway before a provider without TLS, spoken to by prior knowledge.
fn gateway(address: SocketAddr) -> Gateway {
    Gateway::start(&upstream(&format!("http://{address}"), "    protocol: http2\n"))
}

/// A gateway before a provider with TLS.
fn gateway_tls(provider: &H2Provider, authority: &Authority, protocol: &str) -> Gateway {
    let more = format!("    protocol: {protocol}\n    tls: {{ ca_file: {} }}\n", authority.file.display());
    Gateway::start(&upstream(&format!("https://{}", provider.address()), &more))
}

fn session_path() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

type WholeResponse = (http::response::Parts, Bytes, HeaderMap);

/// Sends a request over HTTP/2 with prior knowledge, and takes the whole response.
fn over_http2(address: SocketAddr, request: http::Request<Bytes>) -> WholeResponse {
    try_over_http2(address, request).unwrap()
}

/// The same, where it may break off.
fn try_over_http2(address: SocketAddr, request: http::Request<Bytes>) -> Result<WholeResponse, h2::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (head, body) = request.into_parts();
        let mut client = client.ready().await.unwrap();
        let (response, mut sending) =
            client.send_request(http::Request::from_parts(head, ()), body.is_empty()).unwrap();
        if !body.is_empty() {
            sending.send_data(body, true).unwrap();
        }
        let (head, mut body) = response.await?.into_parts();
        let mut whole = Vec::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len()).unwrap();
            whole.extend_from_slice(&part);
        }
        Ok((head, Bytes::from(whole), body.trailers().await?.unwrap_or_default()))
    };
    runtime.block_on(async { tokio::time::timeout(TIMEOUT, exchange).await.unwrap() })
}

/// They arrive unchanged, except for what HTTP/2 does not have.
#[test]
fn governed_and_pass_through_requests_arrive_over_http2() {
    let authority = Authority::new("right");
    for tls in [false, true] {
        let config = || with_alpn(authority.certify(&["127.0.0.1"], |_| {}), &["h2"]);
        let provider = H2Provider::start(tls.then(config), good);
        let gateway = if tls { gateway_tls(&provider, &authority, "http2") } else { gateway(provider.address()) };
        let session = session_path();
        let body = r#"{"session_metadata":{"team":"blue"}}"#;
        let chunked = "4\r\nbody\r\n0\r\n\r\n";
        let requests = [
            (Request::new("GET", &session), ""),
            (Request::new("PATCH", &session).json(body), body),
            (Request::new("DELETE", &session), ""),
            (Request::new("GET", "/x?y=%zz&&z"), ""),
            (Request::new("POST", "/upload").header("Transfer-Encoding", "chunked").body(chunked), "body"),
            (Request::new("PUT", "/x").json("{}"), "{}"),
            (Request::new("OPTIONS", "/x"), ""),
        ];
        let mut connection = Connection::open(gateway.address()).unwrap();
        for (place, (request, body)) in requests.into_iter().enumerate() {
            let request = request.header("X-Own", "1").header("TE", "trailers, gzip").header("Keep-Alive", "5");
            let response = connection.exchange(&request.clone()).unwrap();
            assert_eq!(response.status, 200, "{request:?}: {response:?}");
            let arrived = provider.arrived()[place].clone();
            let uri = &arrived.head.uri;
            assert_eq!(arrived.head.version, Version::HTTP_2);
            assert_eq!(uri.scheme_str(), Some(if tls { "https" } else { "http" }));
            assert_eq!(uri.authority().unwrap().as_str(), provider.address().to_string());
            let line = format!("{} {}", arrived.head.method, uri.path_and_query().unwrap());
            assert!(String::from_utf8_lossy(&request.bytes(gateway.address())).starts_with(&line), "{line}");
            assert_eq!(String::from_utf8_lossy(&arrived.body), body, "{line}");
            assert_eq!(arrived.all("x-own"), ["1"]);
            for name in ["host", "connection", "transfer-encoding", "keep-alive", "te", "upgrade"] {
                assert_eq!(arrived.all(name), [""; 0], "{name} of {line}");
            }
        }
        // One for governed requests, one for pass-through requests, and one for a body that may be a side of a
        // conversation.
        assert_eq!(provider.connections(), 3);
    }
}

#[test]
fn http2_end_to_end() {
    let provider = H2Provider::start(None, |arrived| {
        let mut reply = good(arrived);
        reply.trailers = Some(HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]));
        reply
    });
    let gateway = gateway(provider.address());
    for path in [session_path(), "/x?y=z".into()] {
        let request = http::Request::get(format!("http://gateway.test{path}"));
        let request = request.header("cookie", "a=b").header("cookie", "c=d").header("te", "trailers");
        let (head, body, trailers) = over_http2(gateway.address(), request.body(Bytes::new()).unwrap());
        assert_eq!((head.status.as_u16(), body.is_empty()), (200, false), "{path}");
        let passed = path.starts_with("/x");
        assert!(!passed || trailers["x-sum"] == "1", "{path}: {trailers:?}");
        let arrived = provider.arrived().pop().unwrap();
        assert_eq!(arrived.all("cookie").join("; "), "a=b; c=d", "{path}");
        assert_eq!(arrived.head.uri.authority().unwrap().as_str(), provider.address().to_string());
        assert_eq!(arrived.all("host"), [""; 0]);
        assert!(arrived.all("te").iter().all(|value| *value == "trailers"));
    }
}

/// HTTP/2 allows several cookie headers. An HTTP/1.1 server may read only the first.
#[test]
fn cookie_crumbs_become_one_header_over_http1() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&upstream(&recorder.url(), ""));
    for path in [session_path(), "/x".into()] {
        let request = http::Request::get(format!("http://gateway.test{path}"));
        let request = request.header("cookie", "a=b").header("cookie", "c=d; e=f").header("cookie", "g=h");
        let (head, ..) = over_http2(gateway.address(), request.body(Bytes::new()).unwrap());
        assert_eq!(head.status.as_u16(), 200, "{path}");
        assert_eq!(recorder.seen().pop().unwrap().header("Cookie"), Some("a=b; c=d; e=f; g=h"), "{path}");
    }
}

/// A client of HTTP/1.1, byte by byte.
struct Client(TcpStream, Vec<u8>);

impl Client {
    fn open(gateway: &Gateway) -> Client {
        let stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Client(stream, Vec::new())
    }

    fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn until(&mut self, needle: &str) -> String {
        let mut part = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&self.1).into_owned();
            if text.contains(needle) {
                return text;
            }
            let length = self.0.read(&mut part).unwrap();
            assert!(length > 0, "the connection ended before `{needle}`: {text}");
            self.1.extend_from_slice(&part[..length]);
        }
    }
}

#[test]
fn bodies_stream_in_both_directions() {
    let go = Arc::new(Notify::new());
    let own = go.clone();
    let provider = H2Provider::start(None, move |_| {
        let mut reply = Reply::json("first");
        reply.parts.extend([Part::Wait(own.clone()), Part::Bytes("last".into())]);
        reply
    });
    let gateway = gateway(provider.address());
    let mut client = Client::open(&gateway);
    client.write("POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    wait_for("the first part at the provider", || {
        provider.arrived().first().filter(|arrived| arrived.body == b"first").map(|_| ())
    });
    client.write("4\r\nlast\r\n0\r\n\r\n");
    client.until("first");
    go.notify_one();
    client.until("last");
    assert_eq!(provider.arrived()[0].body, b"firstlast");
}

#[test]
fn large_bodies_are_unchanged_in_both_directions() {
    const SIZE: usize = 8 << 20;
    let pattern: Vec<u8> = (0..SIZE as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let provider = H2Provider::start(None, |arrived| Reply::json(arrived.body.clone()));
    let gateway = gateway(provider.address());
    let response = Request::new("POST", "/upload").body(pattern.clone()).send(&gateway.url());
    assert!(provider.arrived()[0].body == pattern, "the provider got something else");
    assert!(response.body == pattern, "the client got something else");
}

/// An HTTP/2 provider does not respond to `Expect`, and some HTTP/1.1 clients wait for 100 forever.
#[test]
fn gateway_sends_100_continue() {
    let provider = H2Provider::start(None, good);
    let gateway = gateway(provider.address());
    let mut client = Client::open(&gateway);
    client.write("POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let begun = client.until("\r\n\r\n");
    assert!(begun.starts_with("HTTP/1.1 100 "), "{begun} {:?}", provider.arrived());
    client.write("body");
    client.until("HTTP/1.1 200 ");
    let arrived = provider.arrived()[0].clone();
    assert_eq!((arrived.body.as_slice(), arrived.all("expect")), (&b"body"[..], vec![]));
}

fn statuses(gateway: &Gateway) -> Vec<u16> {
    let requests = [
        Request::new("GET", &session_path()),
        Request::new("GET", "/x"),
        Request::new("DELETE", &session_path()),
        Request::new("DELETE", "/x"),
    ];
    requests.iter().map(|request| request.send(&gateway.url()).status).collect()
}

#[test]
fn protocol_auto_follows_alpn() {
    let authority = Authority::new("right");
    for (offered, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["h2"], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let config = with_alpn(authority.certify(&["127.0.0.1"], |_| {}), offered);
        let provider = H2Provider::start(Some(config), good);
        let gateway = gateway_tls(&provider, &authority, "auto");
        for _ in 0..2 {
            assert_eq!(statuses(&gateway), [200; 4], "{offered:?}");
        }
        let arrived = provider.arrived();
        assert_eq!(arrived.len(), 8);
        assert!(arrived.iter().all(|arrived| arrived.head.version == version), "{offered:?}");
    }
}

/// With `protocol: http2`, no request is sent to a provider without HTTP/2.
#[test]
fn protocol_http2_does_not_fall_back() {
    let authority = Authority::new("right");
    for offered in [&["http/1.1"][..], &[]] {
        let config = with_alpn(authority.certify(&["127.0.0.1"], |_| {}), offered);
        let provider = H2Provider::start(Some(config), good);
        let gateway = gateway_tls(&provider, &authority, "http2");
        assert_eq!(statuses(&gateway), [502; 4], "{offered:?}");
        assert_eq!(provider.arrived().len(), 0, "{offered:?}");
        let why = gateway.wait_for_log(|line| line.contains("requests to the provider fail"));
        let reason = if offered.is_empty() { "does not support HTTP/2" } else { "NoApplicationProtocol" };
        assert!(why.contains(reason), "{offered:?}: {why}");
    }
}

#[test]
fn websocket_with_protocol_auto_uses_http1() {
    let authority = Authority::new("right");
    let config = with_alpn(authority.certify(&["127.0.0.1"], |_| {}), &["h2", "http/1.1"]);
    let provider = H2Provider::start(Some(config), good);
    let gateway = gateway_tls(&provider, &authority, "auto");
    assert_eq!(statuses(&gateway), [200; 4]);
    let mut client = Client::open(&gateway);
    client.write("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    assert!(client.until("hello").starts_with("HTTP/1.1 101 "));
    assert_eq!(statuses(&gateway), [200; 4]);
    assert!(provider.arrived().iter().filter(|arrived| arrived.head.version == Version::HTTP_11).count() == 1);
}

/// Concurrent requests share the streams that the provider allows, and wait for each other.
#[test]
fn stream_limit_of_the_provider_is_respected() {
    let provider = H2Provider::start_with(None, 2, good);
    let gateway = gateway(provider.address());
    thread::scope(|scope| {
        for turn in 0..40 {
            let url = gateway.url();
            let path = if turn % 2 == 0 { session_path() } else { format!("/x/{turn}") };
            scope.spawn(move || assert_eq!(Request::new("GET", &path).send(&url).status, 200, "{path}"));
        }
    });
    assert_eq!(provider.arrived().len(), 40);
}

/// Requests share a connection to the provider. A response that waits for a slow client must not block the others.
#[test]
fn clients_that_do_not_read_do_not_block_others() {
    const LARGE: usize = 24 << 20;
    let large = Bytes::from(vec![b'x'; LARGE]);
    let provider = H2Provider::start(None, move |arrived| match arrived.head.uri.path() {
        "/good" | "/v2/users/good/lock" => Reply::json("y".repeat(100_000)),
        _ => Reply::json(large.clone()),
    });
    let gateway = Gateway::start(&format!(
        "upstreams:\n  a:\n    dialect: zitadel\n    url: http://{}\n    protocol: http2\n    auth: forward\n    cache: {{}}\n",
        provider.address()
    ));
    // Passed through as it comes, and sent by the gateway as a whole.
    for (method, large, good) in [("GET", "/large", "/good"), ("POST", "/v2/users/large/lock", "/v2/users/good/lock")] {
        let clients: Vec<Client> = (0..8)
            .map(|_| {
                let mut client = Client::open(&gateway);
                client.write(&format!(
                    "{method} {large} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer pat\r\nContent-Length: 0\r\n\r\n"
                ));
                client.until("\r\n\r\n");
                client
            })
            .collect();
        for turn in 0..30 {
            let response = Request::new(method, good).bearer("pat").send(&gateway.url());
            assert_eq!((response.status, response.body.len()), (200, 100_000), "{good}: {turn}");
        }
        drop(clients);
    }
}

#[test]
fn hanging_connection_is_not_used_again() {
    let provider = H2Provider::start(None, |arrived| {
        let mut reply = good(arrived);
        if arrived.head.uri.path().ends_with("hangs") {
            reply.parts.insert(0, Part::Hang);
        }
        reply
    });
    let more = "    protocol: http2\n    timeouts: { first_byte: 2s, idle: 2s }\n";
    let gateway = Gateway::start(&upstream(&format!("http://{}", provider.address()), more));
    for (mark_hung, good) in [("/api/v2/sessions/hangs", session_path()), ("/hangs", "/x".into())] {
        assert_eq!(Request::new("GET", &good).send(&gateway.url()).status, 200);
        let before = provider.connections();
        let late = Request::new("GET", mark_hung).try_send(&gateway.url());
        assert!(late.as_ref().map_or(true, |late| [504, 200].contains(&late.status)), "{late:?}");
        assert_eq!(Request::new("GET", &good).send(&gateway.url()).status, 200);
        assert_eq!(provider.connections(), before + 1, "{mark_hung}");
    }
}

/// What a client meets: a status, or 0 for a response that breaks off.
fn status(response: &std::io::Result<Response>) -> u16 {
    response.as_ref().map_or(0, |response| response.status)
}

/// A kind of misbehavior, and the status that a client gets for a governed and a pass-through request.
const MODES: [(Frames, &[u16], &[u16]); 20] = [
    (Frames::Reset(0), &[502], &[502]),
    (Frames::Reset(2), &[502], &[502]),
    (Frames::Reset(8), &[502], &[502]),
    (Frames::Reset(13), &[502], &[502]),
    (Frames::GoAwayAfter(0), &[502], &[502]),
    (Frames::GoAwayAfter(2), &[502], &[502]),
    (Frames::GoAwayAfter(11), &[502], &[502]),
    (Frames::Close, &[502], &[502]),
    (Frames::OtherVersion, &[502], &[502]),
    (Frames::BadHeaders, &[502], &[502]),
    (Frames::HintThenReject, &[502], &[502]),
    (Frames::HintThenGoAway, &[502], &[502]),
    (Frames::HintThenClose, &[502], &[502]),
    (Frames::BeginThenReject(false), &[502], &[502, 0]),
    (Frames::BeginThenReject(true), &[502], &[502, 0]),
    (Frames::BeginThenGoAway(false), &[502], &[502, 0]),
    (Frames::BeginThenGoAway(true), &[502], &[502, 0]),
    (Frames::HalfThenReset, &[502], &[502, 0]),
    (Frames::HalfThenClose, &[502], &[502, 0]),
    (Frames::Silence, &[504], &[504]),
];

/// Lets the next request find a kept connection, or none.
fn prepare(provider: &FrameProvider, gateway: &Gateway, checked: bool, kept: bool) {
    provider.act(&[], if kept { Frames::Respond } else { Frames::ResponseLast });
    let path = if checked { session_path() } else { "/prime".into() };
    let before = provider.closed();
    assert_eq!(Request::new("GET", &path).send(&gateway.url()).status, 200);
    if !kept {
        wait_for("the end of the connection", || (provider.closed() > before).then_some(()));
    }
}

#[test]
fn writes_are_sent_at_most_once_over_http2() {
    let provider = FrameProvider::start();
    let patient = gateway(provider.address());
    let more = "    protocol: http2\n    timeouts: { first_byte: 2s, idle: 2s }\n";
    let hasty = Gateway::start(&upstream(&format!("http://{}", provider.address()), more));
    let mut faults = String::new();
    for (mode, of_checked, of_passed) in MODES {
        let gateway = if mode == Frames::Silence { &hasty } else { &patient };
        let all = misbehaving_providers::requests();
        // Those that wait for a deadline are few: two of each way.
        let few = |place: usize| mode != Frames::Silence || [0, 1, 4, 5].contains(&place);
        let requests: Vec<_> = all.into_iter().enumerate().filter(|(place, _)| few(*place)).collect();
        for kept in [false, true] {
            for (_, (request, method, checked)) in requests.clone() {
                prepare(&provider, gateway, checked, kept);
                provider.act(&[], mode);
                let (_, before) = provider.counts();
                let response = request.try_send(&gateway.url());
                let taken = provider.counts().1 - before;
                let what = format!("{mode:?}, {method}, governed {checked}, kept {kept}");
                let expected = if checked { of_checked } else { of_passed };
                if !expected.contains(&status(&response)) {
                    let _ = writeln!(faults, "{what}: {response:?}");
                }
                let hinted = matches!(mode, Frames::HintThenReject | Frames::HintThenGoAway | Frames::HintThenClose);
                let begun = hinted || matches!(mode, Frames::BeginThenReject(_) | Frames::BeginThenGoAway(_));
                if taken == 0 || taken > if method == "GET" && !begun { 2 } else { 1 } {
                    let _ = writeln!(faults, "{what}: was carried out {taken} times");
                }
                provider.act(&[], Frames::Respond);
                for path in [session_path(), "/x".into()] {
                    let next = Request::new("GET", &path).try_send(&gateway.url());
                    if status(&next) != 200 {
                        let _ = writeln!(faults, "{what}: then {path} got {next:?}");
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// Also for HTTP/2 clients, which get a reset and never parts of two responses.
#[test]
fn no_retry_after_the_response_has_begun() {
    let provider = FrameProvider::start();
    let gateway = gateway(provider.address());
    let begun =
        [true, false].into_iter().flat_map(|body| [Frames::BeginThenReject(body), Frames::BeginThenGoAway(body)]);
    for mode in begun.chain([Frames::HintThenReject, Frames::HintThenGoAway, Frames::HintThenClose]) {
        for (method, path) in [("PATCH", "/x"), ("GET", "/x"), ("POST", "/oauth/token")] {
            provider.act(&[mode], Frames::Respond);
            let (before, _) = provider.counts();
            let request = http::Request::builder().method(method).uri(format!("http://a{path}"));
            let body = if method == "GET" { Bytes::new() } else { "{}".into() };
            let response = try_over_http2(gateway.address(), request.body(body).unwrap());
            let what = format!("{mode:?}, {method}");
            assert_eq!(provider.counts().0 - before, 1, "{what}: {response:?}");
            assert!(response.as_ref().map_or(true, |(head, ..)| head.status == 502), "{what}: {response:?}");
        }
    }
}

/// HTTP/1.1 needs an explicit end of the response where HTTP/2 does not.
#[test]
fn responses_without_a_body_end_for_http1_and_http2_clients() {
    let provider = H2Provider::start(None, |arrived| {
        let status: u16 = arrived.head.uri.path().trim_start_matches('/').parse().unwrap();
        let mut head = http::Response::builder().status(status).header("x-own", "1");
        if arrived.head.method == http::Method::HEAD && status == 200 {
            head = head.header("content-length", "5");
        }
        Reply { head: head.body(()).unwrap(), parts: Vec::new(), trailers: None }
    });
    let gateway = gateway(provider.address());
    let mut connection = Connection::open(gateway.address()).unwrap();
    for (method, status) in [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304), ("GET", 200), ("DELETE", 205)] {
        let request = Request::new(method, &format!("/{status}"));
        connection.write(&request.bytes(gateway.address())).unwrap();
        let response = connection.response(method == "HEAD").unwrap();
        assert_eq!(
            (response.status, response.body.len(), response.header("X-Own")),
            (status, 0, Some("1")),
            "{method}"
        );
        let request = http::Request::builder().method(method).uri(format!("http://a/{status}"));
        let (head, body, _) = over_http2(gateway.address(), request.body(Bytes::new()).unwrap());
        assert_eq!((head.status.as_u16(), body.len()), (status, 0), "{method} over HTTP/2");
    }
    assert_eq!(provider.connections(), 1);
}

/// For a body that may be part of a conversation, the gateway does not see informational responses, so it is sent once.
#[test]
fn streaming_body_is_not_retried() {
    let provider = FrameProvider::start();
    let gateway = gateway(provider.address());
    let modes = [Frames::HintThenReject, Frames::HintThenGoAway, Frames::HintThenClose, Frames::Reset(7)];
    for mode in modes.into_iter().chain([Frames::GoAwayBefore(0)]) {
        for method in ["POST", "GET"] {
            prepare(&provider, &gateway, false, true);
            provider.act(&[mode], Frames::Respond);
            let (before, _) = provider.counts();
            let request = Request::new(method, "/upload").header("Transfer-Encoding", "chunked");
            let response = request.body("2\r\n{}\r\n0\r\n\r\n").try_send(&gateway.url());
            assert_eq!((provider.counts().0 - before, status(&response)), (1, 502), "{mode:?}, {method}: {response:?}");
        }
    }
}

/// With and without a declared length: a body that is complete is sent again.
#[test]
fn unprocessed_requests_of_http2_clients_are_retried() {
    let provider = FrameProvider::start();
    let gateway = gateway(provider.address());
    for rejection in [Frames::Reset(7), Frames::GoAwayBefore(0)] {
        for (method, length) in [("GET", None), ("PATCH", Some("2")), ("POST", Some("2"))] {
            provider.act(&[rejection], Frames::Respond);
            let (before, _) = provider.counts();
            let mut request = http::Request::builder().method(method).uri("http://a/x");
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            let body = if method == "GET" { Bytes::new() } else { "{}".into() };
            let (head, ..) = over_http2(gateway.address(), request.body(body).unwrap());
            assert_eq!((provider.counts().0 - before, head.status.as_u16()), (2, 200), "{rejection:?}, {method}");
        }
    }
}

#[test]
fn disconnect_does_not_close_the_shared_connection() {
    let gone = Arc::new(Notify::new());
    let own = gone.clone();
    let provider = H2Provider::start(None, move |arrived| {
        let mut reply = good(arrived);
        if arrived.head.uri.path() == "/slow" {
            reply.parts.extend([Part::Wait(own.clone()), Part::Bytes("more".into())]);
        }
        reply
    });
    let gateway = gateway(provider.address());
    let in_flight = |count: usize| {
        let line = format!("sessiongate_requests_in_flight {count}");
        gateway.wait_for_metric(&line);
    };
    for turn in 1..=5 {
        let mut client = Client::open(&gateway);
        client.write("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        client.until("\r\n\r\n");
        in_flight(1);
        drop(client);
        in_flight(0);
        assert_eq!(Request::new("GET", "/x").send(&gateway.url()).status, 200, "{turn}");
    }
    gone.notify_waiters();
    assert_eq!(provider.connections(), 1);
}

/// A provider that sent an informational response has processed the request, whatever it says afterwards.
#[test]
fn no_retry_after_an_informational_response() {
    let provider = FrameProvider::start();
    let gateway = gateway(provider.address());
    provider.act(&[Frames::HintThenReject], Frames::Respond);
    let write = Request::new("PATCH", &session_path()).json(r#"{"session_metadata":null}"#);
    assert_eq!(write.send(&gateway.url()).status, 502);
    assert_eq!(provider.counts().0, 1);
}

/// If the provider says that it did not process a request, the request is sent once more, and not a third time.
#[test]
fn unprocessed_requests_are_retried_once() {
    let provider = FrameProvider::start();
    let gateway = gateway(provider.address());
    let mut faults = String::new();
    for rejection in [Frames::Reset(7), Frames::GoAwayBefore(0), Frames::GoAwayBefore(2), Frames::GoAwayBefore(11)] {
        for kept in [false, true] {
            for (request, method, checked) in misbehaving_providers::requests() {
                for (times, expected, most) in [(1, 200, 2), (9, 502, 2)] {
                    prepare(&provider, &gateway, checked, kept);
                    provider.act(&vec![rejection; times], Frames::Respond);
                    let (came, taken) = provider.counts();
                    let response = request.try_send(&gateway.url());
                    let counts = (provider.counts().0 - came, provider.counts().1 - taken);
                    let what = format!("{rejection:?} {times} times, {method}, governed {checked}, kept {kept}");
                    if status(&response) != expected {
                        let _ = writeln!(faults, "{what}: {response:?}");
                    }
                    if counts != (most, usize::from(times == 1)) {
                        let _ = writeln!(faults, "{what}: came and was carried out {counts:?} times");
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn unprocessed_write_does_not_invalidate() {
    let provider = FrameProvider::start();
    let more = "    protocol: http2\n    cache: { ttl: 1m }\n";
    let gateway = Gateway::start(&upstream(&format!("http://{}", provider.address()), more));
    let read = || {
        let response = Request::new("GET", &session_path()).bearer("x").send(&gateway.url());
        response.header("Cache-Status").unwrap_or_default().to_owned()
    };
    assert_eq!(read(), "sessiongate; fwd=miss; stored");
    for rejection in [Frames::Reset(7), Frames::GoAwayBefore(0)] {
        provider.act(&[rejection; 2], Frames::Respond);
        let write = Request::new("PATCH", &session_path()).bearer("x").json(r#"{"session_metadata":null}"#);
        assert_eq!(write.send(&gateway.url()).status, 502, "{rejection:?}");
        provider.act(&[rejection; 2], Frames::Respond);
        let write = Request::new("DELETE", "/api/v2/users/x/sessions").bearer("x");
        assert_eq!(write.send(&gateway.url()).status, 502, "{rejection:?}");
        assert!(read().starts_with("sessiongate; hit"), "{rejection:?}");
    }
}

#[test]
fn write_with_unknown_outcome_bypasses_the_cache() {
    let provider = FrameProvider::start();
    let more = "    protocol: http2\n    cache: { ttl: 1m }\n";
    let gateway = Gateway::start(&upstream(&format!("http://{}", provider.address()), more));
    let read = |session: &str| {
        let response = Request::new("GET", &format!("/api/v2/sessions/{session}")).bearer("x").send(&gateway.url());
        response.header("Cache-Status").unwrap_or_default().to_owned()
    };
    for mode in [Frames::Reset(2), Frames::GoAwayAfter(0), Frames::Close] {
        provider.act(&[mode], Frames::Respond);
        let write = Request::new("PATCH", &session_path()).bearer("x").json(r#"{"session_metadata":null}"#);
        assert_eq!(write.send(&gateway.url()).status, 502, "{mode:?}");
        assert_eq!(read(SESSION), "sessiongate; fwd=bypass", "{mode:?}");
    }
}

/// HTTP/2 can send another host than the one that is connected to.
#[test]
fn preserve_host_works_over_http2() {
    let authority = Authority::new("right");
    for tls in [false, true] {
        let config = || with_alpn(authority.certify(&["127.0.0.1"], |_| {}), &["h2"]);
        let provider = H2Provider::start(tls.then(config), good);
        let trust = if tls { format!("    tls: {{ ca_file: {} }}\n", authority.file.display()) } else { String::new() };
        let url = format!("{}://{}", if tls { "https" } else { "http" }, provider.address());
        let gateway =
            Gateway::start(&upstream(&url, &format!("    protocol: http2\n    preserve_host: true\n{trust}")));
        for path in [session_path(), "/x".into()] {
            let response = Request::new("GET", &path).header("Host", "login.example.com:8443").send(&gateway.url());
            assert_eq!(response.status, 200, "{path}");
            let arrived = provider.arrived().pop().unwrap();
            assert_eq!(arrived.head.uri.authority().unwrap().as_str(), "login.example.com:8443", "{path}");
            assert_eq!(arrived.all("host"), [""; 0]);
        }
        assert_eq!(provider.connections(), 2);
    }
}

/// The client certificate is rejected, and the log says why.
#[test]
fn tls_failure_is_detected_before_a_request_is_sent() {
    let (authority, clients) = (Authority::new("right"), Authority::new("clients"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.certify_for(&["127.0.0.1"], &clients, &[version]);
        let provider = H2Provider::start(Some(with_alpn(config, &["h2"])), good);
        let gateway = gateway_tls(&provider, &authority, "http2");
        assert_eq!(Request::new("DELETE", &session_path()).send(&gateway.url()).status, 502);
        let why = gateway.wait_for_log(|line| line.contains("requests to the provider fail"));
        assert!(why.contains("TLS handshake failed") && why.contains("fatal alert"), "{version:?}: {why}");
        let own = clients.certify_in_files("gateway", &["gateway.test"]);
        let (file, certificate, key) = (authority.file.display(), own.0.display(), own.1.display());
        let more =
            format!("    protocol: http2\n    tls: {{ ca_file: {file}, certificate: {certificate}, key: {key} }}\n");
        let gateway = Gateway::start(&upstream(&format!("https://{}", provider.address()), &more));
        assert_eq!(statuses(&gateway), [200; 4], "{version:?}");
    }
}

#[test]
fn http1_provider_gets_no_request_with_protocol_http2() {
    let recorder = Recorder::auth0();
    let gateway = gateway(recorder.address());
    for method in ["GET", "DELETE"] {
        assert_eq!(Request::new(method, &session_path()).send(&gateway.url()).status, 502);
    }
    let why = gateway.wait_for_log(|line| line.contains("requests to the provider fail"));
    assert!(why.contains("no connection"), "{why}");
    assert!(recorder.seen().iter().all(|seen| !seen.target.contains("sessions")), "{:?}", recorder.seen());
}

#[test]
fn keepalive_timeout_closes_idle_connections() {
    let provider = FrameProvider::start();
    let more = "    protocol: http2\n    timeouts: { keepalive: 100ms }\n";
    let gateway = Gateway::start(&upstream(&format!("http://{}", provider.address()), more));
    for path in [session_path(), "/x".into()] {
        let before = provider.closed();
        assert_eq!(Request::new("GET", &path).send(&gateway.url()).status, 200);
        wait_for("the end of the connection", || (provider.closed() > before).then_some(()));
        assert_eq!(Request::new("GET", &path).send(&gateway.url()).status, 200);
    }
}
