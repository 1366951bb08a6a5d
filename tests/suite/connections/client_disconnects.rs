//! Clients that disconnect before they have their response: the decision is `client_gone`, and not a failure of the
//! provider.

use crate::harness::recorder::{Recorder, SESSION};
use crate::harness::{Gateway, Request, TIMEOUT, wait_for};
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It closes its connection of HTTP/1.1.
    Close,
    /// It resets its stream.
    Reset,
    /// It closes its connection of HTTP/2.
    CloseHttp2,
}

const HOWS: [How; 3] = [How::Close, How::Reset, How::CloseHttp2];

/// A client that waits for its response.
enum Client {
    Http1(TcpStream),
    Http2(h2::client::ResponseFuture, h2::SendStream<Bytes>, h2::PingPong, tokio::task::JoinHandle<()>),
}

impl Client {
    /// Leaves, and waits until the gateway can know.
    fn leave(self, how: How, place: &Place) {
        let (runtime, open) = (&place.runtime, place.connections());
        match self {
            Client::Http1(stream) => drop(stream),
            Client::Http2(response, mut sending, mut pings, connection) => {
                if how == How::Reset {
                    sending.send_reset(h2::Reason::CANCEL);
                    drop(response);
                    // Earlier bytes have been read when its response arrives. The connection stays open.
                    runtime.block_on(pings.ping(h2::Ping::opaque())).unwrap();
                    std::mem::forget(connection);
                } else {
                    connection.abort();
                    let _ = runtime.block_on(connection);
                    drop((response, sending, pings));
                    wait_for("the end of a connection", || (place.connections() < open).then_some(()));
                }
            }
        }
    }
}

struct Place {
    recorder: Recorder,
    gateway: Gateway,
    runtime: Runtime,
    door: Arc<(Mutex<bool>, Condvar)>,
}

impl Place {
    /// A provider whose responses wait until the door is open.
    fn start(more: &str) -> Place {
        let door: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let own = door.clone();
        let recorder = Recorder::start(move |call| {
            if call.seen.target == "/ping" {
                return call.response(200, "", "");
            }
            let open = own.0.lock().unwrap();
            drop(own.1.wait_timeout_while(open, TIMEOUT, |open| !*open).unwrap());
            call.as_auth0()
        });
        let gateway = Gateway::start(&recorder.upstream(more));
        gateway.ready();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Place { recorder, gateway, runtime, door }
    }

    /// Opens the door when the gateway knows of all that clients have done so far: what comes later is looked at later.
    fn open_door_for_those_who_stay(&self) {
        assert_eq!(Request::new("GET", "/ping").send(&self.gateway.url()).status, 200);
        self.open_door();
    }

    fn open_door(&self) {
        *self.door.0.lock().unwrap() = true;
        self.door.1.notify_all();
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// How many connections are open.
    fn connections(&self) -> usize {
        let metrics = self.gateway.metrics();
        let line = metrics.lines().find(|line| line.starts_with("sessiongate_open_connections "));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Sends a request with so much of a body of this length.
    fn ask(&self, how: How, method: &str, path: &str, body: &'static str, length: usize) -> Client {
        let (address, token) = (self.address(), self.recorder.token());
        if how == How::Close {
            let mut stream = TcpStream::connect(address).unwrap();
            let framing = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{framing}\r\n{body}"
            )
            .unwrap();
            return Client::Http1(stream);
        }
        self.runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut client, mut connection) = h2::client::handshake(stream).await.unwrap();
            let pings = connection.ping_pong().unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            let mut request = http::Request::builder().method(method).uri(format!("http://{address}{path}"));
            request = request.header("authorization", format!("Bearer {token}"));
            request = request.header("content-type", "application/json");
            if length > 0 {
                request = request.header("content-length", length);
            }
            let (response, mut sending) = client.send_request(request.body(()).unwrap(), length == 0).unwrap();
            if length > 0 {
                sending.send_data(Bytes::from_static(body.as_bytes()), body.len() == length).unwrap();
            }
            Client::Http2(response, sending, pings, connection)
        })
    }

    fn wait_in_flight(&self, count: usize) {
        wait_for("requests in flight", || {
            let metrics = self.gateway.metrics();
            let line = metrics.lines().find(|line| line.starts_with("sessiongate_requests_in_flight "))?;
            (line.rsplit(' ').next()? == count.to_string()).then_some(())
        });
    }

    /// How many requests had this decision.
    fn count(&self, decision: &str) -> usize {
        let metrics = self.gateway.metrics();
        let own = format!("decision=\"{decision}\"");
        let lines =
            metrics.lines().filter(|line| line.starts_with("sessiongate_requests_total{") && line.contains(&own));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    }

    /// So many clients have left, and nothing else has happened.
    fn check(&self, what: &str, gone: usize) {
        let deadline = Instant::now() + TIMEOUT;
        while self.count("client_gone") != gone {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.gateway.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        for other in ["failed", "rejected"] {
            assert_eq!(self.count(other), 0, "{what}: {other}");
        }
        let log = self.gateway.log();
        assert!(
            !log.iter().any(|line| line.contains("WARN") || line.contains("requests to the provider fail")),
            "{what}: {log:?}"
        );
        let line = self.gateway.wait_for_log(|line| line.contains("client_gone"));
        assert!(line.contains("\"level\":\"DEBUG\"") && !line.contains("\"reason\""), "{what}: {line}");
    }
}

fn session() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

const CHANGE: &str = r#"{"session_metadata":{"team":"blue"}}"#;

#[test]
fn disconnect_while_waiting_for_the_provider_is_client_gone() {
    let cases: [(&str, &str, String, &'static str, &str); 5] = [
        ("a read that is not cached", "GET", session(), "", ""),
        ("a passed request", "GET", "/api/v2/rules".into(), "", ""),
        ("a passed request with a body", "PUT", "/api/v2/rules/x".into(), "{}", ""),
        ("a write", "PATCH", session(), CHANGE, "cache: {}"),
        ("what may change sessions", "PATCH", "/api/v2/users/auth0%7C1".into(), "{}", "cache: {}"),
    ];
    for how in HOWS {
        for (name, method, path, body, more) in &cases {
            let place = Place::start(more);
            let client = place.ask(how, method, path, body, body.len());
            place.recorder.wait(1);
            client.leave(how, &place);
            if *method == "PATCH" {
                // It is executed even if no client waits for it.
                place.open_door_for_those_who_stay();
            }
            place.check(&format!("{name}, {how:?}"), 1);
            place.open_door();
        }
    }
}

/// A byte of a further request hides from the gateway that its client has left, so it writes a response.
#[test]
fn response_that_does_not_reach_its_client_is_client_gone() {
    for more in ["", "HTTP2-Settings: AA\r\n"] {
        let place = Place::start("cache: {}");
        let mut stream = TcpStream::connect(place.address()).unwrap();
        let (path, token) = (session(), place.recorder.token());
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}\r\n").unwrap();
        place.recorder.wait(1);
        place.wait_in_flight(1);
        stream.write_all(b"G").unwrap();
        // A reset instead of an end.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        place.open_door_for_those_who_stay();
        place.check(more, 1);
        let line = place.gateway.wait_for_log(|line| line.contains("client_gone"));
        assert!(line.contains("\"bytes\":0"), "{line}");
    }
}

/// What the client still has to send is read for a while, so that the client can read the response.
#[test]
fn request_is_over_while_its_connection_lingers() {
    for more in ["", "HTTP2-Settings: AA\r\n"] {
        let place = Place::start("");
        let mut stream = TcpStream::connect(place.address()).unwrap();
        let head = format!("PATCH {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{more}\r\n{{", session());
        stream.write_all(head.as_bytes()).unwrap();
        wait_for("the end of a request before that of its connection", || {
            let metrics = place.gateway.metrics();
            let value =
                |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            let (requests, connections) =
                (value("sessiongate_requests_in_flight "), value("sessiongate_open_connections "));
            (place.count("rejected") == 1 && requests == "0" && connections == "1").then_some(())
        });
    }
}

#[test]
fn response_before_the_end_of_an_upload_can_be_read() {
    for (path, more) in [(session(), ""), (session(), "HTTP2-Settings: AA\r\n"), ("/api/v2/sessions".into(), "")] {
        let place = Place::start("");
        let mut stream = TcpStream::connect(place.address()).unwrap();
        let head = format!("PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // More than the gateway reads at once, and less than it discards.
        stream.write_all(&[b'x'; 500_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 4"), "{path} {more}: {response}");
    }
}

#[test]
fn disconnect_during_a_shared_fetch_is_client_gone() {
    for how in HOWS {
        let place = Place::start("cache: {}");
        let clients = [0; 3].map(|_| place.ask(how, "GET", &session(), "", 0));
        place.recorder.wait(1);
        place.wait_in_flight(3);
        let [first, second, _stays] = clients;
        first.leave(how, &place);
        second.leave(how, &place);
        place.open_door_for_those_who_stay();
        place.check(&format!("{how:?}"), 2);
        wait_for("the third response", || (place.count("responded") == 1).then_some(()));
        assert_eq!(place.recorder.count(), 2, "the fetch, and what was asked to know the order");
    }
}

#[test]
fn disconnect_while_waiting_for_a_slot_is_client_gone() {
    for how in HOWS {
        for (method, path, body) in
            [("GET", session(), ""), ("PATCH", session(), CHANGE), ("GET", "/api/v2/rules".into(), "")]
        {
            let place = Place::start("limits: { in_flight: 1, wait: 20s }");
            let before = place.ask(how, "GET", "/api/v2/rules/first", "", 0);
            place.recorder.wait(1);
            let client = place.ask(how, method, &path, body, body.len());
            place.wait_in_flight(2);
            client.leave(how, &place);
            place.check(&format!("{method} {path}, {how:?}"), 1);
            assert_eq!(place.recorder.count(), 1, "{method} {path}, {how:?}");
            place.open_door();
            drop(before);
        }
    }
}

/// While a request waits, a body that is too large to buffer is not read, not even to detect a disconnect.
#[test]
fn disconnect_while_a_large_body_waits_is_client_gone() {
    // As much as the system holds: what does not get there hides its end.
    let large: &'static str = "x".repeat(90_000).leak();
    for how in HOWS {
        for part in ["x", large] {
            let place = Place::start("limits: { in_flight: 1, wait: 20s }");
            let before = place.ask(how, "GET", "/api/v2/rules/first", "", 0);
            place.recorder.wait(1);
            let client = place.ask(how, "PUT", "/api/v2/rules/x", part, 1 << 20);
            place.wait_in_flight(2);
            client.leave(how, &place);
            place.check(&format!("{} bytes, {how:?}", part.len()), 1);
            assert_eq!(place.recorder.count(), 1);
            place.open_door();
            drop(before);
        }
    }
}

#[test]
fn disconnect_in_the_request_body_is_client_gone() {
    for how in HOWS {
        for (method, path) in
            [("PATCH", session()), ("PUT", "/api/v2/rules/x".into()), ("PATCH", "/api/v2/users/auth0%7C1".into())]
        {
            for cache in ["", "cache: {}"] {
                let place = Place::start(cache);
                let client = place.ask(how, method, &path, "{\"a\":", 100);
                place.wait_in_flight(1);
                client.leave(how, &place);
                place.check(&format!("{method} {path}, {how:?}"), 1);
            }
        }
    }
}

#[test]
fn disconnects_are_not_counted_as_provider_failures() {
    let place = Place::start("");
    place.ask(How::Reset, "GET", &session(), "", 0).leave(How::Reset, &place);
    place.open_door();
    let response = Request::new("GET", &session()).bearer(&place.recorder.token()).send(&place.gateway.url());
    assert_eq!(response.status, 200);
    assert!(!place.gateway.log().iter().any(|line| line.contains("succeed again")));
}
