//! HTTP/2 over one shared connection.
//!
//! Common clients cannot tell whether a failed request was processed: they return a connection's error also for
//! requests that preceded its end. Here each stream has its own error.

use super::connector::{self, Connector};
use super::failure::{connect_error, greeting_error, was_refused};
use super::part::Part;
use super::{Addresses, ConnectError, ConnectOptions, ExchangeError};
use crate::gateway::Protocol;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, RecvStream};
use http::header::{CONTENT_LENGTH, HOST};
use http::response::Parts;
use http::{Method, Request, Uri, Version};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

/// Stream window of responses that are buffered, in bytes.
const BUFFERED_WINDOW: u32 = 2 << 20;
/// Stream window of responses that are streamed to clients, in bytes: this much is held for a slow client.
pub const STREAMING_WINDOW: u32 = 256 << 10;
/// Connection window: more than all streams together, so that no client delays another.
pub const CONNECTION_WINDOW: u32 = 1 << 30;
/// The most concurrent streams per connection, if the server allows as many.
const MAX_STREAMS: usize = 100;
/// References to a connection's usage besides its streams: its driver and the pool.
const BASE_REFERENCES: usize = 2;
/// The largest response head, in bytes.
const MAX_HEAD: u32 = 64 << 10;
/// How long a negotiated HTTP/1.1 is remembered.
const HTTP1_TTL: Duration = Duration::from_secs(600);

type Stream = TokioIo<connector::Stream>;

/// The connections to one host.
pub(super) struct Http2 {
    connector: Connector,
    addresses: Arc<Addresses>,
    /// Whether the server may negotiate HTTP/1.1.
    may_be_http1: bool,
    connect: Duration,
    keepalive: Duration,
    /// The stream window, in bytes.
    window: u32,
    state: Mutex<Http2State>,
}

#[derive(Default)]
struct Http2State {
    connections: Vec<Connection>,
    /// The last connection failure, so that requests that waited for it do not all retry.
    failure: Option<(Instant, ConnectError)>,
    /// When TLS last negotiated HTTP/1.1.
    http1: Option<Instant>,
}

/// A connection that accepts requests.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    address: Option<SocketAddr>,
    usage: Arc<Usage>,
    /// Whether earlier requests have used it.
    reused: bool,
}

/// The usage of a connection.
struct Usage {
    last: parking_lot::Mutex<Instant>,
    /// Whether it accepts no further requests.
    draining: AtomicBool,
}

impl Http2 {
    pub fn new(options: &ConnectOptions, connector: Connector) -> Http2 {
        Http2 {
            connector,
            addresses: options.addresses.clone(),
            may_be_http1: options.protocol == Protocol::Auto,
            connect: options.connect,
            keepalive: options.keepalive,
            window: BUFFERED_WINDOW,
            state: Mutex::default(),
        }
    }

    /// The same host with connections of its own, for responses that are streamed to clients.
    pub fn for_streaming(&self) -> Http2 {
        Http2 {
            connector: self.connector.clone(),
            addresses: self.addresses.clone(),
            may_be_http1: self.may_be_http1,
            connect: self.connect,
            keepalive: self.keepalive,
            window: STREAMING_WINDOW,
            state: Mutex::default(),
        }
    }

    /// A shared connection; `None` if the server negotiated HTTP/1.1. If this fails, nothing was sent.
    pub async fn connection(&self, to: &Uri) -> Result<Option<Connection>, ExchangeError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if state.http1.is_some_and(|at| at.elapsed() < HTTP1_TTL) {
            return Ok(None);
        }
        if let Some(kept) = self.kept(&mut state).await {
            return Ok(Some(kept));
        }
        if let Some((_, error)) = state.failure.as_ref().filter(|(at, _)| *at > asked) {
            return Err(error.clone().into());
        }
        match Box::pin(self.make(to)).await {
            Ok(Some(connection)) => {
                state.connections.push(Connection { reused: true, ..connection.clone() });
                Ok(Some(connection))
            }
            Ok(None) => {
                state.http1 = Some(Instant::now());
                Ok(None)
            }
            Err(error) => {
                state.failure = Some((Instant::now(), error.clone()));
                Err(error.into())
            }
        }
    }

    /// An existing connection that accepts another request.
    async fn kept(&self, state: &mut Http2State) -> Option<Connection> {
        state.connections.retain(|kept| self.is_current(kept));
        loop {
            let at = state.connections.iter().position(Connection::has_room)?;
            let kept = state.connections.get(at)?.clone();
            if kept.sender.clone().ready().await.is_ok() {
                return Some(kept);
            }
            state.connections.remove(at);
        }
    }

    /// Forgets a negotiated HTTP/1.1.
    pub async fn forget_version(&self) {
        self.state.lock().await.http1 = None;
    }

    fn is_current(&self, kept: &Connection) -> bool {
        let moved = kept.address.is_some_and(|address| !self.addresses.contains(address));
        !moved && !kept.usage.draining.load(Ordering::Relaxed)
    }

    async fn make(&self, to: &Uri) -> Result<Option<Connection>, ConnectError> {
        let mut attempts = self.connector.attempts();
        let mut failed = None;
        loop {
            let (stream, address) = match self.connector.connect(to, &mut attempts).await {
                Ok(connected) => connected,
                Err(error) => return Err(failed.unwrap_or_else(|| connect_error(&*error))),
            };
            let negotiated = stream.connected().is_negotiated_h2();
            if matches!(stream, MaybeHttpsStream::Https(_)) && !negotiated {
                let wrong = || ConnectError::Unreachable("the server does not support HTTP/2".into());
                return if self.may_be_http1 { Ok(None) } else { Err(wrong()) };
            }
            // Nothing was sent: if this fails, try the next address.
            match tokio::time::timeout(self.connect, self.greet(TokioIo::new(stream))).await {
                Ok(Ok((sender, usage))) => {
                    return Ok(Some(Connection { sender, address: Some(address), usage, reused: false }));
                }
                Ok(Err(error)) => failed = Some(error),
                Err(_) => {
                    if !self.connector.is_tunneled() {
                        self.addresses.failed(address);
                    }
                    let late = format!("no HTTP/2 within {} ms", self.connect.as_millis());
                    failed = Some(ConnectError::Unreachable(late));
                }
            }
        }
    }

    /// Performs the HTTP/2 handshake and waits for a PONG, so that no request goes to a server that speaks something
    /// else or rejects the gateway's certificate.
    async fn greet(&self, stream: Stream) -> Result<(SendRequest<Bytes>, Arc<Usage>), ConnectError> {
        let closed = || ConnectError::Unreachable("the connection was closed".into());
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(self.window).initial_connection_window_size(CONNECTION_WINDOW);
        builder.max_header_list_size(MAX_HEAD).enable_push(false);
        let greeted: Result<(SendRequest<Bytes>, _), _> = builder.handshake(stream).await;
        let (sender, mut connection) = greeted.map_err(|error| greeting_error(&error))?;
        let mut pings = connection.ping_pong().ok_or_else(closed)?;
        tokio::select! {
            ended = &mut connection => {
                return Err(ended.err().map_or_else(closed, |error| greeting_error(&error)));
            }
            pong = pings.ping(Ping::opaque()) => pong.map_err(|error| greeting_error(&error))?,
        };
        let usage = Arc::new(Usage { last: parking_lot::Mutex::new(Instant::now()), draining: AtomicBool::new(false) });
        tokio::spawn(drive(connection, usage.clone(), self.keepalive));
        Ok((sender, usage))
    }
}

/// Drives a connection until it ends or is idle for `keepalive`.
async fn drive(mut connection: h2::client::Connection<Stream, Bytes>, usage: Arc<Usage>, keepalive: Duration) {
    loop {
        let until = *usage.last.lock() + keepalive;
        tokio::select! {
            _ = &mut connection => return,
            () = tokio::time::sleep_until(until) => {}
        }
        let idle = Arc::strong_count(&usage) <= BASE_REFERENCES;
        if idle && usage.last.lock().elapsed() >= keepalive {
            return;
        }
        if !idle {
            *usage.last.lock() = Instant::now();
        }
    }
}

impl Connection {
    /// Whether earlier requests have used it.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the server accepts another stream at once.
    fn has_room(&self) -> bool {
        let open = Arc::strong_count(&self.usage).saturating_sub(BASE_REFERENCES);
        open < self.sender.current_max_send_streams().min(MAX_STREAMS)
    }

    /// Sends a request and waits for the head of its response until a deadline. Dropping this or the response leaves
    /// the connection in use; after the deadline it is not used again.
    pub async fn open_until(
        self,
        request: Request<Bytes>,
        until: Instant,
    ) -> Result<Result<(Parts, Body), ExchangeError>, Elapsed> {
        let Connection { mut sender, usage, .. } = self;
        let mut guard = StreamGuard { usage, over: true };
        let opened = tokio::time::timeout_at(until, open(&mut sender, request)).await;
        guard.over = opened.is_ok();
        Ok(opened?.map(|(head, stream)| (head, Body { stream, over: false, guard })))
    }

    /// Sends a request and waits for the head of its response. If this or the response is dropped early, the connection
    /// is not used again: requests that share it would wait for one that hangs.
    pub async fn open(self, request: Request<Bytes>) -> Result<(Parts, Body), ExchangeError> {
        let Connection { mut sender, usage, .. } = self;
        let mut guard = StreamGuard { usage, over: false };
        match open(&mut sender, request).await {
            Ok((head, stream)) => Ok((head, Body { stream, over: false, guard })),
            Err(error) => {
                guard.over = true;
                Err(error)
            }
        }
    }
}

/// The body of a response in progress.
pub(super) struct Body {
    stream: RecvStream,
    /// Whether it is complete, except for trailers.
    over: bool,
    guard: StreamGuard,
}

impl Body {
    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Part>, ExchangeError> {
        let part = self.read().await;
        self.guard.over |= !matches!(part, Ok(Some(Part::Data(_))));
        part
    }

    async fn read(&mut self) -> Result<Option<Part>, ExchangeError> {
        let broken = |error: h2::Error| ExchangeError::Broken(error.to_string());
        if self.over {
            return Ok(None);
        }
        if let Some(part) = self.stream.data().await {
            let part = part.map_err(broken)?;
            self.stream.flow_control().release_capacity(part.len()).map_err(broken)?;
            return Ok(Some(Part::Data(part)));
        }
        self.over = true;
        Ok(self.stream.trailers().await.map_err(broken)?.map(Part::Trailers))
    }

    /// Whether it is complete.
    pub fn is_over(&self) -> bool {
        self.over || self.stream.is_end_stream()
    }

    /// Dropping the body no longer affects the connection.
    pub fn release(&mut self) {
        self.guard.over = true;
    }

    /// The connection hangs: dropping the body ends its use.
    pub fn mark_hung(&mut self) {
        self.guard.over = false;
    }
}

/// A stream on a connection. If dropped before it is over, the connection is not used again.
struct StreamGuard {
    usage: Arc<Usage>,
    over: bool,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        *self.usage.last.lock() = Instant::now();
        if !self.over {
            self.usage.draining.store(true, Ordering::Relaxed);
        }
    }
}

async fn open(sender: &mut SendRequest<Bytes>, request: Request<Bytes>) -> Result<(Parts, RecvStream), ExchangeError> {
    let (head, body) = as_http2(request)?;
    let unsent = |error: h2::Error| ExchangeError::Refused(error.to_string());
    let (mut response, mut stream) = sender.send_request(head, body.is_empty()).map_err(unsent)?;
    if !body.is_empty() {
        // If it cannot be sent, the response has the reason.
        let _ = stream.send_data(body, true);
    }
    // A server that sent an informational response has seen the request.
    let mut begun = false;
    let head = std::future::poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(_))) = response.poll_informational(cx) {
            begun = true;
        }
        Pin::new(&mut response).poll(cx)
    });
    let head = head.await;
    let failed = |error: h2::Error| match error.is_io() {
        _ if was_refused(&error) && !begun => ExchangeError::Refused(error.to_string()),
        true if !begun => ExchangeError::Closed,
        _ => ExchangeError::Broken(error.to_string()),
    };
    Ok(head.map_err(failed)?.into_parts())
}

/// Converts a request to HTTP/2: the host becomes `:authority`, and may differ from the host to connect to.
fn as_http2(request: Request<Bytes>) -> Result<(Request<()>, Bytes), ExchangeError> {
    let (mut head, body) = request.into_parts();
    head.version = Version::HTTP_2;
    if let Some(host) = head.headers.remove(HOST) {
        let mut parts = head.uri.into_parts();
        parts.authority = host.as_bytes().try_into().ok().or(parts.authority);
        head.uri = Uri::from_parts(parts).map_err(|error| ConnectError::Unreachable(error.to_string()))?;
    }
    if !body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(&head.method) {
        head.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    Ok((Request::from_parts(head, ()), body))
}
