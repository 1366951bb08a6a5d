//! Strict HTTP/1: a request must be framed in the one way that every server reads alike, within the limits of its head,
//! for one host. Any other is rejected before it reaches the provider, with a response, an access log line and a
//! metric, and its connection is closed. A valid request is forwarded once.

use crate::harness::recorder::{Call, Recorder, SESSION, Seen, Then};
use crate::harness::{Connection, Gate, Gateway, Http2Client, Request, Response, TIMEOUT, wait_for};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;

const GOOD: &str = r#"{"session_metadata":{"team":"blue"}}"#;

/// A gateway before a recording provider.
struct Place {
    recorder: Recorder,
    gateway: Gateway,
}

impl Place {
    fn start() -> Place {
        Place::before(Recorder::auth0(), "")
    }

    fn before(recorder: Recorder, clients: &str) -> Place {
        let gateway = Gateway::start(&format!("{clients}{}", recorder.upstream("")));
        gateway.ready();
        Place { recorder, gateway }
    }

    fn host(&self) -> String {
        self.gateway.address().to_string()
    }

    /// A request line and headers, with `{host}` and `{auth}` filled in.
    fn text(&self, text: &str) -> String {
        let auth = format!("Authorization: Bearer {}", self.recorder.token());
        text.replace("{host}", &self.host()).replace("{auth}", &auth).replace("{id}", SESSION)
    }

    /// All responses on a connection that these bytes are sent on, until the gateway ends it.
    fn responses(&self, bytes: &[u8]) -> Vec<Response> {
        let mut connection = Connection::open(self.gateway.address()).unwrap();
        // A gateway that rejects may close before it has read everything.
        let _ = connection.write(bytes);
        std::iter::from_fn(|| connection.response(false).ok()).collect()
    }
}

/// A request that is rejected: what is wrong with it, as it is sent, and the status.
struct Row {
    name: &'static str,
    text: String,
    status: u16,
}

/// What is wrong with requests to both paths, a pass-through and a governed one.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in ["POST /x", "PATCH /api/v2/sessions/{id}"] {
        let mut row = |name, status, text: &str| {
            rows.push(Row { name, text: text.replace("{line}", line), status });
        };
        lines(&mut row);
        framings(&mut row);
        hosts(&mut row);
        targets(&mut row);
    }
    rows
}

type Add<'a> = &'a mut dyn FnMut(&'static str, u16, &str);

const END: &str = "Host: {host}\r\n{auth}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

fn lines(row: Add) {
    let mut with = |name, text: &str| row(name, 400, &text.replace("{end}", END));
    with("a bare LF behind the request line", "{line} HTTP/1.1\n{end}");
    with("a bare LF behind a header", "{line} HTTP/1.1\r\nX: y\n{end}");
    with("a bare LF at the end of the head", "{line} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\nContent-Length: 0\r\n\n");
    with("only bare LFs", "{line} HTTP/1.1\nHost: {host}\n{auth}\nContent-Length: 0\n\n");
    with("a bare CR behind a header", "{line} HTTP/1.1\r\nX: y\r{end}");
    with("a bare CR within a value", "{line} HTTP/1.1\r\nX: y\rz\r\n{end}");
    with("NUL within a value", "{line} HTTP/1.1\r\nX: y\0z\r\n{end}");
    with("a control character within a value", "{line} HTTP/1.1\r\nX: y\x01z\r\n{end}");
    with("DEL within a value", "{line} HTTP/1.1\r\nX: y\x7fz\r\n{end}");
    with("a folded header", "{line} HTTP/1.1\r\nX: y\r\n z\r\n{end}");
    with("a fold before the first header", "{line} HTTP/1.1\r\n X: y\r\n{end}");
    with("space before a colon", "{line} HTTP/1.1\r\nX : y\r\n{end}");
    with("a tab before a colon", "{line} HTTP/1.1\r\nX\t: y\r\n{end}");
    with("no name", "{line} HTTP/1.1\r\n: y\r\n{end}");
    with("no colon", "{line} HTTP/1.1\r\nX\r\n{end}");
    with("a name that is no token", "{line} HTTP/1.1\r\nX{: y\r\n{end}");
    with("a name that is no ASCII", "{line} HTTP/1.1\r\nX\u{e9}: y\r\n{end}");
    with("a method that is no token", "P@ST /x HTTP/1.1\r\n{end}");
    with("a space before the method", " {line} HTTP/1.1\r\n{end}");
    with("two empty lines before the request", "\r\n\r\n{line} HTTP/1.1\r\n{end}");
    with("a space behind the version", "{line} HTTP/1.1 \r\n{end}");
    with("two spaces before the version", "{line}  HTTP/1.1\r\n{end}");
    with("a tab for a space", "{line}\tHTTP/1.1\r\n{end}");
    with("no version", "{line}\r\n{end}");
    with("HTTP/1.2", "{line} HTTP/1.2\r\n{end}");
    with("HTTP/2.0", "{line} HTTP/2.0\r\n{end}");
    with("HTTP/0.9", "{line} HTTP/0.9\r\n{end}");
    with("the greeting of TLS", "\x16\x03\x01\0\x01{line} HTTP/1.1\r\n{end}");
}

fn framings(row: Add) {
    let mut with = |name, fields: &str| {
        row(
            name,
            400,
            &format!("{{line}} HTTP/1.1\r\nHost: {{host}}\r\n{{auth}}\r\nContent-Type: application/json\r\n{fields}"),
        );
    };
    with("a length beside chunks", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    with("chunks beside a length", "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    with("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x");
    with("the same length twice", "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}");
    with("a list of lengths", "Content-Length: 2, 2\r\n\r\n{}");
    with("a length with a sign", "Content-Length: +2\r\n\r\n{}");
    with("a negative length", "Content-Length: -2\r\n\r\n{}");
    with("a length in hexadecimal", "Content-Length: 0x2\r\n\r\n{}");
    with("a length with a zero before it", "Content-Length: 02\r\n\r\n{}");
    with("an empty length", "Content-Length:\r\n\r\n{}");
    with("a length beyond all", "Content-Length: 99999999999999999999\r\n\r\n{}");
    with("a length spelled with an underscore", "Content_Length: 9\r\nContent-Length: 2\r\n\r\n{}");
    with("a coding spelled with an underscore", "Transfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}");
    with("a type spelled with an underscore", "Content_Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
    for coding in
        ["identity", "gzip", "gzip, chunked", "chunked, chunked", "chunked, identity", "xchunked", "", "\"chunked\""]
    {
        with("a coding other than chunked", &format!("Transfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"));
    }
    with("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    for (name, chunks) in [
        ("a bare LF behind a size", "2\n{}\r\n0\r\n\r\n"),
        ("a bare LF behind a chunk", "2\r\n{}\n0\r\n\r\n"),
        ("a bare LF at the end of chunks", "2\r\n{}\r\n0\r\n\n"),
        ("a bare LF within an extension", "2;a\nb\r\n{}\r\n0\r\n\r\n"),
        ("a bare CR within an extension", "2;a\rb\r\n{}\r\n0\r\n\r\n"),
        ("a size that is none", "zz\r\n{}\r\n0\r\n\r\n"),
        ("a size with a sign", "+2\r\n{}\r\n0\r\n\r\n"),
        ("a size with 0x", "0x2\r\n{}\r\n0\r\n\r\n"),
        ("space behind a size", "2 \r\n{}\r\n0\r\n\r\n"),
        ("a chunk that is longer than its size", "2\r\n{} \r\n0\r\n\r\n"),
        ("a size beyond all", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("a trailer that is none", "2\r\n{}\r\n0\r\nX\r\n\r\n"),
        ("a trailer that is folded", "2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n"),
    ] {
        with(name, &format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    }
    row(
        "chunks in HTTP/1.0",
        400,
        "{line} HTTP/1.0\r\nHost: {host}\r\n{auth}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

fn hosts(row: Add) {
    row("no host", 400, "{line} HTTP/1.1\r\n{auth}\r\n\r\n");
    row("the host twice", 400, "{line} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n{auth}\r\n\r\n");
    for host in
        ["", ":80", "a:", "a:b", "a..b", "a b", "a/../b?x", "a@b", "a,b", "a\\b", "a#b", "[::1", "\u{e9}", "a:65536"]
    {
        row("an odd host", 400, &format!("{{line}} HTTP/1.1\r\nHost: {host}\r\n{{auth}}\r\n\r\n"));
    }
    row("an odd host of HTTP/1.0", 400, "{line} HTTP/1.0\r\nHost: a/b\r\n{auth}\r\n\r\n");
}

fn targets(row: Add) {
    for target in
        ["/x#y", "/x y", "/\u{e9}", "/x?y#", "/<x>", "/\"x\"", "/x\x7f", "x", "*", "?x", "http:/x", "ftp://{host}/x"]
    {
        row("an odd target", 400, &format!("POST {target} HTTP/1.1\r\nHost: {{host}}\r\n{{auth}}\r\n\r\n"));
    }
    for target in [
        "http://other.example/x",
        "http://{host}.example/x",
        "http://a@{host}/x",
        "http:///x",
        "https://other.example/x",
    ] {
        row(
            "a whole URL of another host",
            400,
            &format!("POST {target} HTTP/1.1\r\nHost: {{host}}\r\n{{auth}}\r\n\r\n"),
        );
    }
    row("a whole URL without a host beside it", 400, "POST http://{host}/x HTTP/1.0\r\n{auth}\r\n\r\n");
    row("TRACE", 405, "TRACE /x HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n");
    row("CONNECT", 405, "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n");
    row("CONNECT of a path", 405, "CONNECT /x HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n");
}

/// What is wrong with the response to a rejected request.
fn response_fault(response: &Response, status: u16) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let closes = response.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let fits = response.status == status && body["statusCode"] == status && body["message"].is_string();
    (!fits || !closes || response.header("X-Request-Id").is_none()).then(|| format!("{response:?} {}", response.text()))
}

#[test]
fn malformed_requests_are_rejected_on_every_route_and_end_the_connection() {
    let place = Place::start();
    let rows = rows();
    let mut faults = String::new();
    for row in &rows {
        let text = place.text(&row.text);
        // What is sent behind it is no request any more.
        let behind = place.text("GET /behind HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let responses = place.responses(format!("{text}{behind}").as_bytes());
        let fault = match responses.as_slice() {
            [response] => response_fault(response, row.status),
            other => Some(format!("{} responses", other.len())),
        };
        if let Some(fault) = fault {
            let _ = writeln!(faults, "{}: {:?}: {fault}", row.name, row.text);
        }
    }
    let seen = place.recorder.seen();
    // A chunk that is bad comes when the request is on its way.
    let reached: Vec<&Seen> =
        seen.iter().filter(|seen| !seen.body.is_empty() || seen.all("Transfer-Encoding").is_empty()).collect();
    assert!(faults.is_empty(), "{faults}");
    assert!(reached.is_empty(), "the provider got {reached:?}");
    // Each is accounted for.
    let count = rows.len();
    let lines = wait_for("the lines of all requests", || {
        let log = place.gateway.log();
        let lines: Vec<Value> = log
            .iter()
            .filter(|line| line.contains(r#""message":"request""#))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (lines.len() >= count).then_some(lines)
    });
    assert_eq!(lines.len(), count);
    for line in &lines {
        assert!(line["decision"] == "rejected" && line["upstream"] == "auth0" && line["reason"].is_string(), "{line}");
    }
    let counted: usize = place
        .gateway
        .metrics()
        .lines()
        .filter(|line| line.starts_with("sessiongate_rejections_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(counted, count);
}

/// Rejections, too, do not depend on how the bytes arrive.
#[test]
fn requests_may_arrive_in_any_pieces() {
    let place = Place::start();
    let good = place.text("POST /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n");
    let bad = place.text("POST /x HTTP/1.1\r\nHost: {host}\r\nX: y\nContent-Length: 3\r\n\r\nabc");
    for (text, status) in [(&good, 202), (&bad, 400)] {
        for size in [1, 2, 7, 23, 24, 25, 64] {
            let mut connection = Connection::open(place.gateway.address()).unwrap();
            for part in text.as_bytes().chunks(size) {
                // A rejection may come before the end.
                let _ = connection.write(part);
            }
            assert_eq!(connection.response(false).unwrap().status, status, "{size}");
        }
    }
    assert!(place.recorder.seen().iter().all(|seen| seen.text() == "abc"));
    assert_eq!(place.recorder.count(), 7);
}

#[test]
fn valid_requests_are_forwarded_in_canonical_form() {
    let place = Place::start();
    let address = place.recorder.address().to_string();
    for (name, text, body) in [
        ("one empty line before", "\r\nPOST /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        (
            "chunks",
            "POST /x HTTP/1.1\r\nHost: {host}\r\ntransfer-encoding:\tChunked \r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\nX: y\r\n\r\n",
            "abc",
        ),
        ("no body", "POST /x HTTP/1.1\r\nHost: {host}\r\n\r\n", ""),
        ("a whole URL", "POST http://{host}/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("HTTP/1.0 without a host", "POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("a host without a port", "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("an address of version 6", "POST /x HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        (
            "a value in Latin-1 and tabs",
            "POST /x HTTP/1.1\r\nHost: {host}\r\nX-Own: \ta\tb\u{e9}\t\r\nContent-Length: 3\r\n\r\nabc",
            "abc",
        ),
        (
            "a name with an underscore",
            "POST /x HTTP/1.1\r\nHost: {host}\r\nX_Own: 1\r\nX_Forwarded_For: 6.6.6.6\r\nContent-Length: 3\r\n\r\nabc",
            "abc",
        ),
    ] {
        let before = place.recorder.count();
        let mut connection = Connection::open(place.gateway.address()).unwrap();
        connection.write(place.text(text).as_bytes()).unwrap();
        assert_eq!(connection.response(false).unwrap().status, 202, "{name}");
        let seen = place.recorder.seen().split_off(before);
        let [one] = seen.as_slice() else { panic!("{name}: {seen:?}") };
        assert_eq!((one.target.as_str(), one.text().as_str()), ("/x", body), "{name}");
        assert_eq!(one.all("Host"), [address.as_str()], "{name}");
        assert!(one.all("Content-Length").len() + one.all("Transfer-Encoding").len() <= 1, "{name}: {one:?}");
        assert!(!String::from_utf8_lossy(&one.head).contains("6.6.6.6"), "{name}");
    }
}

/// Each gets its own response, also if the first takes longest.
#[test]
fn pipelined_requests_are_served_in_order() {
    let gate = Gate::closed();
    let own = gate.clone();
    let recorder = Recorder::start(move |call: &mut Call| {
        if call.seen.method == "PATCH" {
            return call.as_auth0();
        }
        let body = call.body()?;
        if call.seen.target == "/slow" {
            own.pass();
        }
        let said = json!({"target": call.seen.target, "body": String::from_utf8_lossy(&body)});
        call.json(200, &said)
    });
    let place = Place::before(recorder, "");
    let session = place
        .text("PATCH /api/v2/sessions/{id} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\nContent-Type: application/json\r\n");
    let evil = format!("{session}Content-Length: 2\r\n\r\n{{}}");
    let good = format!("{session}Content-Length: {}\r\n\r\n{GOOD}", GOOD.len());
    let passed = |target: &str, body: &str| {
        place.text(&format!("POST {target} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    let chunked = place
        .text("POST /chunked HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n");
    let get = place.text("GET /get HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let requests = [
        (passed("/slow", "first"), 200, "/slow"),
        (good.clone(), 200, "blue"),
        (get.clone(), 200, "/get"),
        (evil, 400, "invalid_body"),
        (chunked, 200, "GET /"),
        (passed("/large", &"x".repeat(100_000)), 200, "/large"),
        (good, 200, "blue"),
        (get, 200, "/get"),
        (place.text("GET /last HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), 200, "/last"),
        (passed("/behind", "nobody"), 0, ""),
    ];
    let bytes: Vec<u8> = requests.iter().flat_map(|(text, ..)| text.bytes()).collect();
    // All at once, and in pieces that end within requests.
    for size in [bytes.len(), 1000, 77] {
        let before = place.recorder.count();
        let stream = TcpStream::connect(place.gateway.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let (mut writer, mut reader) = (stream.try_clone().unwrap(), stream);
        let bytes = bytes.clone();
        let writing = std::thread::spawn(move || {
            for part in bytes.chunks(size) {
                // What is sent behind the end of the connection may not arrive.
                let _ = writer.write_all(part);
            }
        });
        place.recorder.wait(before + 1);
        // Others could have overtaken it meanwhile: as many requests of other connections have been served as there
        // are.
        for _ in &requests {
            let other = place.text("GET /other HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let mut connection = Connection::open(place.gateway.address()).unwrap();
            connection.write(other.as_bytes()).unwrap();
            assert_eq!(connection.response(false).unwrap().status, 200);
        }
        let others = requests.len();
        assert_eq!(place.recorder.count() - before, 1 + others, "{size}: the first is not done");
        gate.set(true);
        let mut whole = Vec::new();
        let _ = reader.read_to_end(&mut whole);
        gate.set(false);
        writing.join().unwrap();
        let whole = String::from_utf8_lossy(&whole).into_owned();
        let responses: Vec<&str> = whole.split("HTTP/1.1 ").skip(1).collect();
        assert_eq!(responses.len(), requests.len() - 1, "{size}: {whole}");
        for (response, (text, status, said)) in responses.iter().zip(&requests) {
            assert!(response.starts_with(&status.to_string()) && response.contains(said), "{size}: {text}: {response}");
        }
        assert_eq!(
            place.recorder.count() - before - others,
            requests.len() - 2,
            "{size}: the rejected one and the last stay here"
        );
    }
}

/// A request that arrives while the previous one is in progress is neither lost nor the end of the previous one.
#[test]
fn early_request_waits_for_its_turn() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let recorder = Recorder::start(move |call: &mut Call| {
        call.body()?;
        if call.seen.target == "/first" {
            gone.lock().unwrap().recv_timeout(TIMEOUT).unwrap();
        }
        call.json(200, &json!({"target": call.seen.target}))
    });
    let place = Place::before(recorder, "");
    let mut connection = Connection::open(place.gateway.address()).unwrap();
    connection.write(place.text("GET /first HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    place.recorder.wait(1);
    connection
        .write(place.text("GET /second HTTP/1.1\r\nHost: {host}\r\n\r\nGET /third HTTP/1.1\r\n").as_bytes())
        .unwrap();
    go.send(()).unwrap();
    assert_eq!(connection.response(false).unwrap().json()["target"], "/first");
    assert_eq!(connection.response(false).unwrap().json()["target"], "/second");
    connection.write(place.text("Host: {host}\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(connection.response(false).unwrap().json()["target"], "/third");
}

/// If the provider accepts the upgrade, they pass through the tunnel. Otherwise they are the next request.
#[test]
fn bytes_behind_an_upgrade_wait_for_its_response() {
    let recorder = Recorder::start(|call: &mut Call| {
        if call.seen.target == "/rejected" {
            return call.response(404, "", "{}");
        }
        call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        call.take(4)?;
        call.send("bye")?;
        Ok(Then::Close)
    });
    let place = Place::before(recorder, "");
    let upgrade = |target: &str| {
        place.text(&format!(
            "GET {target} HTTP/1.1\r\nHost: {{host}}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
    };
    // They are no HTTP, and would be rejected as a request.
    let mut connection = Connection::open(place.gateway.address()).unwrap();
    connection.write(format!("{}\0\n\r\x01", upgrade("/socket")).as_bytes()).unwrap();
    assert_eq!(connection.head().unwrap().0, 101);
    assert_eq!(connection.body(&[]).unwrap(), b"bye");
    assert_eq!(place.recorder.seen()[0].body, b"\0\n\r\x01");
    // If the provider declines the upgrade, they are the next request, which is validated.
    let responses = place.responses(format!("{}\0\n\r\x01", upgrade("/rejected")).as_bytes());
    assert_eq!(responses.iter().map(|response| response.status).collect::<Vec<_>>(), [404, 400]);
}

/// Over both HTTP versions, for governed and pass-through requests.
#[test]
fn head_limits_are_exact() {
    let limits = "clients: { limits: { header_block: 4KiB, headers: 20, header: 1KiB, uri: 512B } }\n";
    for (clients, block, count, single, uri) in [(limits, 4096, 20, 1024, 512), ("", 32 << 10, 100, 8 << 10, 8 << 10)] {
        let place = Place::before(Recorder::auth0(), clients);
        let client = Http2Client::of(&place.gateway);
        for path in ["/x".to_owned(), format!("/api/v2/sessions/{SESSION}")] {
            let base = [
                ("host".to_owned(), place.host()),
                ("authorization".into(), format!("Bearer {}", place.recorder.token())),
            ];
            let with = |more: Vec<(String, String)>| base.iter().cloned().chain(more).collect::<Vec<_>>();
            let sized = |name: &str, size: usize| (name.to_owned(), "y".repeat(size - name.len() - 2));
            // As HTTP/1 has them; HTTP/2 has no `host`, but one more that makes up for it.
            let size = |fields: &[(String, String)]| {
                fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>()
            };
            let filled = |to: usize| {
                let mut fields = with(vec![]);
                while to - size(&fields) > single + 2 {
                    let part = (to - size(&fields) - 50).min(single);
                    fields.push(sized("x-fill", part));
                }
                fields.push(sized("x-rest", to - size(&fields) - 2));
                fields
            };
            let many = |total: usize| with((base.len()..total).map(|at| (format!("x-{at}"), "y".to_owned())).collect());
            for (name, at_limit, beyond, status) in [
                ("a header", with(vec![sized("x-own", single)]), with(vec![sized("x-own", single + 1)]), 431),
                ("how many", many(count), many(count + 1), 431),
                ("all together", filled(block), filled(block + 1), 431),
            ] {
                for (fields, expected) in [(&at_limit, 200), (&beyond, status)] {
                    let before = place.recorder.count();
                    assert_eq!(http1(&place, &path, fields), expected, "{name} of HTTP/1 at {path}");
                    assert_eq!(client.get(&path, fields), expected, "{name} of HTTP/2 at {path}");
                    let reached = place.recorder.count() - before;
                    assert_eq!(reached, if expected == 200 { 2 } else { 0 }, "{name} at {path}");
                }
            }
        }
        let target = |length: usize| format!("/x?{}", "y".repeat(length - 3));
        for (length, expected) in [(uri, 200), (uri + 1, 414)] {
            let fields = vec![("host".to_owned(), place.host())];
            assert_eq!(http1(&place, &target(length), &fields), expected);
            assert_eq!(client.get(&target(length), &fields), expected);
        }
    }
}

fn http1(place: &Place, path: &str, fields: &[(String, String)]) -> u16 {
    let request = Request::new("GET", path);
    let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
    let mut connection = Connection::open(place.gateway.address()).unwrap();
    let _ = connection.write(&request.bytes(place.gateway.address()));
    let response = connection.response(false).unwrap();
    assert!(response.status < 400 || response_fault(&response, response.status).is_none(), "{response:?}");
    response.status
}

/// The gateway responds while the head still arrives.
#[test]
fn client_that_sends_too_much_receives_the_rejection() {
    let place = Place::start();
    for (text, status) in [
        (format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(600_000)), 431),
        (format!("GET /x HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(100_000)), 431),
        (format!("GET /{}", "y".repeat(600_000)), 414),
    ] {
        let responses = place.responses(text.as_bytes());
        let [response] = responses.as_slice() else { panic!("{responses:?}") };
        assert_eq!(response_fault(response, status), None);
    }
    assert_eq!(place.recorder.count(), 0);
    // Also where the request is on its way, and more of it comes.
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let text = format!(
        "POST /x HTTP/1.1\r\nHost: {{host}}\r\nTransfer-Encoding: chunked\r\n\r\n{}zz\r\n{}",
        chunk.repeat(8),
        chunk.repeat(8)
    );
    let responses = place.responses(place.text(&text).as_bytes());
    let [response] = responses.as_slice() else { panic!("{responses:?}") };
    assert_eq!(response_fault(response, 400), None);
}

/// The HTTP/2 library validates the bytes; the gateway validates hosts, targets and names.
#[test]
fn http2_heads_are_validated_like_http1_heads() {
    let place = Place::start();
    let client = Http2Client::of(&place.gateway);
    let host = place.host();
    let request = |method: &str, uri: &str| http::Request::builder().method(method).uri(uri).body(()).unwrap();
    let with = |mut request: http::Request<()>, name: &'static str, value: &str| {
        request.headers_mut().append(name, value.parse().unwrap());
        request
    };
    let path = format!("http://{host}/x");
    let session = format!("http://{host}/api/v2/sessions/{SESSION}");
    for uri in [&path, &session] {
        for (name, request, status) in [
            ("TRACE", request("TRACE", uri), 405),
            ("content_length", with(request("GET", uri), "content_length", "3"), 400),
            ("transfer_encoding", with(request("GET", uri), "transfer_encoding", "chunked"), 400),
            ("content_type", with(request("GET", uri), "content_type", "text/plain"), 400),
            ("another host", with(request("GET", uri), "host", "other.example"), 400),
        ] {
            assert_eq!(client.send(request, None), status, "{name} at {uri}");
        }
    }
    for authority in ["a..b", "a!b", "a:99999", "a:", "%61", "[::1%25x]"] {
        let Ok(uri) = format!("http://{authority}/x").parse::<http::Uri>() else { continue };
        let mut request = http::Request::get("http://a/x").body(()).unwrap();
        *request.uri_mut() = uri;
        assert_eq!(client.send(request, None), 400, "{authority}");
    }
    for target in ["/\u{e9}", "/\"x\"", "/x?y`z"] {
        let uri = format!("http://{host}{target}");
        let expected = if target.contains('`') { 200 } else { 400 };
        assert_eq!(client.send(request("GET", &uri), None), expected, "{target}");
    }
    assert_eq!(place.recorder.count(), 1);
}

/// HTTP/2 clients may split a cookie into several headers. HTTP/1 has one header, and some servers read only the first.
#[test]
fn cookie_crumbs_become_one_header() {
    let place = Place::start();
    let client = Http2Client::of(&place.gateway);
    for path in ["/x".to_owned(), format!("/api/v2/sessions/{SESSION}")] {
        let fields = |cookies: &[&str]| -> Vec<(String, String)> {
            let base = [("authorization".to_owned(), format!("Bearer {}", place.recorder.token()))];
            base.into_iter().chain(cookies.iter().map(|cookie| ("cookie".to_owned(), (*cookie).to_owned()))).collect()
        };
        for (cookies, whole) in [(&["a=1", "b=2", "c=3; d=4"][..], "a=1; b=2; c=3; d=4"), (&["a=1"], "a=1")] {
            let before = place.recorder.count();
            assert_eq!(client.get(&path, &fields(cookies)), 200);
            assert_eq!(http1(&place, &path, &fields(cookies)), 200);
            for seen in &place.recorder.seen()[before..] {
                assert_eq!(seen.all("Cookie"), [whole], "{path}");
            }
            assert_eq!(place.recorder.count() - before, 2);
        }
    }
}
