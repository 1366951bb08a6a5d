//! What a provider gets of a pass-through request, and the client of its response, whether Pingora forwards them or not.

use super::client::{Client, sorted};
use super::{BTreeMap, Gateway, HashSet, LONG, Ordering, Random, assert_same};
use parking_lot::Mutex;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How many requests; [`LONG`] where `SESSIONGATE_LONG` is set.
const REQUESTS: u64 = 4_000;
/// How many requests follow each other on one pair of connections.
const BATCH: u64 = 50;

/// A response of the provider, as its bytes.
struct Script {
    parts: Vec<Vec<u8>>,
    /// Whether the provider closes the connection behind it.
    closes: bool,
}

impl Script {
    /// The response to the request with this number.
    fn new(number: u64, is_head: bool) -> Script {
        let random = &mut Random(number);
        let mut bytes = Vec::new();
        if random.one_in(10) {
            let early = ["100 Continue", "103 Early Hints", "102 Processing", "101 Switching Protocols"];
            let early = if random.one_in(10) { early[3] } else { random.pick(&early[..3]) };
            bytes.extend(format!("HTTP/1.1 {early}\r\nLink: </a>\r\nX-own: é\r\n\r\n").bytes());
        }
        let body = "abcdefghij".repeat(random.below(4)) + &"k".repeat(if random.one_in(12) { 70_000 } else { 0 });
        let versions = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"];
        let version =
            if random.one_in(80) { random.pick(&["HTTP/2", "HTTP/1.2", "ICY"]) } else { random.pick(&versions) };
        let statuses = [
            "200 OK",
            "200 OK",
            "200 Fine",
            "404 Not Found",
            "204 No Content",
            "304 Not Modified",
            "500 ",
            "302 Found",
            "401 Unauthorized",
            "429 Too Many Requests",
            "200",
        ];
        let status = if random.one_in(60) {
            random.pick(&["999 Odd", "600 x", "99 x", "2000 x", "abc x"])
        } else {
            random.pick(&statuses)
        };
        bytes.extend(format!("{version} {status}\r\n").bytes());
        let mut closes = random.one_in(8);
        let (mut lines, mut sent) = (Vec::new(), body.clone().into_bytes());
        match random.below(24) {
            0..9 => lines.push(format!("Content-Length: {}", body.len())),
            9..15 => {
                lines.push(random.pick(&["Transfer-Encoding: chunked", "transfer-encoding: Chunked"]).to_owned());
                (sent, closes) = chunked(&body, random, closes);
            }
            15..18 => closes = true,
            18 => {
                lines.push(format!("Content-Length: {}", body.len() + 1 + random.below(9)));
                closes = true;
            }
            19 if !body.is_empty() => {
                lines.push(format!("Content-Length: {}", body.len() - 1));
                closes = true;
            }
            20 if random.one_in(2) => {
                let length = body.len();
                let same = [
                    format!("{length}, {length}"),
                    format!("{length},{length}"),
                    format!("{length} , {length},{length}"),
                    format!("{length},\r\n {length}"),
                    format!("{length}, {length}\r\nContent-Length: {length}"),
                ];
                lines.push(format!("Content-Length: {}", same[random.below(same.len())]));
            }
            20 => lines.extend([format!("Content-Length: {}", body.len()), format!("Content-Length: {}", body.len())]),
            21 => {
                lines.push(format!(
                    "Content-Length: {}",
                    random.pick(&["abc", "+5", "-1", "5, 6", "0x5", "", "18446744073709551616"])
                ));
                closes = true;
            }
            22 => {
                lines.push(format!(
                    "Transfer-Encoding: {}",
                    random.pick(&["gzip, chunked", "identity", "chunked, chunked", "gzip", "xchunked", ""])
                ));
                closes = true;
            }
            _ => {
                lines.extend(["Transfer-Encoding: chunked".to_owned(), "Content-Length: 3".to_owned()]);
                (sent, closes) = chunked(&body, random, closes);
            }
        }
        let others = [
            "Content-Type: text/plain",
            "content-TYPE: application/json",
            "ETag: \"a\"",
            "x-OWN: 1",
            "X-Own:2",
            "X-Other:  a b  ",
            "Server: own",
            "Set-Cookie: a=b",
            "set-cookie: c=d",
            "Connection: close",
            "connection: keep-alive",
            "Connection: close, x-own",
            "Connection: X-Own, Content-Length",
            "Keep-Alive: timeout=5",
            "Proxy-Authenticate: Basic",
            "Trailer: X-T",
            "Upgrade: h2c",
            "TE: trailers",
            "Date: Thu, 01 Jan 1970 00:00:00 GMT",
            "X-Request-Id: theirs",
            "Retry-After: 3",
            "X-Latin: caf\u{e9}",
            "X-Empty:",
            "Location: /elsewhere",
            "WWW-Authenticate: Bearer",
            "Vary: *",
            "Proxy-Connection: keep-alive",
        ];
        for _ in 0..random.below(6) {
            lines.push(random.pick(&others).to_owned());
        }
        if random.one_in(60) {
            lines.push(
                random
                    .pick(&[
                        "X-Folded: a\r\n b",
                        "no colon",
                        " X-Space: a",
                        "X-Space : a",
                        "X\u{0}: a",
                        "X-Nul: a\u{0}b",
                        ": empty",
                        "X-Cr: a\rb",
                    ])
                    .to_owned(),
            );
        }
        if random.one_in(100) {
            lines.extend((0..300).map(|number| format!("X-{number}: a")));
        }
        if random.one_in(100) {
            lines.push(format!("X-Long: {}", "x".repeat(66_000)));
        }
        if random.one_in(20) {
            let at = random.below(lines.len() + 1);
            let last = lines.split_off(at);
            lines.splice(0..0, last);
        }
        let is_bodiless = is_head || status.starts_with("204") || status.starts_with("304");
        let rest = match random.below(40) {
            0 => "more",
            1 if is_bodiless => "body",
            _ => "",
        };
        closes |= !rest.is_empty();
        if closes {
            // The gateway must not keep a connection that is about to be closed: whether it has noticed is a matter of
            // time.
            lines.insert(0, "Connection: close".to_owned());
        }
        for line in lines {
            bytes.extend(line.bytes().chain(*b"\r\n"));
        }
        bytes.extend(b"\r\n");
        if !is_bodiless {
            bytes.extend(sent);
        }
        bytes.extend(rest.bytes());
        if rest.is_empty() && random.one_in(40) {
            bytes.truncate(random.below(bytes.len()));
            closes = true;
        }
        let cut = if random.one_in(3) { random.below(bytes.len() + 1) } else { bytes.len() };
        let rest = bytes.split_off(cut);
        Script { parts: vec![bytes, rest], closes }
    }
}

/// A body in chunks, some of them with what chunks may have, or with a fault.
fn chunked(body: &str, random: &mut Random, closes: bool) -> (Vec<u8>, bool) {
    let mut chunks = String::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + random.below(rest.len()));
        let extension = if random.one_in(10) { ";a=b" } else { "" };
        chunks += &format!("{:x}{extension}\r\n{chunk}\r\n", chunk.len());
        rest = after;
    }
    let ends = ["0\r\n\r\n", "0\r\nX-T: a\r\n\r\n", "00\r\n\r\n"];
    let faults = ["0\r\n", "z\r\n", "-1\r\n\r\n", "5\r\nabc\r\n0\r\n\r\n", "0\n\n"];
    let is_faulty = random.one_in(30);
    chunks += random.pick(if is_faulty { &faults } else { &ends });
    (chunks.into_bytes(), closes || is_faulty)
}

/// What the provider got of each request: by its number, and the way it came.
type Requests = Arc<Mutex<BTreeMap<(u64, String), String>>>;

/// A provider that responds as the number in the target says.
async fn provide(listener: TcpListener, requests: Requests) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let requests = requests.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            let mut unread = Vec::new();
            while let Some(request) = next_request(&mut stream, &mut unread).await {
                let number = request.split("/p/").nth(1).unwrap();
                let number: u64 = number.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
                let way = request.lines().find_map(|line| line.strip_prefix("x-way: ")).unwrap().to_owned();
                let script = Script::new(number, request.starts_with("HEAD"));
                requests.lock().insert((number, way), seen(&request));
                for part in &script.parts {
                    if stream.write_all(part).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                if script.closes {
                    return;
                }
            }
        });
    }
}

/// The next request on a connection, with its body.
async fn next_request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = unread.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            let whole = if head.contains("transfer-encoding: chunked") {
                unread.windows(5).position(|end| end == b"0\r\n\r\n").map(|at| at + 5)
            } else {
                Some(end + 4 + length).filter(|whole| unread.len() >= *whole)
            };
            if let Some(whole) = whole {
                let request: Vec<u8> = unread.drain(..whole).collect();
                return Some(String::from_utf8_lossy(&request).into_owned());
            }
        }
        let mut part = [0; 8192];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => unread.extend_from_slice(&part[..read]),
        }
    }
}

/// A request as the provider got it, without what differs from request to request.
fn seen(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let lines = head.lines().map(|line| {
        let name = line.split(':').next().unwrap();
        let is_own = ["x-request-id", "traceparent", "x-way"].contains(&name.to_ascii_lowercase().as_str());
        if is_own { name } else { line }.to_owned()
    });
    let is_chunked = head.lines().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    let body = if is_chunked { body.replace(|c| c != 'z', "") } else { body.to_owned() };
    sorted(lines) + "\n" + &body
}

/// A response as its client got it.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    /// The informational responses before it.
    early: String,
    head: String,
    body: String,
    /// Whether it ended where it said.
    is_whole: bool,
    /// Whether the connection has ended.
    is_closed: bool,
}

impl Received {
    /// Whether the gateway sent the same. Of a response that breaks off, how much has arrived is a matter of time.
    fn is_like(&self, other: &Received) -> bool {
        let is_part = self.body.starts_with(&other.body) || other.body.starts_with(&self.body);
        let bodies = if self.is_whole { self.body == other.body } else { is_part };
        let ends = |one: &Received| (one.is_whole, one.is_closed);
        bodies && (&self.early, &self.head, ends(self)) == (&other.early, &other.head, ends(other))
    }
}

impl Client {
    /// Sends a request, and returns the response to it, with its ID. The connection may be closed then.
    async fn exchange(&mut self, request: &[u8], cut: usize, is_head: bool) -> (Received, String) {
        let (before, after) = request.split_at(cut);
        self.send(&[before, after]).await;
        let (mut received, id) = self.received(is_head).await;
        // Pingora may not have sent them when it rejects the final one.
        if ["HTTP/1.1 502", "HTTP/1.1 503"].iter().any(|start| received.head.starts_with(start)) {
            received.early.clear();
        }
        received.is_closed = self.stream.is_none();
        (received, id)
    }

    async fn received(&mut self, is_head: bool) -> (Received, String) {
        let [early, body] = [String::new(), String::new()];
        let mut received = Received { early, head: String::new(), body, is_whole: true, is_closed: false };
        let (status, lower) = loop {
            let Some(head) = self.until(b"\r\n\r\n").await else {
                received.head = self.closed();
                return (received, String::new());
            };
            let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let seen = sorted(head.lines().map(|line| {
                let name = line.split(':').next().unwrap_or_default();
                let is_own = ["date", "x-request-id", "traceresponse"].contains(&name.to_ascii_lowercase().as_str());
                if is_own { name } else { line }.to_owned()
            }));
            if !status.starts_with('1') {
                received.head = seen;
                break (status, head.to_ascii_lowercase());
            }
            received.early += &seen;
        };
        let value = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let id = value("x-request-id: ").unwrap_or_default();
        let length = value("content-length: ").and_then(|length| length.parse().ok()).unwrap_or(0);
        if !is_head && !["204", "304"].contains(&status.as_str()) {
            if lower.contains("\ntransfer-encoding: chunked") {
                received.is_whole = self.chunks(&mut received.body).await;
            } else {
                received.body = self.take(length).await;
                received.is_whole = received.body.len() == length;
            }
        }
        if !received.is_whole {
            self.stream = None;
        } else if self.stream.is_none() || lower.contains("\nconnection: close") {
            while self.more().await {}
            received.body += &self.closed();
        }
        (received, id)
    }

    /// Reads chunks. `false` if the connection ends before the last one.
    async fn chunks(&mut self, body: &mut String) -> bool {
        loop {
            let Some(size) = self.until(b"\r\n").await else {
                return false;
            };
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            *body += &self.take(size).await;
            let end = self.take(2).await;
            if end != "\r\n" {
                assert!(end.len() < 2, "a chunk ends with {end:?}");
                return false;
            }
            if size == 0 {
                return true;
            }
        }
    }
}

/// A pass-through request with this number, and whether it asks for the head of a response only.
fn request(number: u64, random: &mut Random) -> (String, bool) {
    let methods = ["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"];
    let method = random.pick(&methods);
    let host = random.pick(&["q.example", "p.example", "P.example:80", "q.example."]);
    let query = random.pick(&["", "", "?", "?a=b&c", "?x=/p/"]);
    let path = random.pick(&["", "/.well-known", "/a//b", "/a%20b", "/~x;y"]);
    let mut text = format!("{method} {path}/p/{number}{query} HTTP/1.1\r\nHost: {host}\r\nx-way: WAY\r\n");
    let lines = [
        "Accept: */*",
        "aCCept-Encoding: gzip",
        "X-Own: 1",
        "x-own:2",
        "X-OWN: \t3 ",
        "Cookie: a=b",
        "cookie: c=d",
        "Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Authorization: Basic YTpi",
        "Proxy-Connection: keep-alive",
        "Trailer: X-T",
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-Proto: https",
        "x-forwarded-host: a.example",
        "X_Forwarded_For: 1.1.1.1",
        "Forwarded: for=9.9.9.9",
        "X-Real-Ip: 9.9.9.9",
        "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Tracestate: a=b",
        "X-Request-Id: own-1",
        "Authorization: Bearer abc",
        "User-Agent: caf\u{e9}",
        "Range: bytes=0-1",
        "If-None-Match: \"a\"",
        "X-Empty:",
        "Content-Type: text/plain",
        "X-Zitadel-Orgid: 1",
        "Expect: 100-continue",
        "Connection: close",
        "Origin: https://app.example",
        "X-HTTP-Method-Override: DELETE",
        "Upgrade: h2c",
    ];
    for _ in 0..random.below(7) {
        text += random.pick(&lines);
        text += "\r\n";
    }
    if !["GET", "HEAD", "OPTIONS"].contains(&method) || random.one_in(10) {
        let body = "z".repeat(if random.one_in(10) { 20_000 } else { random.below(300) });
        if random.one_in(6) {
            text += &format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len());
            text += if body.is_empty() { "\r\n" } else { "0\r\n\r\n" };
        } else {
            text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        }
    } else {
        text += "\r\n";
    }
    (text, method == "HEAD")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_is_that_of_pingora() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    crate::token::install_crypto_provider();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (provider, requests) = (listener.local_addr().unwrap(), Requests::default());
    tokio::spawn(provide(listener, requests.clone()));
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: off\nlog: {{ format: json }}\nclients: {{ trusted_peers: [127.0.0.2] }}\nupstreams:\n  \
         p: {{ dialect: auth0, url: 'http://{provider}', auth: forward, match: {{ host: p.example }} }}\n  \
         q: {{ dialect: zitadel, url: 'http://{provider}/base', auth: forward, preserve_host: true }}\n"
    );
    let gateways = [true, false].map(|direct| Gateway::configured(&text, String::new(), direct));
    let count = if std::env::var_os("SESSIONGATE_LONG").is_some() { LONG } else { REQUESTS };
    let mut random = Random(count);
    let mut number = 0;
    let mut broken = [HashSet::new(), HashSet::new()];
    while number < count {
        let own = Ipv4Addr::new(127, 0, 0, 1 + u8::from(random.one_in(4)));
        let mut clients = [0, 1].map(|at: usize| Client::new(gateways[at].address, own));
        for _ in 0..BATCH {
            number += 1;
            let (text, is_head) = request(number, &mut random);
            let cut = if random.one_in(6) { random.below(text.len()) } else { text.len() };
            let mut responses = Vec::new();
            for (client, way) in clients.iter_mut().zip(["one", "two"]) {
                let request = text.replace("WAY", way);
                responses.push(client.exchange(request.as_bytes(), cut, is_head).await);
            }
            let mut requests = requests.lock();
            let seen = ["one", "two"].map(|way| requests.remove(&(number, way.to_owned())));
            let script: Vec<_> = Script::new(number, is_head).parts.concat();
            let script = script.escape_ascii().to_string();
            let script = &script[..script.len().min(2000)];
            assert_eq!(seen[0], seen[1], "{text}\n{script}");
            let [(one, _), (two, _)] = responses.as_slice() else { unreachable!() };
            assert!(one.is_like(two), "{text}\n{script}\n{one:#?}\n{two:#?}");
            for (broken, (response, id)) in broken.iter_mut().zip(responses) {
                broken.extend(Some(id).filter(|_| !response.is_whole));
            }
        }
    }
    // How often a request is sent depends on which connections are kept.
    let differing = ["upstream_attempts"];
    assert_same(gateways[0].lines(&differing, &broken[0]), gateways[1].lines(&differing, &broken[1]));
    assert_same(gateways[0].metrics(), gateways[1].metrics());
    let served = gateways.map(|gateway| gateway.direct.load(Ordering::Relaxed));
    assert!(!broken[0].is_empty(), "no response broke off");
    assert!(served[0] > count / 2 && served[1] == 0, "{served:?} of {count} requests were not left to Pingora");
}
