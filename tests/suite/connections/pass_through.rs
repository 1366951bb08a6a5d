//! Pass-through requests, byte by byte: both directions stream, nothing is validated or limited, HTTP alone determines
//! what is rewritten, and a response that the provider truncates is truncated at the client.

use crate::harness::recorder::{Call, Recorder, Then};
use crate::harness::{Connection, Gateway, Request, TIMEOUT, wait_for};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

struct Passing {
    recorder: Recorder,
    gateway: Gateway,
}

fn passing(act: impl Fn(&mut Call) -> io::Result<Then> + Send + Sync + 'static) -> Passing {
    let recorder = Recorder::start(act);
    let gateway = Gateway::start(&recorder.upstream(""));
    Passing { recorder, gateway }
}

impl Passing {
    fn open(&self) -> Client {
        Client::open(&self.gateway)
    }

    /// The whole response, until the connection ends.
    fn whole(&self, request: &str) -> String {
        let mut client = self.open();
        client.write(request);
        client.rest()
    }
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    fn open(gateway: &Gateway) -> Client {
        let stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, read: Vec::new() }
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads until the text contains this.
    fn until(&mut self, needle: &str) -> String {
        let mut part = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if text.contains(needle) {
                return text;
            }
            let length = self.stream.read(&mut part).unwrap();
            assert!(length > 0, "the connection ended before `{needle}`: {text}");
            self.read.extend_from_slice(&part[..length]);
        }
    }

    /// Reads to the end of the connection.
    fn rest(mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.stream.read_to_end(&mut rest);
        self.read.extend(rest);
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

fn signal() -> (impl Fn() + Send + Sync + 'static, impl Fn() + Send + Sync + 'static) {
    let (sender, receiver) = channel();
    let receiver: Mutex<Receiver<()>> = Mutex::new(receiver);
    let wait = move || receiver.lock().unwrap().recv_timeout(TIMEOUT).unwrap();
    (move || sender.send(()).unwrap(), wait)
}

#[test]
fn requests_stream() {
    let passing = passing(|call: &mut Call| {
        if call.seen.all("Content-Length").is_empty() {
            while call.chunk()? {}
        } else {
            call.take(5)?;
            call.take(4)?;
        }
        call.response(200, "", "{}")
    });
    for (turn, framing) in ["Content-Length: 9", "Transfer-Encoding: chunked"].into_iter().enumerate() {
        let chunked = turn == 1;
        let mut client = passing.open();
        client.write(format!("POST /upload HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n"));
        client.write(if chunked { "5\r\nfirst\r\n" } else { "first" });
        wait_for("the first part at the provider", || {
            let seen = passing.recorder.seen();
            (seen.len() > turn && seen[turn].text() == "first").then_some(())
        });
        client.write(if chunked { "4\r\nlast\r\n0\r\n\r\n" } else { "last" });
        assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 200 "));
        assert_eq!(passing.recorder.seen()[turn].text(), "firstlast");
    }
}

/// What a provider sends before `go`, and what behind it, framed in one of the three ways.
fn in_two_parts(framing: &'static str, first: &str, gone: impl Fn() + Send + Sync + 'static) -> Passing {
    let chunk = move |part: &str| match framing.ends_with("chunked") {
        true => format!("{:x}\r\n{part}\r\n", part.len()),
        false => part.to_owned(),
    };
    let first = chunk(first);
    passing(move |call: &mut Call| {
        call.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{first}"))?;
        gone();
        call.send(chunk("last"))?;
        if framing.ends_with("chunked") {
            call.send("0\r\n\r\n")?;
        }
        Ok(Then::Close)
    })
}

#[test]
fn responses_stream() {
    for framing in ["Transfer-Encoding: chunked", "Connection: close"] {
        let (go, gone) = signal();
        let passing = in_two_parts(framing, "first", gone);
        let mut client = passing.open();
        client.write("GET /download HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.until("first");
        go();
        let whole = client.rest();
        assert!(whole.contains("last"), "{framing}: {whole}");
    }
}

#[test]
fn large_responses_with_a_length_stream() {
    let (go, gone) = signal();
    let first = "first".repeat(100_000);
    let framing: &str = "Content-Length: 500004";
    let passing = in_two_parts(framing, &first, gone);
    let mut client = passing.open();
    client.write("GET /download HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.until("first");
    go();
    assert!(client.rest().ends_with("firstlast"));
}

#[test]
fn large_bodies_are_unchanged_in_both_directions() {
    const SIZE: usize = 32 << 20;
    let pattern: Vec<u8> = (0..SIZE as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let passing = passing(|call: &mut Call| {
        let body = call.body()?;
        call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        call.send(body)?;
        Ok(Then::Keep)
    });
    let response = Request::new("POST", "/upload").body(pattern.clone()).send(&passing.gateway.url());
    assert!(passing.recorder.seen()[0].body == pattern, "the provider got something else");
    assert!(response.body == pattern, "the client got something else");
}

#[test]
fn targets_headers_and_bodies_pass_unchanged() {
    let passing = passing(|call: &mut Call| call.as_auth0());
    let body = "session_metadata[evil]=1&\u{0}\u{ff}";
    for target in [
        "/api/v2/clients?q=%zz&q=a%20b+c&empty=&=&&`",
        "/x/%2e%2e/y",
        "/x/../y;z=1/%2F//w",
        "/auth0|{x}^\\",
        "/%e9%00",
        "/?",
        "/a?b?c",
        "/authorize?redirect_uri=https://x/../y//z",
    ] {
        let before = passing.recorder.count();
        let response = Request::new("POST", target)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Content-Encoding", "gzip")
            .header("Accept-Encoding", "br")
            .header("If-None-Match", "\"x\"")
            .header("Range", "bytes=0-1")
            .header("X-Twice", "1")
            .header("X-Twice", "2")
            .header("Authorization", "Basic eDp5")
            .header("Cookie", "a=b; c=d")
            .body(body)
            .send(&passing.gateway.url());
        assert_eq!(response.status, 202, "{target}");
        let seen = passing.recorder.seen()[before].clone();
        assert_eq!(seen.target, target);
        assert_eq!(seen.text(), body, "{target}");
        assert_eq!(seen.all("X-Twice"), ["1", "2"]);
        assert_eq!(seen.header("Content-Encoding"), Some("gzip"));
        assert_eq!(seen.header("Accept-Encoding"), Some("br"));
        assert_eq!(seen.header("If-None-Match"), Some("\"x\""));
        assert_eq!(seen.header("Range"), Some("bytes=0-1"));
        assert_eq!(seen.header("Authorization"), Some("Basic eDp5"));
        assert_eq!(seen.header("Cookie"), Some("a=b; c=d"));
        assert_eq!(seen.header("Host"), Some(passing.recorder.address().to_string().as_str()));
    }
}

#[test]
fn absolute_targets_are_forwarded_as_paths() {
    let passing = passing(|call: &mut Call| call.as_auth0());
    let host = passing.gateway.address().to_string();
    let whole =
        passing.whole(&format!("GET http://{host}/clients?x=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    assert!(whole.starts_with("HTTP/1.1 200 "), "{whole}");
    let seen = &passing.recorder.seen()[0];
    assert_eq!(seen.target, "/clients?x=1", "with the gateway's own name it is for nobody");
    assert_eq!(seen.header("Host"), Some(passing.recorder.address().to_string().as_str()));
}

#[test]
fn expect_and_100_continue_pass_for_chunked_uploads() {
    let passing = passing(|call: &mut Call| {
        assert_eq!(call.seen.header("Expect"), Some("100-continue"));
        call.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        call.body()?;
        call.response(200, "", "{}")
    });
    let mut client = passing.open();
    client.write("POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 100 "));
    client.write("4\r\nbody\r\n0\r\n\r\n");
    client.until("HTTP/1.1 200 ");
    assert_eq!(passing.recorder.seen()[0].text(), "body");
}

#[test]
fn early_rejection_reaches_a_client_that_waits_for_100() {
    let passing = passing(|call: &mut Call| {
        call.response(413, "Connection: close\r\n", "{}")?;
        Ok(Then::Close)
    });
    let mut client = passing.open();
    client.write("POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 413 "));
}

#[test]
fn informational_responses_pass() {
    let passing = passing(|call: &mut Call| {
        call.send("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")?;
        call.response(200, "", "{}")
    });
    let whole = passing.whole("GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(whole.starts_with("HTTP/1.1 103 "), "{whole}");
    assert!(whole.contains("HTTP/1.1 200 "), "{whole}");
}

/// The limit applies to governed and pass-through responses.
#[test]
fn response_with_a_too_large_head_fails() {
    let passing = passing(|call: &mut Call| {
        let more = match call.seen.header("X-Size").unwrap().parse::<usize>().unwrap() {
            count if count < 1000 => "X: y\r\n".repeat(count),
            size => format!("X: {}\r\n", "y".repeat(size)),
        };
        call.response(200, &more, r#"{"id":"x"}"#)
    });
    let token = passing.recorder.token();
    let session = format!("/api/v2/sessions/{}", crate::harness::recorder::SESSION);
    for path in ["/x", &session] {
        for (size, status) in [(60_000, 200), (240, 200), (66_000, 502), (1_000_000, 502), (255, 502)] {
            // Their own libraries read fewer of the headers of governed requests.
            if path == session && size == 240 {
                continue;
            }
            let request = Request::new("GET", path).bearer(&token).header("X-Size", &size.to_string());
            assert_eq!(request.send(&passing.gateway.url()).status, status, "{path} {size}");
        }
    }
}

#[test]
fn responses_without_a_body_leave_the_connection_usable() {
    let passing = passing(|call: &mut Call| {
        call.body()?;
        let head = match call.seen.target.as_str() {
            "/204" => "HTTP/1.1 204 No Content\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n",
            "/304-with-length" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n",
            "/205" => "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n",
        };
        call.send(format!("{head}X-Of: {}\r\n\r\n", call.seen.target))?;
        if call.seen.method != "HEAD" && head.contains("200") {
            call.send("a body!")?;
        }
        Ok(Then::Keep)
    });
    let mut connection = Connection::open(passing.gateway.address()).unwrap();
    for (method, target) in [
        ("GET", "/204"),
        ("HEAD", "/head"),
        ("GET", "/304"),
        ("GET", "/304-with-length"),
        ("HEAD", "/204"),
        ("GET", "/205"),
        ("DELETE", "/204"),
        ("GET", "/200"),
        ("HEAD", "/200"),
        ("GET", "/200"),
    ] {
        let response = connection.exchange(&Request::new(method, target)).unwrap();
        assert_eq!(response.header("X-Of"), Some(target), "{method} {target}");
        let body: &[u8] = if method == "GET" && target == "/200" { b"a body!" } else { b"" };
        assert_eq!(response.body, body, "{method} {target}");
    }
}

#[test]
fn truncated_response_is_truncated_at_the_client() {
    for (framing, part) in [
        ("Content-Length: 100", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
        ("Transfer-Encoding: chunked", "8\r\nhalf"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n0\r\n"),
    ] {
        for then in [Then::Close, Then::Reset] {
            let passing = passing(move |call: &mut Call| {
                call.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}"))?;
                Ok(then)
            });
            let whole = passing.whole("GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
            // A reset may take along what was sent before it.
            if then == Then::Reset && whole.starts_with("HTTP/1.1 502 ") {
                continue;
            }
            assert!(whole.starts_with("HTTP/1.1 200 "), "{framing} {part:?} {}: {whole}", then == Then::Reset);
            assert!(!whole.ends_with("0\r\n\r\n"), "{framing} {part:?} ends as if it were whole: {whole}");
            let length = whole.to_ascii_lowercase().contains("content-length: 4\r\n");
            assert!(!length, "{whole}");
        }
    }
}

/// After the 101, both sides send any bytes. The path is not governed.
#[test]
fn websocket_passes() {
    let passing = passing(|call: &mut Call| {
        assert_eq!(call.seen.header("Upgrade"), Some("websocket"));
        call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")?;
        call.take(4)?;
        call.send("bye")?;
        Ok(Then::Close)
    });
    let mut client = passing.open();
    client.write("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    assert!(client.until("hello").starts_with("HTTP/1.1 101 "));
    client.write("ping");
    client.until("bye");
    assert_eq!(passing.recorder.seen()[0].text(), "ping");
}

/// The provider switches protocols although the client did not request it. No tunnel is opened.
#[test]
fn unrequested_101_does_not_reach_the_client() {
    let passing = passing(|call: &mut Call| {
        call.body()?;
        call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")?;
        // Until the gateway gives it up.
        let _ = call.take(1);
        Ok(Then::Close)
    });
    const KEY: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (method, fields) in [
        ("GET", ""),
        ("GET", "Upgrade: websocket\r\n"),
        ("GET", "Connection: close\r\nUpgrade: websocket\r\n"),
        ("GET", "Connection: keep-alive\r\nUpgrade: websocket\r\n"),
        ("GET", "Connection: upgrades\r\nUpgrade: websocket\r\n"),
        ("GET", "Connection: Upgrade\r\n"),
        ("GET", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        ("GET", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"),
        ("GET", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n"),
        ("POST", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n"),
    ] {
        let before = passing.recorder.count();
        let response = passing.whole(&format!("{method} /socket HTTP/1.1\r\nHost: x\r\n{KEY}{fields}\r\n"));
        assert!(response.starts_with("HTTP/1.1 502 "), "{method} {fields:?}: {response}");
        assert!(!response.contains("hello") && !response.contains(" 101 "), "{method} {fields:?}: {response}");
        for seen in passing.recorder.seen().split_off(before) {
            assert_eq!(seen.header("Upgrade"), None, "{method} {fields:?}");
        }
    }
}

/// `Connection` may contain other options, in any case.
#[test]
fn upgrade_is_found_among_other_connection_options() {
    let passing = passing(|call: &mut Call| {
        call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")?;
        Ok(Then::Close)
    });
    for fields in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: keep-alive, uPGRADE\r\nUpgrade: WebSocket\r\n",
        "Connection: keep-alive\r\nConnection: x,upgrade\r\nUpgrade: websocket\r\n",
    ] {
        let mut client = passing.open();
        client.write(format!("GET /socket HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        assert!(client.until("hello").starts_with("HTTP/1.1 101 "), "{fields:?}");
    }
}

#[test]
fn rejected_upgrade_is_an_ordinary_response() {
    let passing = passing(|call: &mut Call| call.response(404, "", "{}"));
    let mut client = passing.open();
    for _ in 0..2 {
        client.write("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        let text = client.until("{}");
        assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
        client.read.clear();
    }
}

#[test]
fn responses_with_trailers_and_close_delimited_responses_are_complete() {
    let passing = passing(|call: &mut Call| {
        if call.seen.target == "/trailers" {
            call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n")?;
            return Ok(Then::Keep);
        }
        call.send("HTTP/1.1 200 OK\r\n\r\nbody")?;
        Ok(Then::Close)
    });
    let mut connection = Connection::open(passing.gateway.address()).unwrap();
    for target in ["/trailers", "/close", "/trailers", "/close"] {
        let response = connection.exchange(&Request::new("GET", target)).unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "body"), "{target}");
    }
}

/// The same bytes are validated on a session path only.
#[test]
fn pass_through_bodies_are_not_validated() {
    let passing = passing(|call: &mut Call| call.as_auth0());
    let url = passing.gateway.url();
    let sent = Request::new("PATCH", "/api/v2/clients/x")
        .header("Content-Type", "text/plain")
        .body("not JSON at all")
        .send(&url);
    // A change of a client may end sessions, so its caller is checked.
    assert_eq!(sent.status, 401);
    let sent = Request::new("PUT", "/api/v2/rules/x").body("not JSON at all").send(&url);
    assert_eq!(sent.status, 200);
    assert_eq!(passing.recorder.seen()[0].text(), "not JSON at all");
    assert!(sent.header("X-Request-Id").is_some());
}

const SOCKET: &str = "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";

/// On a busy machine, the gateway may see the provider's 101 before it has seen the end of the request. Here the 101 is
/// there from the start.
#[test]
fn early_101_opens_a_tunnel() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let serve = |mut stream: TcpStream| -> io::Result<()> {
            stream.write_all(SWITCHES.as_bytes())?;
            let (mut seen, mut part) = (Vec::new(), [0; 4096]);
            while !seen.ends_with(b"ping") {
                match stream.read(&mut part)? {
                    0 => return Ok(()),
                    length => seen.extend_from_slice(&part[..length]),
                }
            }
            stream.write_all(b"bye")
        };
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    let upstream = format!("upstreams:\n  auth0:\n    dialect: auth0\n    url: http://{address}\n    auth: none\n");
    let gateway = Gateway::start(&upstream);
    // The two may be processed in either order.
    for _ in 0..20 {
        let mut client = Client::open(&gateway);
        client.write(SOCKET);
        assert!(client.until("hello").starts_with("HTTP/1.1 101 "));
        client.write("ping");
        client.until("bye");
    }
}

/// After a 101 the connection is not HTTP any more: the gateway must not write a response into it.
#[test]
fn broken_tunnel_ends_without_a_response_in_it() {
    for silent in [false, true] {
        let (go, gone) = signal();
        let recorder = Recorder::start(move |call: &mut Call| {
            call.send(SWITCHES)?;
            call.take(4)?;
            if silent {
                gone();
            }
            Ok(Then::Reset)
        });
        let gateway = Gateway::start(&recorder.upstream(if silent { "timeouts: { idle: 1s }" } else { "" }));
        let mut client = Client::open(&gateway);
        client.write(SOCKET);
        client.until("hello");
        client.write("ping");
        let whole = client.rest();
        assert!(whole.ends_with("\r\n\r\nhello"), "{whole}");
        let reason = if silent { "upstream_timeout" } else { "upstream_failed" };
        gateway.wait_for_log(|line| line.contains(reason) && line.contains("\"status\":101"));
        go();
    }
}
