//! HTTP/2: a provider that speaks it, and one that speaks it frame by frame, so that it can misbehave.

use super::TIMEOUT;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub head: Arc<http::request::Parts>,
    /// As far as it was read.
    pub body: Vec<u8>,
}

impl Arrived {
    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// A response, part by part.
pub struct Reply {
    pub head: Response<()>,
    pub parts: Vec<Part>,
    pub trailers: Option<HeaderMap>,
}

/// A part of a response.
pub enum Part {
    Bytes(Bytes),
    /// Until the test releases it.
    Wait(Arc<Notify>),
    /// For ever.
    Hang,
    /// As the first: not even the head.
    Silence,
}

impl Reply {
    /// A response with this body.
    pub fn json(body: impl Into<Bytes>) -> Reply {
        let head = Response::builder().header("content-type", "application/json; charset=utf-8");
        Reply { head: head.body(()).unwrap(), parts: vec![Part::Bytes(body.into())], trailers: None }
    }
}

type Act = dyn Fn(&Arrived) -> Reply + Send + Sync;

/// What all tasks of a provider share.
struct Shared {
    act: Box<Act>,
    arrived: Mutex<Vec<Arrived>>,
    connections: AtomicUsize,
    streams: u32,
}

/// A provider that speaks HTTP/2, with TLS or without. Where TLS agrees on something else, it answers one request as
/// HTTP/1.1.
pub struct H2Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

impl H2Provider {
    pub fn start(tls: Option<ServerConfig>, act: impl Fn(&Arrived) -> Reply + Send + Sync + 'static) -> H2Provider {
        H2Provider::start_with(tls, 100, act)
    }

    /// One that takes this many requests at a time on one connection.
    pub fn start_with(
        tls: Option<ServerConfig>,
        streams: u32,
        act: impl Fn(&Arrived) -> Reply + Send + Sync + 'static,
    ) -> H2Provider {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, connections) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { act: Box::new(act), arrived, connections, streams });
        let own = shared.clone();
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, acceptor) = (own.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        shared.serve(stream).await;
                        return;
                    };
                    let stream = match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => stream,
                        Err((_, mut stream)) => {
                            // What was sent meanwhile is read to its end: otherwise the reason would be lost in a
                            // reset.
                            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                            return;
                        }
                    };
                    match stream.get_ref().1.alpn_protocol() {
                        Some(b"h2") => shared.serve(stream).await,
                        _ => shared.serve_http1(stream).await,
                    }
                });
            }
        });
        H2Provider { address, shared, _runtime: runtime }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.shared.lock().clone()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arrived>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Shared>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(self.streams);
        let Ok(mut connection) = builder.handshake(stream).await else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(self.clone().response(request, respond));
        }
    }

    async fn response(self: Arc<Shared>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (head, mut body) = request.into_parts();
        let turn = {
            let mut all = self.lock();
            all.push(Arrived { head: Arc::new(head), body: Vec::new() });
            all.len() - 1
        };
        while let Some(part) = body.data().await {
            let Ok(part) = part else {
                return;
            };
            let _ = body.flow_control().release_capacity(part.len());
            self.lock()[turn].body.extend_from_slice(&part);
        }
        let arrived = self.lock()[turn].clone();
        let Reply { head, parts, trailers } = (self.act)(&arrived);
        if matches!(parts.first(), Some(Part::Silence)) {
            std::future::pending::<()>().await;
        }
        let ends = parts.is_empty() && trailers.is_none();
        let Ok(mut sending) = respond.send_response(head, ends) else {
            return;
        };
        let last = parts.len();
        for (place, part) in parts.into_iter().enumerate() {
            match part {
                Part::Bytes(bytes) => {
                    let _ = sending.send_data(bytes, place + 1 == last && trailers.is_none());
                }
                Part::Wait(until) => until.notified().await,
                Part::Hang | Part::Silence => std::future::pending().await,
            }
        }
        if let Some(trailers) = trailers {
            let _ = sending.send_trailers(trailers);
        }
    }

    /// Answers requests without a body, and upgrades.
    async fn serve_http1(self: Arc<Shared>, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let mut read = Vec::new();
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut part).await {
            read.extend_from_slice(&part[..length]);
            let text = String::from_utf8_lossy(&read).into_owned();
            if !text.contains("\r\n\r\n") {
                continue;
            }
            read.clear();
            let mut words = text.split(' ');
            let head = Request::builder().method(words.next().unwrap()).uri(words.next().unwrap());
            let head = Arc::new(head.version(http::Version::HTTP_11).body(()).unwrap().into_parts().0);
            self.lock().push(Arrived { head, body: Vec::new() });
            let response = match text.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n") {
                true => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
                false => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            };
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// What a provider of frames does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// It responds with a session.
    Respond,
    /// It responds, announces that this was the last stream, and closes when the client has read it.
    ResponseLast,
    /// RST_STREAM with this code, before it looks at the request where that is REFUSED_STREAM (7).
    Reset(u32),
    /// GOAWAY with this code, before it looks at the request: the last stream is one before it.
    GoAwayBefore(u32),
    /// GOAWAY with this code, after it has processed the request.
    GoAwayAfter(u32),
    /// It closes.
    Close,
    /// It responds in HTTP/1.1.
    OtherVersion,
    /// Headers that cannot be decoded.
    BadHeaders,
    /// `103 Early Hints`, and RST_STREAM with REFUSED_STREAM.
    HintThenReject,
    /// The same with GOAWAY, whose last stream is one before it.
    HintThenGoAway,
    /// The same, and the end of the connection.
    HintThenClose,
    /// The head of a response, a part of its body if this is set, and RST_STREAM with REFUSED_STREAM.
    BeginThenReject(bool),
    /// The same with GOAWAY, whose last stream is one before it.
    BeginThenGoAway(bool),
    /// The head of a response, a part of its body, and RST_STREAM with INTERNAL_ERROR.
    HalfThenReset,
    /// The same, and the end of the connection.
    HalfThenClose,
    /// Nothing.
    Silence,
}

impl Frames {
    /// Whether it looks at the request.
    fn takes(self) -> bool {
        !matches!(self, Frames::Reset(7) | Frames::GoAwayBefore(_))
    }
}

/// A provider that speaks HTTP/2 without TLS, frame by frame.
pub struct FrameProvider {
    address: SocketAddr,
    state: Arc<FrameState>,
    stopping: Arc<AtomicBool>,
}

#[derive(Default)]
struct FrameState {
    acts: Mutex<(Vec<Frames>, Option<Frames>)>,
    came: AtomicUsize,
    taken: AtomicUsize,
    closed: AtomicUsize,
}

impl FrameProvider {
    pub fn start() -> FrameProvider {
        FrameProvider::start_at(([127, 0, 0, 1], 0).into()).unwrap()
    }

    /// One at this address, which may be taken.
    pub fn start_at(address: SocketAddr) -> io::Result<FrameProvider> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr().unwrap();
        let provider = FrameProvider { address, state: Arc::default(), stopping: Arc::default() };
        let (state, stopping) = (provider.state.clone(), provider.stopping.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let state = state.clone();
                thread::spawn(move || {
                    let _ = state.serve(stream);
                    state.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Ok(provider)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What becomes of the next requests, each in turn, and then of all that follow.
    pub fn act(&self, first: &[Frames], then: Frames) {
        let first = first.iter().rev().copied().collect();
        *self.state.acts.lock().unwrap_or_else(PoisonError::into_inner) = (first, Some(then));
    }

    /// How many requests arrived, and how many of them it processed.
    pub fn counts(&self) -> (usize, usize) {
        (self.state.came.load(Ordering::SeqCst), self.state.taken.load(Ordering::SeqCst))
    }

    /// How many connections are over.
    pub fn closed(&self) -> usize {
        self.state.closed.load(Ordering::SeqCst)
    }
}

impl Drop for FrameProvider {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame as it goes over the wire.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A received frame of HTTP/2.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Reads the next frame.
pub fn read_frame(from: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 9];
    from.read_exact(&mut head)?;
    let [a, b, c, kind, flags, d, e, f, g] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]).try_into().unwrap()];
    from.read_exact(&mut payload)?;
    Ok(Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload })
}

/// `:status: 200` and a content type.
fn good_head(stream: u32, flags: u8) -> Vec<u8> {
    let media = b"application/json; charset=utf-8";
    let block = [&[0x88, 0x0f, 0x10, u8::try_from(media.len()).unwrap()], &media[..]].concat();
    frame(HEADERS, END_HEADERS | flags, stream, &block)
}

impl FrameState {
    fn next(&self) -> Frames {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        acts.0.pop().or(acts.1).unwrap_or(Frames::Respond)
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        stream.read_exact(&mut [0; 24])?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
        loop {
            let Frame { kind, flags, stream: id, payload } = read_frame(&mut stream)?;
            match kind {
                SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
                PING if flags & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload))?,
                HEADERS | DATA if flags & END_STREAM != 0 => {
                    self.came.fetch_add(1, Ordering::SeqCst);
                    if !self.request(&mut stream, id)? {
                        // Until the other side has read it, and has closed too.
                        let _ = stream.shutdown(std::net::Shutdown::Write);
                        let _ = stream.read_to_end(&mut Vec::new());
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// Handles a request; returns whether the connection stays open.
    fn request(&self, stream: &mut TcpStream, id: u32) -> io::Result<bool> {
        let act = self.next();
        if act.takes() {
            self.taken.fetch_add(1, Ordering::SeqCst);
        }
        let go_away = |last: u32, code: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
        let body = crate::harness::recorder::session(&serde_json::json!({})).to_string();
        let response = [good_head(id, 0), frame(DATA, END_STREAM, id, body.as_bytes())].concat();
        let half = [good_head(id, 0), frame(DATA, 0, id, b"{")].concat();
        let begun = |body| if body { half.clone() } else { good_head(id, 0) };
        // `:status: 103`, by the name of the static table.
        let hint = frame(HEADERS, END_HEADERS, id, b"\x08\x03103");
        let reject = frame(RST_STREAM, 0, id, &7_u32.to_be_bytes());
        let (bytes, goes_on) = match act {
            Frames::HintThenReject => ([hint, reject].concat(), true),
            Frames::HintThenGoAway => ([hint, go_away(id.saturating_sub(2), 0)].concat(), false),
            Frames::HintThenClose => (hint, false),
            Frames::BeginThenReject(body) => ([begun(body), reject].concat(), true),
            Frames::BeginThenGoAway(body) => ([begun(body), go_away(id.saturating_sub(2), 0)].concat(), false),
            Frames::Respond => (response, true),
            Frames::ResponseLast => ([response, go_away(id, 0)].concat(), false),
            Frames::Reset(code) => (frame(RST_STREAM, 0, id, &code.to_be_bytes()), true),
            Frames::GoAwayBefore(code) => (go_away(id.saturating_sub(2), code), false),
            Frames::GoAwayAfter(code) => (go_away(id, code), false),
            Frames::Close => (Vec::new(), false),
            Frames::OtherVersion => (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec(), false),
            Frames::BadHeaders => (frame(HEADERS, END_HEADERS | END_STREAM, id, &[0xff; 20]), true),
            Frames::HalfThenReset => ([half, frame(RST_STREAM, 0, id, &2_u32.to_be_bytes())].concat(), true),
            Frames::HalfThenClose => (half, false),
            Frames::Silence => (Vec::new(), true),
        };
        stream.write_all(&bytes)?;
        Ok(goes_on)
    }
}
