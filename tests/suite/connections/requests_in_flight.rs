//! Limits of requests in flight at a provider: how many, per source and per upstream, and how long others wait.

use crate::harness::recorder::{Call, Recorder, SESSION, Then};
use crate::harness::{Connection, Gate, Gateway, Request, Response, TIMEOUT, wait_for};
use bytes::Bytes;
use h2::client::SendRequest;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

/// A provider that responds once its gate is open, and a gateway in front of it.
struct Place {
    recorder: Recorder,
    gateway: Gateway,
    gate: Gate,
}

/// Requests from this machine name their own source.
const TRUSTING: &str = "clients: { trusted_peers: [127.0.0.0/8], forwarding_headers: both }\n";
const TIGHT: &str = "limits: { in_flight: 3, per_source: 2, wait: 0s }\n";

fn place(more_of_all: &str, auth: &str, more: &str) -> Place {
    let gate = Gate::closed();
    let own = gate.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        own.pass();
        call.as_auth0()
    });
    let auth = if auth.is_empty() {
        format!("{{ issuer: {0}/, audience: {0}/api/v2/ }}", recorder.url())
    } else {
        auth.to_owned()
    };
    let gateway = Gateway::start(&format!("{more_of_all}{}", recorder.upstream_as(&auth, more)));
    gateway.ready();
    Place { recorder, gateway, gate }
}

/// A request that goes to the provider in each of the ways that there are.
fn ways() -> [(&'static str, Request); 5] {
    let session = format!("/api/v2/sessions/{SESSION}");
    let text = |body: &str| Request::new("POST", "/api/v2/users/auth0%7C1/multifactor/actions/x").json(body);
    [
        ("a read", Request::new("GET", &session)),
        ("a write", Request::new("PATCH", &session).json(r#"{"session_metadata":{"a":"b"}}"#)),
        ("a pass-through request", Request::new("GET", "/api/v2/clients")),
        ("one with a body", text("{}")),
        ("one that may change sessions", Request::new("DELETE", "/api/v2/users/auth0%7C1")),
    ]
}

impl Place {
    fn send(&self, request: &Request, token: &str, from: &str) -> Response {
        let request = request.clone().bearer(token);
        let request = if from.is_empty() { request } else { request.header("X-Forwarded-For", from) };
        request.send(&self.gateway.url())
    }

    /// The value of a metric without other labels than the upstream.
    fn metric(&self, name: &str) -> String {
        let text = self.gateway.metrics();
        let start = format!("{name}{{upstream=\"auth0\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_default().to_owned()
    }

    fn wait_in_flight(&self, count: usize) {
        let name = "sessiongate_upstream_requests_in_flight";
        wait_for(&format!("{count} in flight"), || (self.metric(name) == count.to_string()).then_some(()));
    }
}

fn joined(all: Vec<ScopedJoinHandle<Response>>, what: &str) {
    for one in all {
        let status = one.join().unwrap().status;
        assert!((200..300).contains(&status), "{what}: {status}");
    }
}

#[test]
fn limits_per_source_and_per_upstream_apply_to_every_kind_of_request() {
    for (what, request) in ways() {
        let place = place(TRUSTING, "forward", TIGHT);
        let (one, other) = ("192.0.2.1", "2001:db8::1");
        thread::scope(|scope| {
            let begin = |from: &'static str, count: usize| {
                let (place, request) = (&place, &request);
                let begun = scope.spawn(move || place.send(request, "junk", from));
                place.recorder.wait(count);
                begun
            };
            let mut begun = vec![begin(one, 1), begin(one, 2)];
            let over = place.send(&request, "other", one);
            assert_eq!((over.status, over.header("Retry-After")), (429, Some("1")), "{what}: {over:?}");
            // Entries before the address that the trusted peer has added may be forged.
            assert_eq!(place.send(&request, "other", &format!("203.0.113.9, {one}, 127.0.0.9")).status, 429, "{what}");
            begun.push(begin(other, 3));
            for from in ["2001:db8::2", "192.0.2.3", ""] {
                let over = place.send(&request, "other", from);
                assert_eq!((over.status, over.header("Retry-After")), (503, Some("1")), "{what} from {from}: {over:?}");
            }
            place.wait_in_flight(3);
            assert_eq!(place.recorder.count(), 3, "{what}");
            place.gate.set(true);
            joined(begun, what);
        });
        place.wait_in_flight(0);
        let rejected = place.gateway.metrics_when_idle();
        for line in ["reason=\"source_busy\",upstream=\"auth0\"} 2", "reason=\"upstream_busy\",upstream=\"auth0\"} 3"] {
            assert!(rejected.contains(line), "{what}: {line}");
        }
    }
}

#[test]
fn ipv6_network_is_one_source() {
    let place = place(TRUSTING, "forward", "limits: { in_flight: 9, per_source: 2, wait: 0s }\n");
    let (_, request) = &ways()[2];
    thread::scope(|scope| {
        let begin = |name: &'static str, from: &'static str, count: usize| {
            let (place, request) = (&place, &request);
            let begun = scope.spawn(move || {
                let request = (*request).clone().bearer("junk");
                let request = if from.is_empty() { request } else { request.header(name, from) };
                request.send(&place.gateway.url())
            });
            place.recorder.wait(count);
            begun
        };
        let mut begun = vec![begin("X-Forwarded-For", "2001:db8::1", 1), begin("X-Forwarded-For", "2001:db8::2", 2)];
        assert_eq!(place.send(request, "junk", "2001:db8::3").status, 429);
        begun.push(begin("Forwarded", "for=198.51.100.7;proto=https, for=127.0.0.2", 3));
        begun.push(begin("Forwarded", "for=\"198.51.100.7:1234\"", 4));
        assert_eq!(place.send(&request.clone().header("Forwarded", "for=198.51.100.7"), "junk", "").status, 429);
        begun.extend([begin("", "", 5), begin("", "", 6), begin("", "", 7)]);
        place.gate.set(true);
        joined(begun, "in flight");
    });
}

#[test]
fn verified_callers_are_limited_per_upstream_only() {
    let place = place("", "", "limits: { in_flight: 3, per_source: 1, wait: 0s }\nunmatched: forward\n");
    for (what, request) in ways() {
        place.gate.set(false);
        let before = place.recorder.count();
        let token = place.recorder.token();
        thread::scope(|scope| {
            let mut begun = Vec::new();
            for turn in 1..=3 {
                begun.push(scope.spawn(|| place.send(&request, &token, "")));
                place.recorder.wait(before + turn);
            }
            assert_eq!(place.send(&request, &token, "").status, 503, "{what}");
            place.gate.set(true);
            joined(begun, what);
        });
    }
    // Pass-through requests need no valid token, but callers without one are limited per source.
    place.gate.set(false);
    let before = place.recorder.count();
    let (_, request) = &ways()[2];
    thread::scope(|scope| {
        let begun = scope.spawn(|| place.send(request, "junk", ""));
        place.recorder.wait(before + 1);
        assert_eq!(place.send(request, "junk", "").status, 429);
        place.gate.set(true);
        joined(vec![begun], "junk");
    });
}

/// A client that sends one request after the other is within a limit of one, where the gateway itself forwards them:
/// governed and plain requests, and with a cache also those that may change sessions.
#[test]
fn slot_is_free_once_the_response_has_come() {
    let [read, write, plain, body, delete] = ways();
    let head = ("a head", Request::new("HEAD", "/api/v2/clients"));
    let upload = ("an upload", Request::new("POST", "/api/v2/clients").json("{}"));
    for (cache, requests) in [("", vec![read, write, plain, head, upload]), ("cache: {}\n", vec![body, delete])] {
        let limits = format!("limits: {{ in_flight: 1, per_source: 1, wait: 0s }}\n{cache}");
        let place = place("", "forward", &limits);
        place.gate.set(true);
        // In turn: on one connection, the gateway would not read a request before it is done with the last.
        let mut clients = [0, 1].map(|_| Connection::open(place.gateway.address()).unwrap());
        for round in 0..100 {
            for (what, request) in &requests {
                clients.swap(0, 1);
                let status = clients[0].exchange(&request.clone().bearer("junk")).unwrap().status;
                assert!((200..300).contains(&status), "{what}: {status} in round {round}");
            }
        }
    }
}

/// A provider may respond before it has read a request. Its client still sends the body then, and the gateway forwards it.
#[test]
fn upload_holds_its_slot_after_the_response() {
    for (what, head) in [("a body", "404 Not Found\r\nContent-Length: 2\r\n\r\n{}"), ("none", "204 No Content\r\n\r\n")]
    {
        let recorder = Recorder::start(move |call: &mut Call| {
            call.take(1)?;
            call.send(format!("HTTP/1.1 {head}"))?;
            call.take(9)?;
            Ok(Then::Close)
        });
        let upstream = recorder.upstream_as("forward", "limits: { in_flight: 1, per_source: 1, wait: 0s }\n");
        let gateway = Gateway::start(&upstream);
        let open = || {
            let mut client = Connection::open(gateway.address()).unwrap();
            client.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0").unwrap();
            client
        };
        let mut first = open();
        assert!([204, 404].contains(&first.head().unwrap().0), "{what}");
        for _ in 0..5 {
            assert_eq!(open().head().unwrap().0, 429, "{what}: the first upload is still in flight");
        }
        assert_eq!(recorder.connections(), 1, "{what}");
    }
}

/// Requests in flight bound the connections to a provider, also with clients that do not read.
#[test]
fn clients_that_do_not_read_hold_no_connections_beyond_the_limit() {
    for size in [1_000, 150_000, 1 << 20, 4 << 20] {
        let body = "x".repeat(size);
        let recorder = Recorder::start(move |call: &mut Call| {
            call.body()?;
            call.response(200, "", &body)
        });
        let upstream = recorder.upstream_as("forward", "limits: { in_flight: 2, per_source: 2, wait: 0s }\n");
        let gateway = Gateway::start(&upstream);
        let clients: Vec<TcpStream> = (0..12)
            .map(|_| {
                let mut client = small_window(gateway.address());
                client.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                let mut status = [0; 12];
                client.read_exact(&mut status).unwrap();
                assert!([b"HTTP/1.1 200", b"HTTP/1.1 429"].contains(&&status), "{}", status.escape_ascii());
                client
            })
            .collect();
        assert!(recorder.connections() <= 2, "{size}: {} connections", recorder.connections());
        drop(clients);
    }
}

/// A connection whose client has room for few bytes.
fn small_window(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.into()
}

#[test]
fn requests_beyond_the_limit_wait_for_a_slot() {
    let place = place("", "forward", "limits: { in_flight: 1, per_source: 1, wait: 1m }\n");
    let (_, request) = &ways()[0];
    thread::scope(|scope| {
        let first = scope.spawn(|| place.send(request, "one", ""));
        place.recorder.wait(1);
        let second = scope.spawn(|| place.send(request, "two", ""));
        wait_for("a wait", || (place.metric("sessiongate_upstream_waits_total") == "1").then_some(()));
        assert_eq!(place.recorder.count(), 1);
        place.gate.set(true);
        joined(vec![first, second], "waiting");
    });
    assert_eq!(place.recorder.count(), 2);
}

/// The clients leave while the provider works on their requests.
#[test]
fn only_uncached_reads_end_with_their_client() {
    for (cache, way, stays) in [("", 0, false), ("cache: {}\n", 0, true), ("cache: {}\n", 1, true), ("", 1, true)] {
        let place = place("", "forward", &format!("{cache}limits: {{ in_flight: 3, per_source: 1, wait: 0s }}\n"));
        let (what, request) = &ways()[way];
        let what = format!("{what} with {cache:?}");
        let request = request.clone().bearer("junk");
        let mut client = Connection::open(place.gateway.address()).unwrap();
        client.write(&request.bytes(place.gateway.address())).unwrap();
        place.recorder.wait(1);
        place.wait_in_flight(1);
        drop(client);
        if stays {
            assert_eq!(place.send(&ways()[2].1, "junk", "").status, 429, "{what}");
            place.gate.set(true);
        }
        place.wait_in_flight(0);
        place.gate.set(true);
    }
}

/// The clients leave before their body is complete and before a slot is free.
#[test]
fn disconnect_in_the_body_frees_the_waiting_request() {
    let place = place("", "forward", "limits: { in_flight: 1, per_source: 1, wait: 1m }\n");
    let address = place.gateway.address();
    let in_flight = |count: usize| {
        let line = format!("sessiongate_requests_in_flight {count}");
        place.gateway.wait_for_metric(&line);
    };
    let waits = |count: usize| {
        let count = count.to_string();
        wait_for("a wait", || (place.metric("sessiongate_upstream_waits_total") == count).then_some(()));
    };
    let mut first = Connection::open(address).unwrap();
    first.write(&Request::new("GET", "/first").bearer("junk").bytes(address)).unwrap();
    place.recorder.wait(1);
    let mut client = Connection::open(address).unwrap();
    client.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    waits(1);
    client.write(b"more").unwrap();
    in_flight(2);
    drop(client);
    in_flight(1);
    over_http2(async {
        for (turn, length) in [(2, Some("10")), (3, None)] {
            let mut post = http::Request::post("http://a/upload");
            if let Some(length) = length {
                post = post.header("content-length", length);
            }
            let mut connection = http2(&place.gateway).await.ready().await.unwrap();
            let (_response, mut body) = connection.send_request(post.body(()).unwrap(), false).unwrap();
            body.send_data(Bytes::from_static(b"half"), false).unwrap();
            let count = turn.to_string();
            wait_for_async(|| place.metric("sessiongate_upstream_waits_total") == count).await;
            body.send_reset(h2::Reason::CANCEL);
            wait_for_async(|| place.gateway.metrics().lines().any(|one| one == "sessiongate_requests_in_flight 1"))
                .await;
        }
    });
    place.gate.set(true);
    assert_eq!(first.response(false).unwrap().status, 200);
    assert_eq!(place.recorder.count(), 1, "nothing was sent for those who left");
}

/// The client has sent its whole request.
#[test]
fn idle_timeout_does_not_apply_while_waiting_for_a_slot() {
    let more = "limits: { in_flight: 1, wait: 3s }\n";
    let place = place("clients: { idle_timeout: 1s }\n", "forward", more);
    thread::scope(|scope| {
        let first = scope.spawn(|| place.send(&ways()[2].1, "junk", ""));
        place.recorder.wait(1);
        let mut waits = 0;
        let response = wait_for("a body that comes in time", || {
            waits += 1;
            let mut stream = TcpStream::connect(place.gateway.address()).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            stream
                .write_all(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nConnection: close\r\n\r\nhalf")
                .unwrap();
            let count = waits.to_string();
            wait_for("a wait", || (place.metric("sessiongate_upstream_waits_total") == count).then_some(()));
            let mut response = String::new();
            let _ = stream.write_all(b"more").and_then(|()| stream.read_to_string(&mut response));
            // On a machine that is too slow for it, the rest comes too late.
            (!response.is_empty() && !response.starts_with("HTTP/1.1 408 ")).then_some(response)
        });
        place.gate.set(true);
        assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
        joined(vec![first], "the first");
    });
}

#[test]
fn preliminary_read_releases_its_slot_before_the_write() {
    let policies = "policies: { strict: { keys: { protected: [tenant] } } }\n";
    let place = place(policies, "forward", "policy: strict\nlimits: { in_flight: 1, per_source: 1, wait: 0s }\n");
    place.gate.set(true);
    let (_, write) = &ways()[1];
    assert_eq!(place.send(write, "junk", "").status, 200);
    let methods: Vec<String> = place.recorder.seen().iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(methods, ["GET", "PATCH"]);
}

#[test]
fn body_is_awaited_before_connecting_to_the_provider() {
    let place = place("", "forward", TIGHT);
    place.gate.set(true);
    let mut clients: Vec<Connection> = (0..5)
        .map(|_| {
            let mut client = Connection::open(place.gateway.address()).unwrap();
            client
                .write(b"POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
                .unwrap();
            assert_eq!(client.head().unwrap().0, 100, "the gateway asks for the body");
            client
        })
        .collect();
    assert_eq!(
        (place.recorder.connections(), place.metric("sessiongate_upstream_requests_in_flight").as_str()),
        (0, "0")
    );
    for client in &mut clients {
        client.write(b"body").unwrap();
        assert_eq!(client.response(false).unwrap().status, 202);
        // Its slot is free after that.
        place.wait_in_flight(0);
    }
    for seen in place.recorder.seen() {
        assert_eq!(
            (seen.text().as_str(), seen.header("Expect"), seen.header("Content-Length")),
            ("body", None, Some("4"))
        );
    }
    assert_eq!(place.recorder.count(), 5);
}

/// Runs what clients of HTTP/2 do.
fn over_http2<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn http2(gateway: &Gateway) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// A request from another address of this machine.
fn from_elsewhere(gateway: &Gateway, request: &Request) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&gateway.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(&request.clone().header("Connection", "close").bytes(gateway.address())).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Requests of clients that left count for their source until the provider has finished them.
#[test]
fn disconnected_clients_stay_within_their_source_limit() {
    let gate = Gate::closed();
    let own = gate.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        if call.seen.target != "/good" {
            own.pass();
        }
        call.as_auth0()
    });
    let limits = "cache: {}\nlimits: { in_flight: 60, per_source: 40, wait: 0s }";
    let gateway = Gateway::start(&recorder.upstream_as("forward", limits));
    let read = |number: usize| {
        let request = http::Request::get(format!("http://a/api/v2/sessions/s{number}"));
        let request = request.header("authorization", format!("Bearer junk{number}")).header("connect-timeout-ms", "0");
        request.body(()).unwrap()
    };
    over_http2(async {
        let leaving = http2(&gateway).await.ready().await.unwrap();
        let begun: Vec<_> = (0..40).map(|number| leaving.clone().send_request(read(number), true).unwrap()).collect();
        wait_for_async(|| recorder.count() == 40).await;
        drop((begun, leaving));
        let mut connection = http2(&gateway).await;
        for number in 40..700 {
            connection = connection.ready().await.unwrap();
            let (response, _) = connection.send_request(read(number), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 429, "{number}");
        }
    });
    let good = from_elsewhere(&gateway, &Request::new("GET", "/good"));
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    assert_eq!(recorder.connections(), 41, "for 701 requests");
    gate.set(true);
}

async fn wait_for_async(mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn streams_with_a_missing_declared_body_reach_no_provider() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&recorder.upstream_as("forward", ""));
    let post = || http::Request::post("http://a/x").header("content-length", "4").body(()).unwrap();
    over_http2(async {
        let mut connection = http2(&gateway).await.ready().await.unwrap();
        for part in [None, Some(&b"too long"[..]), Some(&b""[..])] {
            let (response, mut body) = connection.send_request(post(), false).unwrap();
            if let Some(part) = part {
                let _ = body.send_data(Bytes::from_static(part), true);
                assert!(response.await.map_or(true, |response| response.status().is_client_error()), "{part:?}");
            } else {
                body.send_reset(h2::Reason::CANCEL);
            }
            connection = connection.ready().await.unwrap();
        }
        assert_eq!(recorder.connections(), 0);
        let (response, mut body) = connection.send_request(post(), false).unwrap();
        body.send_data(Bytes::from_static(b"bo"), false).unwrap();
        body.send_data(Bytes::from_static(b"dy"), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 202);
    });
    assert_eq!(recorder.seen()[0].text(), "body");
}

#[test]
fn open_websocket_holds_its_slot() {
    let recorder = Recorder::start(|call: &mut Call| {
        call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        call.take(3)?;
        Ok(Then::Close)
    });
    let gateway = Gateway::start(&recorder.upstream_as("forward", "limits: { in_flight: 1, per_source: 1, wait: 0s }"));
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().0, 101);
    assert_eq!(Request::new("GET", "/x").send(&gateway.url()).status, 429);
    client.write(b"end").unwrap();
    let line = "sessiongate_upstream_requests_in_flight{upstream=\"auth0\"} 0";
    wait_for(line, || gateway.metrics().contains(line).then_some(()));
}

/// A client of a Unix socket has no address. Only the limit of the upstream applies.
#[test]
fn unix_socket_clients_have_no_source_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let listeners =
        format!("listeners:\n  main: {{ address: 127.0.0.1:0 }}\n  pod: {{ address: \"unix:{}\" }}\n", path.display());
    let place = place(&listeners, "forward", "limits: { in_flight: 3, per_source: 1, wait: 0s }\n");
    let ask = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response[..12].to_owned()
    };
    thread::scope(|scope| {
        let begun: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        place.recorder.wait(3);
        assert_eq!(ask(), "HTTP/1.1 503");
        place.gate.set(true);
        begun.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), "HTTP/1.1 200"));
    });
}
