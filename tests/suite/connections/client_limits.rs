//! Limits on clients: timeouts, sizes, counts and floods, each at its limit and beyond.

use crate::harness::recorder::Recorder;
use crate::harness::{
    Connection, Gateway, Process, Request, TIMEOUT, frame, read_frame, sessiongate, skipped, wait_for, write_config,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::io::{self, Read, Write};
use std::net::TcpStream;

struct Place {
    gateway: Gateway,
    recorder: Recorder,
}

fn place(clients: &str) -> Place {
    let recorder = Recorder::start(|call| {
        call.body()?;
        call.response(200, "", "here")
    });
    let gateway = Gateway::start(&format!("clients: {clients}\n{}", recorder.upstream("")));
    Place { gateway, recorder }
}

impl Place {
    fn open(&self) -> TcpStream {
        let stream = TcpStream::connect(self.gateway.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Whether a request is served, over a connection of its own that stays open.
    fn is_served(&self) -> Option<TcpStream> {
        let mut stream = self.open();
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
        let mut response = [0; 12];
        stream.read_exact(&mut response).ok()?;
        (response == *b"HTTP/1.1 200").then_some(stream)
    }

    fn wait_for_cut(&self, reason: &str, count: usize) {
        let line = format!("sessiongate_connections_cut_total{{reason=\"{reason}\"}} {count}");
        self.gateway.wait_for_metric(&line);
    }
}

/// What comes until the gateway ends the connection.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    // It may end with a reset, where the client was still sending.
    let _ = stream.read_to_end(&mut read);
    read
}

#[test]
fn connections_per_process_are_limited() {
    let place = place("{ limits: { connections: 3 } }");
    let mut kept: Vec<TcpStream> = (0..3).map(|_| place.is_served().unwrap()).collect();
    assert!(place.is_served().is_none());
    place.wait_for_cut("connections", 1);
    kept.pop();
    kept.push(wait_for("a place", || place.is_served()));
}

#[test]
fn connections_per_source_are_limited_unless_trusted() {
    let kept = |place: &Place, count: usize| (0..count).map(|_| place.is_served().unwrap()).collect::<Vec<TcpStream>>();
    let strict = place("{ limits: { per_source: 2 } }");
    let _kept = kept(&strict, 2);
    assert!(strict.is_served().is_none());
    strict.wait_for_cut("per_source", 1);
    let trusting = place("{ limits: { per_source: 2 }, trusted_peers: [127.0.0.0/8] }");
    let _kept = kept(&trusting, 5);
}

#[test]
fn header_block_size_is_limited() {
    let place = place("{ limits: { header_block: 2KiB } }");
    let ask = |size: usize| {
        let head = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ";
        let padding = "x".repeat(size - head.len() - 4);
        let mut stream = place.open();
        let _ = stream.write_all(format!("{head}{padding}\r\n\r\n").as_bytes());
        String::from_utf8_lossy(&rest(&mut stream)).into_owned()
    };
    assert!(ask(2048).ends_with("here"));
    for size in [100_000, 5_000_000] {
        let response = ask(size);
        assert!(response.starts_with("HTTP/1.1 431 "), "{size}: {response}");
    }
    assert_eq!(place.recorder.count(), 1);
}

#[test]
fn head_timeout_ends_an_endless_head() {
    let place = place("{ head_timeout: 400ms }");
    let mut stream = place.open();
    let mut response = Vec::new();
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nX: ").unwrap();
    stream.set_nonblocking(true).unwrap();
    wait_for("the end of a slow head", || {
        let sent = stream.write_all(b"x");
        let mut part = [0; 1024];
        match stream.read(&mut part) {
            Ok(0) => return Some(()),
            Ok(read) => response.extend_from_slice(&part[..read]),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Some(()),
            Err(_) => {}
        }
        sent.is_err().then_some(())
    });
    assert!(response.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&response));
    place.wait_for_cut("head_timeout", 1);
}

#[test]
fn head_timeout_restarts_for_each_request() {
    let place = place("{ head_timeout: 300ms, idle_timeout: 1h }");
    // The first head has to be in time too.
    let mut stream = wait_for("a first request", || place.is_served());
    stream.write_all(b"GET /x HTTP/1.1\r\n").unwrap();
    let rest = String::from_utf8_lossy(&rest(&mut stream)).into_owned();
    assert!(rest.contains("hereHTTP/1.1 408 "), "{rest}");
}

#[test]
fn head_timeout_counts_from_the_first_byte_that_came_with_the_request_before() {
    let place = place("{ head_timeout: 300ms, idle_timeout: 1h }");
    for (path, served) in [("/x", "here"), ("/api/v2/sessions/", "}")] {
        // The first head has to be in time too.
        let rest = wait_for("a first request", || {
            let mut stream = place.open();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\nGET /x").as_bytes()).unwrap();
            Some(String::from_utf8_lossy(&rest(&mut stream)).into_owned())
                .filter(|rest| rest.matches("HTTP/1.1").count() > 1)
        });
        assert!(rest.contains(&format!("{served}HTTP/1.1 408 ")), "{path}: {rest}");
    }
}

#[test]
fn idle_timeout_ends_a_missing_body_on_every_path() {
    let place = place("{ idle_timeout: 300ms }");
    let session = format!("/api/v2/sessions/{}", crate::harness::recorder::SESSION);
    for (method, path) in [("POST", "/x"), ("PATCH", session.as_str())] {
        let mut stream = place.open();
        let token = place.recorder.token();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: \
             10\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let response = String::from_utf8_lossy(&rest(&mut stream)).into_owned();
        assert!(response.starts_with("HTTP/1.1 408 "), "{method}: {response}");
    }
    place.wait_for_cut("min_body_rate", 2);
}

#[test]
fn write_timeout_ends_a_client_that_does_not_read() {
    let recorder = Recorder::start(|call| {
        let body = "x".repeat(64 << 20);
        call.response(200, "", &body)
    });
    let gateway = Gateway::start(&format!("clients: {{ write_timeout: 300ms }}\n{}", recorder.upstream("")));
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let line = "sessiongate_connections_cut_total{reason=\"write_timeout\"} 1";
    wait_for(line, || gateway.metrics().contains(line).then_some(()));
}

/// A client of HTTP/2 that sends any frames.
struct Raw(TcpStream);

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

impl Raw {
    fn open(place: &Place) -> Raw {
        let mut stream = place.open();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(SETTINGS).unwrap();
        Raw(stream)
    }

    /// Sends frames, and returns the code of the gateway's GOAWAY, or `None`.
    fn end(mut self, frames: &[u8]) -> Option<u8> {
        let _ = self.0.write_all(frames);
        let bytes = rest(&mut self.0);
        let mut left = &bytes[..];
        let mut code = None;
        while left.len() >= 9 {
            let length = usize::from(left[1]) << 8 | usize::from(left[2]);
            if left[3] == 7 && left.len() >= 17 {
                code = Some(left[16]);
            }
            left = left.get(9 + length..).unwrap_or_default();
        }
        code
    }
}

const ENHANCE_YOUR_CALM: u8 = 11;

#[test]
fn control_frame_floods_end_with_goaway() {
    let place = place("{}");
    // A PRIORITY frame of stream 1, which depends on nothing.
    let priority = [0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 16];
    let update = frame(8, 0, 0, &[0, 0, 0, 1]);
    let unknown = frame(0xfa, 0, 1, b"grease");
    for (reason, frame) in [
        ("pings", PING),
        ("settings", SETTINGS),
        ("priorities", &priority),
        ("window_updates", &update),
        ("unknown_frames", &unknown),
    ] {
        assert_eq!(Raw::open(&place).end(&frame.repeat(500)), Some(ENHANCE_YOUR_CALM), "{reason}");
        place.wait_for_cut(reason, 1);
    }
    // On a stream, also where all of a frame is padding.
    for (count, empty) in [(1, frame(0, 0, 1, b"")), (2, frame(0, 8, 1, &[3, 0, 0, 0]))] {
        let flood = [head(1, 0, POST, &[]), empty.repeat(500)].concat();
        assert_eq!(Raw::open(&place).end(&flood), Some(ENHANCE_YOUR_CALM));
        place.wait_for_cut("empty_frames", count);
    }
    // Parts of one byte.
    for (count, small) in [(3, frame(0, 0, 1, b"x")), (4, frame(0, 8, 1, &[3, b'x', 0, 0, 0]))] {
        let flood = [head(1, 0, POST, &[]), small.repeat(500)].concat();
        assert_eq!(Raw::open(&place).end(&flood), Some(ENHANCE_YOUR_CALM));
        place.wait_for_cut("empty_frames", count);
    }
    // As many as are free, and one that the client asks to be the last.
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Raw::open(&place).end(&[&PING.repeat(100)[..], &goaway].concat()), Some(0));
    assert!(place.is_served().is_some());
}

#[test]
fn head_timeout_ends_an_endless_http2_head() {
    let place = place("{ head_timeout: 300ms, idle_timeout: 1h }");
    // HEADERS without END_HEADERS.
    let open = [0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82];
    assert_eq!(Raw::open(&place).end(&open), Some(ENHANCE_YOUR_CALM));
    place.wait_for_cut("head_timeout", 1);
}

#[test]
fn idle_http2_connection_gets_goaway() {
    let place = place("{ head_timeout: 10m, idle_timeout: 300ms }");
    assert_eq!(Raw::open(&place).end(&[]), Some(0));
    place.wait_for_cut("idle_timeout", 1);
}

/// Runs what a client of HTTP/2 does.
fn with_http2<T>(place: &Place, work: impl AsyncFnOnce(h2::client::SendRequest<bytes::Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(place.gateway.address()).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        work(requests).await
    })
}

fn get() -> http::Request<()> {
    http::Request::get("http://a/x").body(()).unwrap()
}

#[test]
fn max_age_ends_http2_connections_gracefully() {
    let place = place("{ max_age: 1s }");
    let statuses = with_http2(&place, async |mut requests| {
        let mut statuses = Vec::new();
        // Until the gateway announces the end of the connection.
        while let Ok(ready) = requests.ready().await {
            requests = ready;
            let Ok((response, _)) = requests.send_request(get(), true) else { break };
            let Ok(response) = response.await else { break };
            statuses.push(response.status().as_u16());
        }
        statuses
    });
    assert!(!statuses.is_empty() && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    place.wait_for_cut("max_age", 1);
}

#[test]
fn concurrent_http2_streams_are_limited() {
    let place = place("{ limits: { streams: 3 } }");
    let limit = with_http2(&place, async |mut requests| {
        requests = requests.ready().await.unwrap();
        let (response, _) = requests.send_request(get(), true).unwrap();
        response.await.unwrap();
        requests.current_max_send_streams()
    });
    assert_eq!(limit, 3);
}

#[test]
fn min_body_rate_ends_a_missing_http2_body() {
    let place = place("{ write_timeout: 1h, idle_timeout: 1h, min_body_rate: 1KiB }");
    with_http2(&place, async |mut requests| {
        requests = requests.ready().await.unwrap();
        let post = http::Request::post("http://a/x").body(()).unwrap();
        let (response, mut body) = requests.send_request(post, false).unwrap();
        body.send_data("little".into(), false).unwrap();
        assert!(
            response
                .await
                .map_or(true, |response| response.status().is_client_error() || response.status().is_server_error())
        );
    });
    assert!(place.is_served().is_some());
}

/// If the provider stalls an upload, the client cannot send. Only the time in which it can send counts.
#[test]
fn min_body_rate_ignores_time_blocked_by_the_provider() {
    const SIZE: usize = 16 << 20;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let recorder = Recorder::start(move |call| {
        if call.seen.target == "/stalled" {
            wait.lock().unwrap().recv().unwrap();
        }
        let body = call.body()?;
        call.response(200, "", &body.len().to_string())
    });
    let clients = "clients: { idle_timeout: 1h, min_body_rate: 1MiB }";
    let gateway =
        Gateway::start(&format!("{clients}\n{}", recorder.upstream("timeouts: { first_byte: 10m, idle: 10m }")));
    let place = Place { gateway, recorder };
    let over_http1 = || Request::new("POST", "/stalled").body(vec![b'x'; SIZE]).send(&place.gateway.url());
    let http1 = std::thread::scope(|scope| {
        let http1 = scope.spawn(over_http1);
        with_http2(&place, async |mut requests| {
            let post = |path: &str| http::Request::post(format!("http://a{path}")).body(()).unwrap();
            requests = requests.ready().await.unwrap();
            let (stalled, mut body) = requests.send_request(post("/stalled"), false).unwrap();
            body.send_data(vec![b'x'; SIZE].into(), true).unwrap();
            requests = requests.ready().await.unwrap();
            // One that is slow by itself, for as long as its client is waited for.
            let (slow, mut little) = requests.send_request(post("/slow"), false).unwrap();
            little.send_data("little".into(), false).unwrap();
            assert!(slow.await.map_or(true, |response| !response.status().is_success()));
            place.wait_for_cut("min_body_rate", 1);
            let line = place.gateway.wait_for_log(|line| line.contains("\"body_timeout\""));
            for part in ["\"client.address\":\"127.0.0.1\",\"method\":\"POST\"", "\"decision\":\"rejected\""] {
                assert!(line.contains(part), "{line}");
            }
            (0..2).for_each(|_| go.send(()).unwrap());
            let mut body = stalled.await.unwrap().into_body();
            let length = body.data().await.unwrap().unwrap();
            assert_eq!(length, SIZE.to_string());
        });
        http1.join().unwrap()
    });
    assert_eq!((http1.status, http1.text()), (200, SIZE.to_string()));
    place.wait_for_cut("min_body_rate", 1);
}

/// The frames of a request on a stream with these fields; each index is one of HPACK's static table.
fn head(stream: u32, flags: u8, method: u8, fields: &[(u8, &str)]) -> Vec<u8> {
    // The method, http, the authority `a`, the path `/x`.
    let mut block = vec![method, 0x86, 0x01, 1, b'a', 0x04, 2, b'/', b'x'];
    for (index, value) in fields {
        block.extend([0x0f, index - 15, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    frame(1, flags | 4, stream, &block)
}

/// The end that a client declares by itself.
fn goodbye() -> Vec<u8> {
    frame(7, 0, 0, &[0; 8])
}

fn streams(count: u32, of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|at| of(at * 2 + 1)).collect()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;
const CONTENT_LENGTH: u8 = 28;
const COOKIE: u8 = 32;
const HOST: u8 = 38;

/// A stream that is reset before it is processed costs the client nothing, and the gateway a little.
#[test]
fn streams_reset_by_the_client_are_limited() {
    let place = place("{}");
    let taken_back = |stream| [head(stream, 1, GET, &[]), frame(3, 0, stream, &[0, 0, 0, 8])].concat();
    assert_eq!(Raw::open(&place).end(&[streams(50, taken_back), goodbye()].concat()), Some(0));
    assert_eq!(Raw::open(&place).end(&streams(51, taken_back)), Some(ENHANCE_YOUR_CALM));
    place.wait_for_cut("resets", 1);
    assert!(place.is_served().is_some());
}

/// Faulty streams that the gateway resets are as cheap for the client.
#[test]
fn streams_reset_by_the_gateway_are_limited() {
    let place = place("{ limits: { streams: 1000 } }");
    // A longer body than the head declares.
    let faulty = |stream| [head(stream, 0, POST, &[(CONTENT_LENGTH, "1")]), frame(0, 1, stream, b"ab")].concat();
    assert_eq!(Raw::open(&place).end(&[streams(100, faulty), goodbye()].concat()), Some(0));
    assert_eq!(Raw::open(&place).end(&streams(101, faulty)), Some(ENHANCE_YOUR_CALM));
    place.wait_for_cut("resets", 1);
    assert!(place.is_served().is_some());
}

/// A proxy in front of the gateway keeps connections for long: each completed stream allows for further resets.
#[test]
fn completed_streams_raise_the_reset_limit() {
    let place = place("{ limits: { streams: 1000 } }");
    let Raw(mut stream) = Raw::open(&place);
    stream.write_all(&streams(150, |stream| head(stream, 1, GET, &[]))).unwrap();
    let mut responses = 0;
    while responses < 150 {
        let frame = read_frame(&mut stream).unwrap();
        responses += usize::from(frame.kind <= 1 && frame.flags & 1 != 0);
    }
    let faulty = |stream| [head(stream, 0, POST, &[(CONTENT_LENGTH, "1")]), frame(0, 1, stream, b"ab")].concat();
    let faulty = |from: u32, count: u32| (0..count).flat_map(|at| faulty(from + at * 2)).collect::<Vec<u8>>();
    assert_eq!(Raw(stream).end(&[faulty(301, 250), goodbye()].concat()), Some(0));
}

#[test]
fn malformed_http2_requests_are_limited() {
    let place = place("{}");
    let malformed = |stream| head(stream, 1, GET, &[(HOST, "a"), (HOST, "b")]);
    assert_eq!(Raw::open(&place).end(&[streams(31, malformed), goodbye()].concat()), Some(0));
    assert_eq!(Raw::open(&place).end(&streams(32, malformed)), Some(ENHANCE_YOUR_CALM));
    place.wait_for_cut("malformed_streams", 1);
    assert!(place.is_served().is_some());
    assert_eq!(place.recorder.seen().len(), 1);
}

/// A cookie in crumbs counts as many headers as it has crumbs, however small they are.
#[test]
fn cookie_crumbs_count_as_headers() {
    let place = place("{}");
    let status = |crumbs: usize| {
        with_http2(&place, async |mut requests| {
            requests = requests.ready().await.unwrap();
            let mut request = get();
            for _ in 0..crumbs {
                request.headers_mut().append("cookie", "a=b".parse().unwrap());
            }
            let (response, _) = requests.send_request(request, true).unwrap();
            response.await.unwrap().status().as_u16()
        })
    };
    assert_eq!((status(100), status(101)), (200, 431));
    // Crumbs of one byte each are no more than they are.
    let small = head(1, 1, GET, &[(COOKIE, "a"); 60]);
    let raw = Raw::open(&place);
    assert_eq!(raw.end(&[small, goodbye()].concat()), Some(0));
}

#[test]
fn flood_after_goaway_is_not_read() {
    let place = place("{}");
    let Raw(mut stream) = Raw::open(&place);
    let flood = PING.repeat(10_000);
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    let begun = std::time::Instant::now();
    let sent = (0..10_000).take_while(|_| stream.write_all(&flood).is_ok()).count();
    // More than what is listened to, and what lies in the system's buffers.
    assert!(sent < 1000, "{} bytes were taken within {:?}", sent * flood.len(), begun.elapsed());
    place.wait_for_cut("pings", 1);
}

/// Thousands of crumbs are more expensive to parse than to send, so they are counted first.
#[test]
fn head_with_thousands_of_cookie_crumbs_ends_the_connection() {
    let place = place("{}");
    let crumbs = head(1, 1, GET, &[(COOKIE, "a"); 3000]);
    assert_eq!(Raw::open(&place).end(&crumbs), Some(ENHANCE_YOUR_CALM));
    place.wait_for_cut("rejected_heads", 1);
    assert!(place.is_served().is_some());
    assert_eq!(place.recorder.seen().len(), 1);
}

#[test]
fn rejected_http2_heads_are_limited() {
    let place = place("{}");
    let statuses = with_http2(&place, async |mut requests| {
        let mut statuses = Vec::new();
        while let Ok(ready) = requests.ready().await {
            requests = ready;
            let mut request = get();
            *request.method_mut() = http::Method::from_bytes(&[b'M'; 100]).unwrap();
            let Ok((response, _)) = requests.send_request(request, true) else { break };
            let Ok(response) = response.await else { break };
            statuses.push(response.status().as_u16());
        }
        statuses
    });
    assert!((34..=60).contains(&statuses.len()) && statuses.iter().all(|status| *status == 400), "{statuses:?}");
    place.wait_for_cut("rejected_heads", 1);
    assert!(place.is_served().is_some());
}

/// A download in small windows: the client sends two window updates for each read, and measures the round trip with a
/// PING.
#[test]
fn window_updates_of_a_download_are_not_a_flood() {
    const SIZE: usize = 4 << 20;
    let recorder = Recorder::start(|call| {
        call.body()?;
        call.response(200, "", &"x".repeat(SIZE))
    });
    let gateway = Gateway::start(&recorder.upstream(""));
    let place = Place { gateway, recorder };
    let mut stream = place.open();
    stream.set_nodelay(true).unwrap();
    // A window of one kilobyte.
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 4, 0]);
    stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &head(1, 1, GET, &[])].concat()).unwrap();
    let (mut read, mut frames) = (0, 0);
    while read < SIZE {
        let came = read_frame(&mut stream);
        let came = came.unwrap_or_else(|error| panic!("{error} after {read} bytes in {frames} frames"));
        let (kind, payload) = (came.kind, came.payload);
        let length = u32::try_from(payload.len()).unwrap();
        assert_ne!(kind, 7, "GOAWAY after {read} bytes in {frames} frames");
        if kind == 0 && length > 0 {
            (read, frames) = (read + payload.len(), frames + 1);
            let more = |stream| frame(8, 0, stream, &length.to_be_bytes());
            stream.write_all(&[more(1), more(0), PING.to_vec()].concat()).unwrap();
        }
    }
    assert!(frames >= SIZE / 1024, "{frames}");
}

/// Endless CONTINUATION frames, full or empty.
#[test]
fn continuation_flood_ends_the_connection() {
    let place = place("{}");
    let open = frame(1, 0, 1, &[0x82]);
    for (what, piece) in [("empty", vec![]), ("full", [&[0x00, 1, b'a', 120][..], &[b'b'; 120]].concat())] {
        let flood = [open.clone(), frame(9, 0, 1, &piece).repeat(2000)].concat();
        assert!(matches!(Raw::open(&place).end(&flood), Some(1 | ENHANCE_YOUR_CALM)), "{what}");
    }
    assert!(place.is_served().is_some());
    assert_eq!(place.recorder.seen().len(), 1);
}

/// How many files the process may have open.
struct Files {
    pid: Pid,
    own: Rlimit,
}

impl Files {
    /// `None` if one process cannot read it of another.
    fn of(gateway: &Gateway) -> Option<Files> {
        if !cfg!(target_os = "linux") {
            skipped("a process without open files (limits of others are set where Linux lets one)");
            return None;
        }
        Some(Files { pid: Pid::from_raw(gateway.pid().try_into().unwrap())?, own: getrlimit(Resource::Nofile) })
    }

    fn open(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid.as_raw_nonzero())).unwrap().count() as u64
    }

    fn allow(&self, files: u64) {
        prlimit(Some(self.pid), Resource::Nofile, Rlimit { current: Some(files), ..self.own }).unwrap();
    }

    /// As many as are open and so many more, with those beside that are kept back.
    fn allow_more(&self, more: u64) {
        let usable = self.open() + more;
        self.allow((usable..).find(|limit| limit - (limit / 4).min(64) == usable).unwrap());
    }

    fn allow_all(&self) {
        prlimit(Some(self.pid), Resource::Nofile, self.own).unwrap();
    }
}

/// Clients wait, and no connection is closed.
#[test]
fn connections_wait_when_file_descriptors_run_out() {
    let place = place("{}");
    let Some(files) = Files::of(&place.gateway) else { return };
    let kept: Vec<TcpStream> = (0..3).map(|_| place.is_served().unwrap()).collect();
    files.allow_more(0);
    let waiting: Vec<TcpStream> = (0..10).map(|_| place.open()).collect();
    place.gateway.wait_for_log(|line| line.contains("cannot accept connections"));
    // A client that goes makes room for another.
    drop(kept);
    for mut client in waiting {
        // What needs no connection to the provider, for which there might be no file.
        client.write_all(b"TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut response = [0; 12];
        client.read_exact(&mut response).unwrap();
        assert_eq!(&response, b"HTTP/1.1 405");
    }
    files.allow_all();
    assert!(place.is_served().is_some());
    let said = place.gateway.log().iter().filter(|line| line.contains("cannot accept connections")).count();
    assert_eq!(said, 1);
}

#[test]
fn file_descriptors_are_reserved_for_probes_and_reload() {
    let place = place("{}");
    let Some(files) = Files::of(&place.gateway) else { return };
    place.gateway.ready();
    let mut kept = Connection::open(place.gateway.address()).unwrap();
    assert_eq!(kept.exchange(&Request::new("GET", "/x")).unwrap().status, 200);
    files.allow_more(2);
    let mut waiting = Vec::new();
    wait_for("no room for another connection", || {
        waiting.push(place.open());
        (kept.exchange(&Request::new("GET", "/x")).unwrap().status == 503).then_some(())
    });
    let response = kept.exchange(&Request::new("GET", "/x")).unwrap();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
    let session = format!("/api/v2/sessions/{}", crate::harness::recorder::SESSION);
    let response = kept.exchange(&Request::new("GET", &session).bearer(&place.recorder.token())).unwrap();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
    place.gateway.ready();
    place.gateway.rewrite(&format!("clients: {{ max_age: 2h }}\n{}", place.recorder.upstream("")));
    let line = "sessiongate_config_reloads_total{result=\"applied\"} 1";
    wait_for(line, || place.gateway.metrics().contains(line).then_some(()));
    files.allow_all();
}

/// Silent connections are closed first, and are closed in any case.
#[test]
fn probes_work_beside_many_incomplete_admin_requests() {
    let place = place("{}");
    let admin = crate::harness::address(&place.gateway.admin_url());
    let half = || {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        // It may be closed already.
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nX: ");
        stream
    };
    let mut kept = Connection::open(admin).unwrap();
    assert_eq!(kept.exchange(&Request::new("GET", "/livez")).unwrap().status, 200);
    let mut halves: Vec<TcpStream> = Vec::new();
    for _ in 0..10 {
        halves.extend((0..30).map(|_| half()));
        assert_eq!(Request::new("GET", "/livez").send(&place.gateway.admin_url()).status, 200);
    }
    if let Some(files) = Files::of(&place.gateway) {
        wait_for("few to be left", || (files.open() < 100).then_some(()));
    }
    for stream in &mut halves {
        assert!(!rest(stream).starts_with(b"HTTP/1.1 200"));
    }
    assert!(kept.exchange(&Request::new("GET", "/livez")).is_err(), "one that does nothing goes too");
}

/// A configuration that cannot be opened is not reported as invalid.
#[test]
fn reload_waits_when_file_descriptors_run_out() {
    let place = place("{}");
    let Some(files) = Files::of(&place.gateway) else { return };
    files.allow(files.open() / 2);
    place.gateway.rewrite(&format!("clients: {{ max_age: 2h }}\n{}", place.recorder.upstream("")));
    place.gateway.signal("HUP");
    place.gateway.wait_for_log(|line| line.contains("configuration not read: too many open files"));
    files.allow_all();
    let count = |result: &str| {
        let text = place.gateway.metrics();
        let start = format!("sessiongate_config_reloads_total{{result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok()).unwrap()
    };
    // It is tried again by itself.
    wait_for("the new configuration", || (count("applied") == 1).then_some(()));
    assert_eq!((count("rejected"), count("unread") > 0), (0, true));
    assert!(!place.gateway.log().iter().any(|line| line.contains("configuration rejected")));
}

/// If few file descriptors are available, clients get half of them, whatever the configuration says.
#[test]
fn connections_are_limited_to_the_available_file_descriptors() {
    if !cfg!(target_os = "linux") {
        return skipped("a process with few files");
    }
    let recorder = Recorder::start(|call| call.response(200, "", "here"));
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), &recorder.upstream(""));
    let mut command = std::process::Command::new("sh");
    let program = sessiongate(&[]).get_program().to_owned();
    command.args(["-c", "ulimit -n 256; exec \"$0\" run -c \"$1\""]).arg(program).arg(path);
    let process = Process::start(command);
    let said = process.wait_for_line(|line| line.contains("client connections limited"));
    // 256, less the 64 that are kept back, less half of what is left for providers.
    assert!(said.contains("\"declared\":10000") && said.contains("\"allowed\":96"), "{said}");
}
