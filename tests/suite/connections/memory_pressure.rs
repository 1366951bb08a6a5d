//! Clients that request much and read nothing: their memory use is bounded, and others are served meanwhile.

use crate::harness::recorder::{Recorder, session};
use crate::harness::{Frame, Gateway, Request, TIMEOUT, frame, read_frame, skipped, wait_for};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// So much that clients who do not read would soon have the gateway hold more than it may.
const LARGE: usize = 3_000_000;
const MEMORY: u64 = 256 << 20;
/// Clients are closed for lack of memory, and not for the duration of a test.
const LIMITS: &str = "clients: { write_timeout: 1h, idle_timeout: 1h, min_body_rate: 0B, \
    limits: { per_source: 10000, memory: 256MiB } }
threads: 2
log: { requests: false }
";
/// How much more may remain when all clients have left than what a process has that has served a few.
const MORE: u64 = 12 << 20;
/// Less, for those who hold little each.
const SMALL: &str = "clients: { write_timeout: 1h, idle_timeout: 1h, min_body_rate: 0B, \
    limits: { per_source: 10000, memory: 128MiB } }
threads: 2
log: { requests: false }
";
/// So many requests that they are not what bounds the clients.
const MANY: &str = "limits: { in_flight: 10000, per_source: 10000 }";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;

/// A client of HTTP/2 that controls its flow-control windows.
struct Client {
    stream: TcpStream,
    next: u32,
}

impl Client {
    /// One whose streams begin with a window of this size.
    fn open(address: SocketAddr, window: u32) -> Client {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        let settings = frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
        stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings.as_slice()].concat()).unwrap();
        Client { stream, next: 1 }
    }

    /// Asks for a path this often, each time on a stream of its own.
    fn get(&mut self, path: &str, times: usize) -> Vec<u32> {
        let length = u8::try_from(path.len()).unwrap();
        let head = [&[0x82, 0x86, 0x41, 1, b'a', 0x04, length], path.as_bytes()].concat();
        let streams: Vec<u32> = (0..times).map(|at| self.next + 2 * u32::try_from(at).unwrap()).collect();
        self.next += 2 * u32::try_from(times).unwrap();
        let requests = streams.iter().flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, *stream, &head));
        // A gateway that has given the client up takes no more.
        let _ = self.stream.write_all(&requests.collect::<Vec<u8>>());
        streams
    }

    /// From now on all streams, also those that are open, have a window of this size.
    fn widen(&mut self, window: u32) {
        let settings = frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
        let connection = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
        // The same.
        let _ = self.stream.write_all(&[settings, connection].concat());
    }

    /// The next frame; none where the gateway has ended the connection.
    fn read(&mut self) -> Option<Frame> {
        read_frame(&mut self.stream).ok()
    }

    /// Reads what has arrived, and returns whether the gateway has ended the connection.
    fn has_ended(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let read = std::io::copy(&mut self.stream, &mut std::io::sink());
        self.stream.set_nonblocking(false).unwrap();
        read.map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true)
    }

    /// How many of these streams get a response and how many are rejected, when all have got the one or the other.
    fn begun(&mut self, streams: &[u32]) -> (usize, usize) {
        let (mut begun, mut rejected) = (0, 0);
        while begun + rejected < streams.len() {
            let came = self.read().unwrap();
            let ours = streams.contains(&came.stream);
            begun += usize::from(ours && came.kind == HEADERS);
            if ours && came.kind == RST_STREAM {
                assert_eq!(came.payload, REFUSED_STREAM.to_be_bytes());
                rejected += 1;
            }
        }
        (begun, rejected)
    }

    /// Reads until so many streams have ended by themselves, and gives their bodies.
    fn ended(&mut self, count: usize) -> Vec<u8> {
        let (mut ended, mut body) = (0, Vec::new());
        while ended < count {
            let came = self.read().unwrap();
            if came.kind == DATA {
                body.extend_from_slice(&came.payload);
            }
            ended += usize::from([DATA, HEADERS].contains(&came.kind) && came.flags & END_STREAM != 0);
        }
        body
    }
}

fn small_or_large() -> Recorder {
    let large = "x".repeat(LARGE);
    Recorder::start(move |call| {
        let body = if call.seen.target == "/large" { large.as_str() } else { "here" };
        call.response(200, "", body)
    })
}

fn metric(gateway: &Gateway, series: &str) -> u64 {
    let metrics = gateway.metrics();
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)).map(|value| value.trim().to_owned());
    value.map_or(0, |value| value.parse().unwrap())
}

/// The most memory that the process has had.
fn peak(gateway: &Gateway) -> u64 {
    status(gateway, "VmHWM:")
}

/// The memory that the process has, without its program.
fn resident(gateway: &Gateway) -> u64 {
    status(gateway, "RssAnon:")
}

/// Only there is it known how much memory a process has.
fn on_linux(memory: impl FnOnce() -> u64) -> Option<u64> {
    cfg!(target_os = "linux").then(memory)
}

fn status(gateway: &Gateway, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn assert_served(gateway: &Gateway) {
    let response = Request::new("GET", "/small").send(&gateway.url());
    assert_eq!((response.status, response.text().as_str()), (200, "here"));
}

fn wait_until_nothing_is_held(gateway: &Gateway) {
    for kind in ["connections", "requests", "request_bodies", "responses", "provider_responses"] {
        let series = format!("sessiongate_memory_held_bytes{{kind=\"{kind}\"}}");
        wait_for(&series, || (metric(gateway, &series) == 0).then_some(()));
    }
}

/// Waits until the process has hardly more memory than when it had served a few: without any request meanwhile, by
/// which the allocator would notice what is free.
fn wait_for_memory(gateway: &Gateway, few: u64) {
    wait_for("memory to go back to the system", || (resident(gateway) < few + MORE).then_some(()));
}

#[test]
fn unread_rejections_do_not_count_as_in_flight() {
    let recorder = small_or_large();
    let gateway = Gateway::start(&recorder.upstream(""));
    let mut client = Client::open(gateway.address(), 0);
    let streams = client.get("/api/v2/sessions/s1", 8);
    assert_eq!(client.begun(&streams), (8, 0));
    wait_for("no request in flight", || (metric(&gateway, "sessiongate_requests_in_flight ") == 0).then_some(()));
    client.widen(1 << 20);
    let bodies = String::from_utf8(client.ended(8)).unwrap();
    assert_eq!(bodies.matches("Missing authentication").count(), 8, "{bodies}");
}

/// A client may read its responses later. As long as there is memory, no stream is rejected for it.
#[test]
fn unread_responses_are_kept_while_memory_suffices() {
    let recorder = small_or_large();
    let gateway = Gateway::start(&recorder.upstream(MANY));
    let mut client = Client::open(gateway.address(), 65_535);
    // A connection without a window of its own for all of them, as common clients have it.
    let waiting = client.get("/large", 20);
    assert_eq!(client.begun(&waiting), (20, 0));
    let rejected = client.get("/api/v2/sessions/s1", 70);
    assert_eq!(client.begun(&rejected), (70, 0));
    client.widen(1 << 30);
    client.ended(90);
    assert_eq!(metric(&gateway, "sessiongate_memory_shed_total{shed=\"stream\"}"), 0);
}

#[test]
fn client_that_does_not_read_gets_no_streams_when_memory_is_short() {
    let recorder = small_or_large();
    let gateway = Gateway::start(&format!("{LIMITS}{}", recorder.upstream(MANY)));
    let mut clients = Vec::new();
    wait_for("a stream to be rejected", || {
        let mut client = Client::open(gateway.address(), 65_535);
        client.get("/large", 8);
        for client in clients.iter_mut() {
            Client::get(client, "/large", 1);
        }
        clients.push(client);
        assert_served(&gateway);
        (metric(&gateway, "sessiongate_memory_shed_total{shed=\"stream\"}") > 0).then_some(())
    });
    drop(clients);
    wait_until_nothing_is_held(&gateway);
    let mut client = Client::open(gateway.address(), 1 << 20);
    client.widen(1 << 20);
    client.get("/small", 20);
    client.ended(20);
}

/// The HTTP/2 library ignores streams that are opened after its GOAWAY.
#[test]
fn streams_after_goaway_hold_no_memory() {
    let (send, there) = std::sync::mpsc::channel::<()>();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (send, wait) = (std::sync::Mutex::new(send), std::sync::Mutex::new(wait));
    let recorder = Recorder::start(move |call| {
        send.lock().unwrap().send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        call.response(200, "", "here")
    });
    let gateway = Gateway::start(&format!("clients: {{ max_age: 1s }}\n{}", recorder.upstream("")));
    let mut client = Client::open(gateway.address(), 1 << 20);
    client.get("/wait", 1);
    there.recv_timeout(TIMEOUT).unwrap();
    while client.read().unwrap().kind != GOAWAY {}
    client.get("/wait", 3_000);
    let held = || metric(&gateway, "sessiongate_memory_held_bytes{kind=\"responses\"}");
    assert!(held() < 200_000, "{}", held());
    go.send(()).unwrap();
    // Behind GOAWAY nothing more comes than the response.
    while client.read().is_some_and(|came| came.kind != DATA) {}
    assert!(held() < 200_000, "{}", held());
}

#[test]
fn client_that_reads_gets_all_streams_at_once() {
    let recorder = small_or_large();
    let gateway = Gateway::start(&recorder.upstream(""));
    let mut client = Client::open(gateway.address(), 1 << 20);
    client.widen(1 << 20);
    for path in ["/api/v2/sessions/s1", "/small"] {
        client.get(path, 100);
        client.ended(100);
    }
    assert_eq!(metric(&gateway, "sessiongate_memory_shed_total{shed=\"stream\"}"), 0);
}

/// Streams that wait for the provider, such as watches, are all sent to it.
#[test]
fn streams_waiting_for_the_provider_do_not_block_each_other() {
    let (send, all_are_here) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Barrier::new(60));
    let recorder = Recorder::start(move |call| {
        // No response is sent before all have arrived.
        gate.wait();
        let _ = send.send(());
        call.response(200, "", "here")
    });
    let gateway = Gateway::start(&recorder.upstream(""));
    let mut client = Client::open(gateway.address(), 1 << 20);
    client.get("/watch", 60);
    all_are_here.recv_timeout(TIMEOUT).unwrap();
    client.ended(60);
}

/// Opens clients that do not read until one of them is given up, while others are served.
fn press<C>(open: impl Fn(SocketAddr) -> C, check: impl FnOnce(&Gateway, &mut [C])) {
    if !cfg!(target_os = "linux") {
        return skipped("the memory of processes (it is read where Linux tells it)");
    }
    let recorder = small_or_large();
    let gateway = Gateway::start(&format!("{LIMITS}{}", recorder.upstream(MANY)));
    assert_eq!(Request::new("GET", "/large").send(&gateway.url()).status, 200);
    let few = resident(&gateway);
    let mut clients = Vec::new();
    wait_for("a client to be given up", || {
        clients.push(open(gateway.address()));
        assert_served(&gateway);
        (metric(&gateway, "sessiongate_memory_shed_total{shed=\"connection\"}") > 0).then_some(())
    });
    check(&gateway, &mut clients);
    assert_served(&gateway);
    assert!(peak(&gateway) < MEMORY, "{} MB", peak(&gateway) >> 20);
    drop(clients);
    wait_until_nothing_is_held(&gateway);
    wait_for_memory(&gateway, few);
}

#[test]
fn http2_clients_that_do_not_read_are_closed_before_memory_is_short() {
    let open = |address| {
        let mut client = Client::open(address, 65_535);
        client.stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).unwrap();
        client.get("/large", 8);
        client
    };
    press(open, |gateway, clients| {
        let cut = "sessiongate_connections_cut_total{reason=\"memory\"}";
        wait_for("a connection to be counted", || (metric(gateway, cut) > 0).then_some(()));
        wait_for("a connection to be ended", || clients.iter_mut().any(Client::has_ended).then_some(()));
    });
}

#[test]
fn http1_clients_that_do_not_read_are_closed_before_memory_is_short() {
    let open = |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    };
    press(open, |_, _| {});
}

/// A body smaller than the minimum share of a request is always accepted.
#[test]
fn incomplete_bodies_are_rejected_before_memory_is_short() {
    let recorder = Recorder::start(|call| {
        if call.seen.target.ends_with("/large") {
            let mut large = session(&json!({}));
            large["padding"] = json!("x".repeat(400_000));
            return call.json(200, &large);
        }
        call.as_auth0()
    });
    let more = format!("{MANY}\nbody: {{ timeout: 10m }}");
    let gateway = Gateway::start(&format!("{SMALL}{}", recorder.upstream(&more)));
    gateway.ready();
    let few = on_linux(|| resident(&gateway));
    let head = |length: usize| {
        format!(
            "PATCH /api/v2/sessions/s1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n",
            recorder.token()
        )
    };
    let mut clients = Vec::new();
    wait_for("a body to be rejected", || {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.write_all(head(250_000).as_bytes()).unwrap();
        stream.write_all(" ".repeat(240_000).as_bytes()).unwrap();
        clients.push(stream);
        (metric(&gateway, "sessiongate_memory_shed_total{shed=\"request\"}") > 0).then_some(())
    });
    let overloaded = r#"{"error":"Service Unavailable","message":"The gateway is low on memory.","statusCode":503}"#;
    let response = wait_for("the rejection", || {
        clients.iter_mut().find_map(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut response = [0; 2048];
            let length = stream.read(&mut response).ok().filter(|length| *length > 0)?;
            Some(String::from_utf8_lossy(&response[..length]).into_owned())
        })
    });
    assert!(response.starts_with("HTTP/1.1 503 ") && response.to_lowercase().contains("retry-after: 1"), "{response}");
    assert!(response.contains(overloaded), "{response}");
    let small = Request::new("PATCH", "/api/v2/sessions/s1").bearer(&recorder.token());
    assert_eq!(small.json(r#"{"session_metadata":{"a":"b"}}"#).send(&gateway.url()).status, 200);
    let read = |id: &str| Request::new("GET", &format!("/api/v2/sessions/{id}")).bearer(&recorder.token());
    assert_eq!(read("s1").send(&gateway.url()).status, 200);
    // The bodies that were rejected have made room: more of them fill it again.
    let response = wait_for("a response to be given up", || {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.write_all(head(250_000).as_bytes()).unwrap();
        stream.write_all(" ".repeat(240_000).as_bytes()).unwrap();
        clients.push(stream);
        let response = read("large").send(&gateway.url());
        (response.status == 503).then_some(response)
    });
    assert!(response.text().contains(overloaded), "{}", response.text());
    assert!(metric(&gateway, "sessiongate_memory_shed_total{shed=\"provider_response\"}") > 0);
    drop(clients);
    wait_until_nothing_is_held(&gateway);
    few.into_iter().for_each(|few| wait_for_memory(&gateway, few));
    assert_eq!(read("large").send(&gateway.url()).status, 200);
}

/// An HTTP/2 connection keeps the memory of its streams after they have ended.
#[test]
fn idle_http2_connections_are_closed_when_memory_is_full() {
    let recorder = small_or_large();
    let gateway = Gateway::start(&format!("{SMALL}{}", recorder.upstream(MANY)));
    let few = on_linux(|| resident(&gateway));
    let mut clients = Vec::new();
    wait_for("a connection to be closed", || {
        // Several at a time, which are served at the same time.
        let opened: Vec<(Client, Vec<u32>)> = (0..8)
            .map(|_| {
                let mut client = Client::open(gateway.address(), 0);
                let streams = client.get("/api/v2/sessions/s1", 90);
                (client, streams)
            })
            .collect();
        for (mut client, streams) in opened {
            // However they end.
            if client.read().is_some() {
                let resets: Vec<u8> =
                    streams.iter().flat_map(|stream| frame(RST_STREAM, 0, *stream, &[0; 4])).collect();
                client.widen(1 << 20);
                let _ = client.stream.write_all(&resets);
                clients.push(client);
            }
        }
        (metric(&gateway, "sessiongate_memory_shed_total{shed=\"connection\"}") > 0).then_some(())
    });
    wait_for("others to be served", || {
        let mut stream = TcpStream::connect(gateway.address()).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
        let mut response = [0; 12];
        stream.read_exact(&mut response).ok()?;
        (response == *b"HTTP/1.1 200").then_some(())
    });
    drop(clients);
    wait_until_nothing_is_held(&gateway);
    few.into_iter().for_each(|few| wait_for_memory(&gateway, few));
}
