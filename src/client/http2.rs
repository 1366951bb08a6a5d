//! HTTP/2, on one connection that requests share.
//!
//! Common clients cannot tell whether a request that failed was looked at: they give the error of a connection also to
//! requests that came before its end. Here it is told by each stream's own.

use super::connector::{self, Connector};
use super::failure::was_refused;
use super::part::Part;
use super::{Addresses, ConnectOptions, ExchangeError};
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

/// How much of a response may be on its way to one who reads it whole at once.
const BUFFERED_WINDOW: u32 = 2 << 20;
/// The same where it goes on to a client, which may be slow: so much of it may be held until the client takes it.
pub const STREAMING_WINDOW: u32 = 256 << 10;
/// The same of all responses on a connection: more than those of all its streams together, so that nobody waits for a
/// client of another's.
pub const CONNECTION_WINDOW: u32 = 1 << 30;
/// Requests that share a connection at the same time, where the other side takes as many.
const MAX_STREAMS: usize = 100;
/// How often it is held how a connection is used, beside the requests on it: where it is driven, and where the next
/// request looks.
const BASE_REFERENCES: usize = 2;
/// The largest head of a response.
const MAX_HEAD: u32 = 64 << 10;
/// For how long it is remembered that TLS agreed on HTTP/1.1.
const HTTP1_TTL: Duration = Duration::from_secs(600);

type Stream = TokioIo<connector::Stream>;

/// The way to one host.
pub(super) struct Http2 {
    connector: Connector,
    addresses: Arc<Addresses>,
    /// Whether the other side may choose HTTP/1.1.
    may_be_http1: bool,
    connect: Duration,
    keepalive: Duration,
    /// How much of a response may be on its way.
    window: u32,
    state: Mutex<Http2State>,
}

#[derive(Default)]
struct Http2State {
    connections: Vec<Connection>,
    /// The last failure to connect, so that not all who waited for it try for themselves.
    failure: Option<(Instant, String)>,
    /// When TLS last agreed on HTTP/1.1.
    http1: Option<Instant>,
}

/// A connection, ready to take a request.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    address: Option<SocketAddr>,
    usage: Arc<Usage>,
    /// Whether it was there before.
    reused: bool,
}

/// How a connection is used.
struct Usage {
    last: parking_lot::Mutex<Instant>,
    /// Whether it takes no further requests.
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

    /// The same way, with a connection of its own, for responses that go on to clients.
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

    /// A connection that requests share; none where the other side chose HTTP/1.1. Nothing was sent where this fails.
    pub async fn connection(&self, to: &Uri) -> Result<Option<Connection>, ExchangeError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if state.http1.is_some_and(|at| at.elapsed() < HTTP1_TTL) {
            return Ok(None);
        }
        if let Some(kept) = self.kept(&mut state).await {
            return Ok(Some(kept));
        }
        if let Some((_, reason)) = state.failure.as_ref().filter(|(at, _)| *at > asked) {
            return Err(ExchangeError::Connect(reason.clone()));
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
            Err(reason) => {
                state.failure = Some((Instant::now(), reason.clone()));
                Err(ExchangeError::Connect(reason))
            }
        }
    }

    /// One of the connections that there are, which takes another request.
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

    /// The other side is to be asked again which version it speaks.
    pub async fn forget_version(&self) {
        self.state.lock().await.http1 = None;
    }

    fn is_current(&self, kept: &Connection) -> bool {
        let moved = kept.address.is_some_and(|address| !self.addresses.contains(address));
        !moved && !kept.usage.draining.load(Ordering::Relaxed)
    }

    async fn make(&self, to: &Uri) -> Result<Option<Connection>, String> {
        let mut attempts = self.connector.attempts();
        let mut failed = None;
        loop {
            let (stream, address) = match self.connector.connect(to, &mut attempts).await {
                Ok(connected) => connected,
                Err(error) => return Err(failed.unwrap_or_else(|| describe(&*error))),
            };
            let negotiated = stream.connected().is_negotiated_h2();
            if matches!(stream, MaybeHttpsStream::Https(_)) && !negotiated {
                return if self.may_be_http1 { Ok(None) } else { Err("the other side does not speak HTTP/2".into()) };
            }
            // Nothing was sent: where this fails, another address may be better.
            match tokio::time::timeout(self.connect, self.greet(TokioIo::new(stream))).await {
                Ok(Ok((sender, usage))) => {
                    return Ok(Some(Connection { sender, address: Some(address), usage, reused: false }));
                }
                Ok(Err(error)) => failed = Some(error),
                Err(_) => {
                    self.addresses.failed(address);
                    failed = Some(format!("no HTTP/2 within {} ms", self.connect.as_millis()));
                }
            }
        }
    }

    /// Takes up HTTP/2, and waits for a sign that the other side has too: whoever speaks something else, or does not
    /// accept the gateway's certificate, gets no request.
    async fn greet(&self, stream: Stream) -> Result<(SendRequest<Bytes>, Arc<Usage>), String> {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(self.window).initial_connection_window_size(CONNECTION_WINDOW);
        builder.max_header_list_size(MAX_HEAD).enable_push(false);
        let greeted: Result<(SendRequest<Bytes>, _), _> = builder.handshake(stream).await;
        let (sender, mut connection) = greeted.map_err(|error| error.to_string())?;
        let mut pings = connection.ping_pong().ok_or("no ping")?;
        tokio::select! {
            ended = &mut connection => {
                return Err(ended.err().map_or("the connection was closed".into(), |error| error.to_string()));
            }
            pong = pings.ping(Ping::opaque()) => pong.map_err(|error| error.to_string())?,
        };
        let usage = Arc::new(Usage { last: parking_lot::Mutex::new(Instant::now()), draining: AtomicBool::new(false) });
        tokio::spawn(drive(connection, usage.clone(), self.keepalive));
        Ok((sender, usage))
    }
}

/// Moves what goes over a connection, until it ends, or nobody has used it for long.
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

/// An error, and what it came from.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Connection {
    /// Whether it was there before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the other side takes another request at once.
    fn has_room(&self) -> bool {
        let open = Arc::strong_count(&self.usage).saturating_sub(BASE_REFERENCES);
        open < self.sender.current_max_send_streams().min(MAX_STREAMS)
    }

    /// Sends a request, and waits for the head of its response until a time. Who gives this up before that, or its
    /// response, does so for reasons of its own; where the time is up, the connection is left.
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

    /// Sends a request, and waits for the head of its response. Where this is given up before the response's end, the
    /// connection is left: all who share it would wait for one that hangs.
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

/// The body of a response, of which parts may still be to come.
pub(super) struct Body {
    stream: RecvStream,
    /// Whether all of it has come, but for what stands behind.
    over: bool,
    guard: StreamGuard,
}

impl Body {
    /// The next part; none at the end.
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

    /// Whether its end has come.
    pub fn is_over(&self) -> bool {
        self.over || self.stream.is_end_stream()
    }

    /// From here on, who gives it up does so for reasons of its own.
    pub fn release(&mut self) {
        self.guard.over = true;
    }

    /// Nothing comes over its connection.
    pub fn mark_hung(&mut self) {
        self.guard.over = false;
    }
}

/// A request on a connection.
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
        // Where it cannot be sent any more, the response says why.
        let _ = stream.send_data(body, true);
    }
    // Whoever has sent an informational response has seen the request, whatever it says afterwards.
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

/// A request as HTTP/2 has it: the host is a part of the target, and may be another than the one that is connected to.
fn as_http2(request: Request<Bytes>) -> Result<(Request<()>, Bytes), ExchangeError> {
    let (mut head, body) = request.into_parts();
    head.version = Version::HTTP_2;
    if let Some(host) = head.headers.remove(HOST) {
        let mut parts = head.uri.into_parts();
        parts.authority = host.as_bytes().try_into().ok().or(parts.authority);
        head.uri = Uri::from_parts(parts).map_err(|error| ExchangeError::Connect(error.to_string()))?;
    }
    if !body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(&head.method) {
        head.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    Ok((Request::from_parts(head, ()), body))
}
