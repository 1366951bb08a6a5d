//! Timeouts of pass-through responses: `first_byte` until a response begins, `idle` from then on. A test waits for
//! another request that `first_byte` ends: as much time has passed then.

use crate::harness::recorder::{Recorder, Then};
use crate::harness::{Gateway, H2Provider, Part, Reply, TIMEOUT, wait_for};
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// Good responses have to begin within `first_byte` too, which has to be enough on a machine that is busy.
const TIMEOUTS: &str = "timeouts: { first_byte: 6s, idle: 1m }";

/// A path of pass-through gRPC calls.
const CALL: &str = "/zitadel.auth.v1.AuthService/ListMyUserChanges";

/// A door that a test opens, for tasks and for threads.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    opened: Condvar,
    notify: Arc<Notify>,
}

impl Door {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
        self.notify.notify_one();
    }

    fn wait(&self) {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_timeout_while(open, TIMEOUT, |open| !*open).unwrap());
    }
}

/// A provider of either version, whose responses wait at the door, and the gateway before it.
struct Place {
    gateway: Gateway,
    door: Arc<Door>,
    runtime: Runtime,
    providers: (Option<Recorder>, Option<H2Provider>),
}

impl Place {
    fn start(http2: bool) -> Place {
        Place::start_with(http2, TIMEOUTS)
    }

    fn start_with(http2: bool, timeouts: &str) -> Place {
        Place::start_of(http2, timeouts, "")
    }

    fn start_of(http2: bool, timeouts: &str, more: &str) -> Place {
        let door = Arc::new(Door::default());
        let own = door.clone();
        let (upstream, providers) = if http2 {
            let provider = H2Provider::start(None, move |arrived| {
                let head = http::Response::builder().header("content-type", "application/grpc");
                let head = head.body(()).unwrap();
                match arrived.head.uri.path() {
                    "/silent" => Reply { head, parts: vec![Part::Silence], trailers: None },
                    "/upload" => Reply::json(arrived.body.clone()),
                    _ => {
                        let parts = vec![
                            Part::Bytes("first".into()),
                            Part::Wait(own.notify.clone()),
                            Part::Bytes("last".into()),
                        ];
                        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
                        Reply { head, parts, trailers: Some(trailers.into_iter().collect()) }
                    }
                }
            });
            let url = format!("http://{}", provider.address());
            let upstream = format!(
                "upstreams:\n  idp:\n    dialect: zitadel\n    url: {url}\n    protocol: http2\n    auth: forward\n    {timeouts}\n"
            );
            (upstream, (None, Some(provider)))
        } else {
            let recorder = Recorder::start(move |call| {
                match call.seen.target.as_str() {
                    "/silent" => own.wait(),
                    "/upload" => {
                        let body = call.body()?;
                        return call.response(200, "", &String::from_utf8_lossy(&body));
                    }
                    _ => {
                        call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
                        own.wait();
                        call.send("4\r\nlast\r\n0\r\n\r\n")?;
                        return Ok(Then::Keep);
                    }
                }
                Ok(Then::Close)
            });
            (recorder.upstream_as("none", timeouts), (Some(recorder), None))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Place { gateway: Gateway::start(&format!("{more}{upstream}")), door, runtime, providers }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Waits until so many requests are in the log whose clients were silent. The provider of HTTP/2 is not at fault:
    /// the connection to it is used on.
    fn sees_its_clients_at_fault(&self, requests: usize) {
        let is_one = |line: &&String| line.contains("\"decision\":\"rejected\"") && line.contains("\"body_timeout\"");
        let in_log = || self.gateway.log().iter().filter(is_one).count();
        wait_for("the requests in the log", || (in_log() == requests).then_some(()));
        assert!(!self.gateway.log().iter().any(|line| line.contains("WARN")), "{:?}", self.gateway.log());
        assert_eq!(self.providers.1.as_ref().unwrap().connections(), 1);
    }

    /// Waits for as long as the first byte of a response may take, and sees that it may take no longer.
    fn wait_for_first_byte(&self, http2: bool) {
        let status = match http2 {
            true => self.runtime.block_on(async { Stream::open(self.address(), "/silent", true, None).await.0 }),
            false => {
                let mut client = Http1::open(self.address());
                client.write("GET /silent HTTP/1.1\r\nHost: x\r\n\r\n");
                client.until("\r\n\r\n")[9..12].parse().unwrap()
            }
        };
        assert_eq!(status, 504);
    }
}

struct Http1 {
    stream: TcpStream,
    read: String,
}

impl Http1 {
    fn open(address: SocketAddr) -> Http1 {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Http1 { stream, read: String::new() }
    }

    fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn until(&mut self, end: &str) -> &str {
        let mut part = [0; 4096];
        while !self.read.contains(end) {
            let length = self.stream.read(&mut part).unwrap();
            assert!(length > 0, "the connection ended after {:?}", self.read);
            self.read.push_str(&String::from_utf8_lossy(&part[..length]));
        }
        &self.read
    }
}

/// A request over HTTP/2: its status, the rest of its response, and what is left of its own body.
struct Stream;

impl Stream {
    async fn open(
        address: SocketAddr,
        path: &str,
        whole: bool,
        part: Option<&'static str>,
    ) -> (u16, h2::RecvStream, h2::SendStream<Bytes>) {
        let (response, sending) = Stream::send(address, path, whole, part).await;
        let (head, body) = tokio::time::timeout(TIMEOUT, response).await.unwrap().unwrap().into_parts();
        (head.status.as_u16(), body, sending)
    }

    async fn send(
        address: SocketAddr,
        path: &str,
        whole: bool,
        part: Option<&'static str>,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let method = if part.is_some() { "POST" } else { "GET" };
        let mut request = http::Request::builder().method(method).uri(format!("http://{address}{path}"));
        if path == CALL {
            request = request.header("content-type", "application/grpc").header("te", "trailers");
        }
        let (response, mut sending) = client.send_request(request.body(()).unwrap(), whole && part.is_none()).unwrap();
        if let Some(part) = part {
            sending.send_data(Bytes::from_static(part.as_bytes()), whole).unwrap();
        }
        (response, sending)
    }
}

/// Does something for either version of the client and of the provider, at the same time, since most of it is waiting.
fn all_ways(act: impl Fn(bool, bool) + Sync) {
    let act = &act;
    thread::scope(|scope| {
        for (client, provider) in [(false, false), (false, true), (true, false), (true, true)] {
            scope.spawn(move || act(client, provider));
        }
    });
}

#[test]
fn idle_timeout_applies_after_first_byte_timeout() {
    all_ways(|client, provider| {
        let place = Place::start(provider);
        if client {
            let mut body = place.runtime.block_on(async {
                let (status, mut body, _) = Stream::open(place.address(), "/events", true, None).await;
                assert_eq!(status, 200);
                assert_eq!(body.data().await.unwrap().unwrap(), "first");
                body
            });
            place.wait_for_first_byte(client);
            place.door.open();
            let last = place.runtime.block_on(async { body.data().await.unwrap().unwrap() });
            assert_eq!(last, "last", "to a provider of HTTP/2: {provider}");
        } else {
            let mut http1 = Http1::open(place.address());
            http1.write("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
            http1.until("first");
            place.wait_for_first_byte(client);
            place.door.open();
            let whole = http1.until("0\r\n\r\n");
            assert!(whole.contains("4\r\nlast\r\n"), "to a provider of HTTP/2: {provider}: {whole}");
        }
    });
}

#[test]
fn first_byte_timeout_starts_at_the_end_of_the_request() {
    all_ways(|client, provider| {
        let place = Place::start(provider);
        if client {
            let (response, mut sending) =
                place.runtime.block_on(Stream::send(place.address(), "/upload", false, Some("first")));
            place.wait_for_first_byte(client);
            sending.send_data("last".into(), true).unwrap();
            let body = place.runtime.block_on(async {
                let mut body = response.await.unwrap().into_body();
                body.data().await.unwrap().unwrap()
            });
            assert_eq!(body, "firstlast", "to a provider of HTTP/2: {provider}");
        } else {
            let mut http1 = Http1::open(place.address());
            http1.write("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nfirst");
            place.wait_for_first_byte(client);
            http1.write("last");
            http1.until("firstlast");
        }
    });
}

/// Further requests of the client are not a sign of life of the provider.
#[test]
fn pipelined_requests_do_not_extend_first_byte_timeout() {
    let place = Place::start(false);
    let mut http1 = Http1::open(place.address());
    http1.write("GET /silent HTTP/1.1\r\nHost: x\r\n\r\nGET /other HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(http1.until("\r\n\r\n").starts_with("HTTP/1.1 504 "));
    let line = place.gateway.wait_for_log(|line| line.contains("upstream_timeout"));
    assert!(line.contains("\"status\":504") && line.contains("\"decision\":\"failed\""), "{line}");
}

/// The client must not take it for complete.
#[test]
fn stalled_response_is_truncated() {
    let door = Arc::new(Door::default());
    let own = door.clone();
    let recorder = Recorder::start(move |call| {
        call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        own.wait();
        Ok(Then::Close)
    });
    let gateway = Gateway::start(&recorder.upstream_as("none", "timeouts: { first_byte: 20s, idle: 1s }"));
    let mut client = Http1::open(gateway.address());
    client.write("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    client.until("first");
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"));
    gateway.wait_for_log(|line| line.contains("\"reason\":\"upstream_timeout\""));
    door.open();
}

/// As much of a body as is sent at a time: enough for a client not to be too slow.
const PART: usize = 20_000;

/// The provider sends nothing until the upload is complete.
#[test]
fn steady_upload_may_take_longer_than_the_timeouts() {
    // What counts for time here is that each of the waits between two parts lasts for `first_byte`.
    const WAITS: usize = 4;
    let flows = |client, provider, path| {
        let place = Place::start_with(provider, "timeouts: { first_byte: 2500ms, idle: 8s }");
        let part = "x".repeat(PART);
        let length = PART * (WAITS + 1);
        if client {
            let (response, mut sending) = place.runtime.block_on(Stream::send(place.address(), path, false, Some("")));
            for _ in 0..WAITS {
                sending.send_data(part.clone().into(), false).unwrap();
                place.wait_for_first_byte(client);
            }
            sending.send_data(part.into(), true).unwrap();
            let status = place.runtime.block_on(async { response.await.unwrap().status() });
            assert_eq!(status, 200, "{path} to a provider of HTTP/2: {provider}");
        } else {
            let mut http1 = Http1::open(place.address());
            http1.write(&format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
            for _ in 0..WAITS {
                http1.write(&part);
                place.wait_for_first_byte(client);
            }
            http1.write(&part);
            let head = http1.until("\r\n\r\n");
            assert!(head.starts_with("HTTP/1.1 200 "), "to a provider of HTTP/2: {provider}: {head}");
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| flows(true, true, CALL));
        scope.spawn(|| all_ways(|client, provider| flows(client, provider, "/upload")));
    });
}

/// Neither side sends anything, and the client has not ended its side. This is not a failure of the provider.
#[test]
fn stalled_grpc_call_ends() {
    let place = Place::start_with(true, "timeouts: { first_byte: 20s, idle: 1s }");
    for _ in 0..2 {
        let (status, body, _sending) = place.runtime.block_on(Stream::open(place.address(), CALL, false, Some("part")));
        assert_eq!((status, body.is_end_stream()), (200, true), "all of a failure of gRPC is in the head");
    }
    place.sees_its_clients_at_fault(2);
}

/// The same for other requests, whose clients may be as slow as they like.
#[test]
fn silent_client_is_not_a_provider_failure() {
    let place = Place::start_of(
        true,
        "timeouts: { first_byte: 20s, idle: 1s }",
        "clients: { idle_timeout: 1s, min_body_rate: 0B }\n",
    );
    for _ in 0..2 {
        place.runtime.block_on(async {
            let (response, _sending) = Stream::send(place.address(), "/upload", false, Some("part")).await;
            assert!(tokio::time::timeout(TIMEOUT, response).await.unwrap().is_err());
        });
    }
    place.sees_its_clients_at_fault(2);
}

/// The same if the response has begun, for a request whose body did not arrive with its head.
#[test]
fn response_to_a_stalled_upload_ends() {
    for client in [false, true] {
        let place = Place::start_with(true, "timeouts: { first_byte: 20s, idle: 1s }");
        if client {
            place.runtime.block_on(async {
                let (response, mut sending) = Stream::send(place.address(), "/events", false, Some("part")).await;
                sending.send_data(Bytes::new(), true).unwrap();
                let mut body = response.await.unwrap().into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), "first");
                assert!(body.data().await.unwrap().is_err(), "it is not whole");
            });
        } else {
            let mut http1 = Http1::open(place.address());
            http1.write("POST /events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
            http1.write("0\r\n\r\n");
            http1.until("first");
            let mut rest = Vec::new();
            let _ = http1.stream.read_to_end(&mut rest);
            assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"));
        }
        place.gateway.wait_for_log(|line| line.contains("\"reason\":\"upstream_timeout\""));
    }
}

/// The provider stops reading and sends nothing.
#[test]
fn upload_that_the_provider_does_not_read_ends() {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (taken, came) = channel();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let taken = taken.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut held = Vec::new();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    held.push(respond);
                    let (mut body, taken) = (request.into_body(), taken.clone());
                    // The window stays as it is when it has shrunk.
                    tokio::spawn(async move {
                        let mut length = 0;
                        while length < PART {
                            length += body.data().await.unwrap().unwrap().len();
                        }
                        taken.send(()).unwrap();
                        std::future::pending::<()>().await;
                        drop(body);
                    });
                }
            });
        }
    });
    let gateway = Gateway::start(&format!(
        "clients: {{ idle_timeout: 1s }}\nupstreams:\n  idp:\n    dialect: zitadel\n    url: {url}\n    protocol: http2\n    auth: forward\n    timeouts: {{ idle: 1s }}\n"
    ));
    let (part, rest) = ("x".repeat(PART), "x".repeat(1 << 20));
    let mut http1 = Http1::open(gateway.address());
    http1.write(&format!("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", PART + rest.len()));
    http1.write(&part);
    came.recv_timeout(TIMEOUT).unwrap();
    let (mut writing, own) = (http1.stream.try_clone().unwrap(), rest.clone());
    let writer = thread::spawn(move || drop(writing.write_all(own.as_bytes())));
    let _ = http1.stream.read_to_end(&mut Vec::new());
    writer.join().unwrap();
    runtime.block_on(async {
        let (response, mut sending) = Stream::send(gateway.address(), "/upload", false, Some("")).await;
        sending.send_data(part.into(), false).unwrap();
        tokio::task::spawn_blocking(move || came.recv_timeout(TIMEOUT).unwrap()).await.unwrap();
        sending.send_data(rest.into(), true).unwrap();
        assert!(tokio::time::timeout(TIMEOUT, response).await.unwrap().is_err());
    });
    let lines = |what: &str| gateway.log().iter().filter(|line| line.contains(what)).count();
    wait_for("both in the log", || (lines("request aborted") == 2).then_some(()));
    let is_accounted_for = || lines("\"method\":\"POST\",\"status\":0,\"upstream\":\"idp\"") == 2;
    wait_for("the requests in the log", || is_accounted_for().then_some(()));
    assert_eq!(lines("\"decision\":\"failed\",\"cache\":\"none\",\"reason\":\"upstream_timeout\""), 2);
    let metrics = gateway.metrics();
    let counted = |line: &&str| line.starts_with("sessiongate_requests_total") && line.contains("status=\"none\"");
    let counted: Vec<_> = metrics.lines().filter(counted).collect();
    assert!(matches!(counted.as_slice(), [line] if line.contains("\"failed\"") && line.ends_with(" 2")), "{counted:?}");
}
