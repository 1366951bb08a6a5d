//! Malformed HTTP/2 requests, frame by frame: none reaches a provider as a complete request, on any route, with either
//! HTTP version at the provider. The rules are those of HTTP/1 and those that only HTTP/2 has.

use crate::harness::recorder::{Call, Recorder, SESSION, session};
use crate::harness::{Frame, Gateway, H2Provider, Reply, TIMEOUT, frame, read_frame};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A field as HPACK has it, without the tables.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let length = u8::try_from(text.len()).unwrap();
        if length < 127 {
            bytes.push(length);
        } else {
            bytes.extend([127, length - 127]);
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A client of HTTP/2 that sends any frames.
struct Client {
    stream: TcpStream,
    next: u32,
}

/// How a stream ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Status(u16),
    Reset,
    /// The connection ended before it.
    DeletionState,
}

impl Client {
    fn open(address: SocketAddr) -> Client {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Client { stream, next: 1 }
    }

    /// Sends the frames of a request, and waits for its end.
    fn request(&mut self, frames: impl Fn(u32) -> Vec<u8>) -> End {
        let stream = self.next;
        self.next += 2;
        // A gateway that rejects may close before it has read everything.
        let _ = self.stream.write_all(&frames(stream));
        self.end(stream)
    }

    fn end(&mut self, stream: u32) -> End {
        let mut status = None;
        loop {
            let Ok(Frame { kind, flags, stream: own, payload }) = read_frame(&mut self.stream) else {
                return End::DeletionState;
            };
            if own != stream {
                continue;
            }
            if kind == HEADERS && status.is_none() {
                // Those of the static table that are looked for here; 0 for any other.
                status = Some(match payload[0] {
                    0x88 => 200,
                    0x8c => 400,
                    _ => 0,
                });
            }
            match (kind, status) {
                (RST_STREAM, None) => return End::Reset,
                (HEADERS | DATA, Some(status)) if flags & END_STREAM != 0 => return End::Status(status),
                (RST_STREAM, Some(status)) => return End::Status(status),
                _ => {}
            }
        }
    }
}

/// A gateway before a provider that counts the requests it got as a whole.
struct Place {
    gateway: Gateway,
    whole: Arc<AtomicUsize>,
    recorder: Recorder,
    _provider: Option<H2Provider>,
}

impl Place {
    fn start(http2: bool) -> Place {
        let whole = Arc::new(AtomicUsize::new(0));
        let own = whole.clone();
        let recorder = Recorder::start(move |call: &mut Call| {
            call.body()?;
            own.fetch_add(1, Ordering::SeqCst);
            call.json(200, &session(&json!({})))
        });
        if !http2 {
            let gateway = Gateway::start(&recorder.upstream(""));
            gateway.ready();
            return Place { gateway, whole, recorder, _provider: None };
        }
        let own = whole.clone();
        // It is called when a body is whole.
        let provider = H2Provider::start(None, move |_| {
            own.fetch_add(1, Ordering::SeqCst);
            Reply::json(session(&json!({})).to_string())
        });
        let gateway = Gateway::start(&format!(
            "upstreams:\n  a:\n    dialect: auth0\n    url: http://{}\n    auth: none\n    protocol: http2\n",
            provider.address()
        ));
        Place { gateway, whole, recorder, _provider: Some(provider) }
    }

    fn whole(&self) -> usize {
        self.whole.load(Ordering::SeqCst)
    }

    /// The fields of a request, before those that a test adds.
    fn fields(&self, governed: bool) -> Vec<(String, String)> {
        let path = if governed { format!("/api/v2/sessions/{SESSION}") } else { "/x".into() };
        let method = if governed { "PATCH" } else { "POST" };
        let mut fields = vec![(":method", method.to_owned()), (":scheme", "http".into()), (":authority", "a".into())];
        fields.push((":path", path));
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// What is odd about a request.
struct Case {
    name: &'static str,
    /// The value of the method.
    method: Option<String>,
    fields: Vec<(&'static str, &'static str)>,
    /// The parts of the body; the last ends the stream. None where the head does.
    body: Vec<String>,
    trailers: Option<Vec<u8>>,
}

impl Case {
    fn new(name: &'static str, fields: &[(&'static str, &'static str)], body: &[&str]) -> Case {
        let body = body.iter().map(|part| (*part).to_owned()).collect();
        Case { name, method: None, fields: fields.to_vec(), body, trailers: None }
    }

    fn frames(&self, place: &Place, governed: bool, stream: u32) -> Vec<u8> {
        let mut fields = place.fields(governed);
        if let Some(method) = &self.method {
            fields[0].1.clone_from(method);
        }
        let mut head: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        if governed {
            let token = format!("Bearer {}", place.recorder.token());
            // Longer than a length of one byte.
            let mut rest = token.len() - 127;
            head.extend([0, 13]);
            head.extend(b"authorization");
            head.push(127);
            while rest >= 128 {
                head.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            head.push(u8::try_from(rest).unwrap());
            head.extend(token.as_bytes());
            head.extend(field("content-type", "application/json"));
        }
        head.extend(block(&self.fields));
        let ends = self.body.is_empty() && self.trailers.is_none();
        let mut frames = frame(HEADERS, END_HEADERS | if ends { END_STREAM } else { 0 }, stream, &head);
        for (place, part) in self.body.iter().enumerate() {
            let last = place + 1 == self.body.len() && self.trailers.is_none();
            frames.extend(frame(DATA, if last { END_STREAM } else { 0 }, stream, part.as_bytes()));
        }
        if let Some(trailers) = &self.trailers {
            frames.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers));
        }
        frames
    }
}

const BODY: &str = r#"{"session_metadata":{"a":"bcd"}}"#;

fn malformed() -> Vec<Case> {
    let case = Case::new;
    let length = |length: &'static str, body: &[&str]| {
        Case::new("a length and another body", &[("content-length", length)], body)
    };
    let mut cases = vec![
        case("a length with a zero before it", &[("content-length", "032")], &[BODY]),
        case("the same length twice", &[("content-length", "32"), ("content-length", "32")], &[BODY]),
        case("a list of lengths", &[("content-length", "32, 32")], &[BODY]),
        case("a length with a sign", &[("content-length", "+32")], &[BODY]),
        case("an alias of a length", &[("content_length", "32")], &[BODY]),
        length("0", &[BODY]),
        length("0", &["", BODY]),
        length("32", &["", ""]),
        length("32", &[]),
        length("31", &[BODY]),
        length("33", &[BODY]),
        length("10", &[&BODY[..10], &BODY[10..]]),
        length("32", &[BODY, "x"]),
        length("33", &[&BODY[..10], &BODY[10..]]),
        case("a name that is no token", &[("x\"y", "1")], &[BODY]),
        case("connection", &[("connection", "close")], &[BODY]),
        case("a coding", &[("transfer-encoding", "chunked")], &[BODY]),
        case("an upgrade", &[("upgrade", "websocket")], &[BODY]),
        case("keep-alive", &[("keep-alive", "timeout=5")], &[BODY]),
        case("te", &[("te", "gzip")], &[BODY]),
        case("two hosts", &[("host", "a"), ("host", "a")], &[BODY]),
    ];
    let mut long = case("a long method", &[], &[BODY]);
    long.method = Some("M".repeat(100));
    let mut less = case("trailers before the end of a length", &[("content-length", "33")], &[BODY]);
    less.trailers = Some(block(&[("x-sum", "1")]));
    let mut pseudo = case("a pseudo-header in trailers", &[("content-length", "32")], &[BODY]);
    pseudo.trailers = Some(block(&[("x-sum", "1"), (":path", "/y")]));
    let mut indexed = case("an indexed pseudo-header in trailers", &[], &[BODY]);
    indexed.trailers = Some(vec![0x82]);
    let mut open = case("a pseudo-header in trailers behind an open length", &[], &[BODY]);
    open.trailers = Some(block(&[(":method", "GET")]));
    cases.extend([long, less, pseudo, indexed, open]);
    cases
}

fn plain() -> Vec<(Case, &'static str)> {
    let case = Case::new;
    let mut trailing = case("trailers", &[("content-length", "32")], &[BODY]);
    trailing.trailers = Some(block(&[("x-sum", "1")]));
    vec![
        (case("a length", &[("content-length", "32")], &[BODY]), BODY),
        (case("no length", &[], &[BODY]), BODY),
        (case("a length and an end of its own", &[("content-length", "32")], &[BODY, ""]), BODY),
        (case("parts", &[("content-length", "32")], &["", &BODY[..9], "", &BODY[9..], "", ""]), BODY),
        (case("te: trailers", &[("te", "trailers"), ("content-length", "32")], &[BODY]), BODY),
        (trailing, BODY),
    ]
}

#[test]
fn malformed_requests_do_not_reach_the_provider_complete() {
    let mut faults = String::new();
    for http2 in [false, true] {
        let place = Place::start(http2);
        for case in malformed() {
            for governed in [false, true] {
                // Some of the faults are those of a connection.
                let mut client = Client::open(place.gateway.address());
                let before = place.whole();
                let end = client.request(|stream| case.frames(&place, governed, stream));
                let what = format!("{}, {:?}, governed {governed}, http2 {http2}", case.name, case.body);
                if end == End::Status(200) || end == End::Status(0) {
                    let _ = writeln!(faults, "{what}: {end:?}");
                }
                let good = Case::new("good", &[("content-length", "32")], &[BODY]);
                let mut client = Client::open(place.gateway.address());
                let next = client.request(|stream| good.frames(&place, governed, stream));
                if (next != End::Status(200) && next != End::Status(0)) || place.whole() != before + 1 {
                    let _ = writeln!(faults, "{what}: {} got whole, then {next:?}", place.whole() - before - 1);
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn valid_requests_arrive_complete() {
    for http2 in [false, true] {
        let place = Place::start(http2);
        for governed in [false, true] {
            let mut client = Client::open(place.gateway.address());
            for (case, body) in plain() {
                let before = place.whole();
                let end = client.request(|stream| case.frames(&place, governed, stream));
                assert!(matches!(end, End::Status(200 | 0)), "{}, governed {governed}: {end:?}", case.name);
                assert_eq!(place.whole(), before + 1, "{}, governed {governed}", case.name);
                if !http2 {
                    assert_eq!(place.recorder.seen().last().unwrap().text(), body, "{}", case.name);
                }
            }
        }
    }
}

/// An empty body may be declared, and may end in a frame of its own.
#[test]
fn declared_empty_body_is_accepted() {
    for http2 in [false, true] {
        let place = Place::start(http2);
        let mut client = Client::open(place.gateway.address());
        for body in [&[][..], &[""], &["", ""]] {
            let before = place.whole();
            let case = Case::new("an empty body", &[("content-length", "0")], body);
            let end = client.request(|stream| case.frames(&place, false, stream));
            assert!(matches!(end, End::Status(200 | 0)), "{body:?}: {end:?}");
            assert_eq!(place.whole(), before + 1, "{body:?}");
        }
    }
}

#[test]
fn head_in_continuation_frames_is_accepted() {
    let place = Place::start(false);
    let mut client = Client::open(place.gateway.address());
    let end = client.request(|stream| {
        let head: Vec<u8> =
            place.fields(false).iter().flat_map(|(name, value)| field(name, value)).chain(field("x", "y")).collect();
        let (first, rest) = head.split_at(7);
        let (second, third) = rest.split_at(1);
        [
            frame(HEADERS, END_STREAM, stream, first),
            frame(CONTINUATION, 0, stream, second),
            frame(CONTINUATION, END_HEADERS, stream, third),
        ]
        .concat()
    });
    assert!(matches!(end, End::Status(200 | 0)), "{end:?}");
    assert_eq!(place.recorder.seen()[0].header("X"), Some("y"));
}
