//! The stream under a connection of HTTP/1. It hands out one request at a time, and only requests that are framed in
//! the one way that everybody reads alike ([`crate::wire::http1`]).
//!
//! Pingora takes a bare LF for the end of a line, encodes what may not stand in a target, adds up repeated lengths, and
//! knows of what it rejects by itself neither a log line nor a body. All that is found here, before Pingora sees a byte
//! of it: what is not plain is replaced by an outline of itself, which the gateway then rejects like any other request.
//! Requests that a client sends before it has its response are held back until their turn.

use super::client_stream::ClientStream;
use crate::wire::http1::{Body, Fault, Head, HeadLimits};
use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use pingora::prelude::Session;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How long a client whose request was not read to its end is listened to, so that it gets to read the response.
const LINGER: Duration = Duration::from_secs(1);
/// How much it may send meanwhile, in bytes.
const LINGER_BYTES: usize = 1 << 20;

/// The requests of one connection, as its stream and the gateway see them.
#[derive(Debug)]
pub(super) struct StrictRequests {
    limits: HeadLimits,
    /// Whether clients may send something else than a host in `Host`.
    nameless: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    head: Head,
    /// What has come and was not handed out yet.
    held: BytesMut,
    /// How much of that may be handed out.
    ready: usize,
    fault: Option<Fault>,
    /// Who waits for what is held.
    waiting: Option<Waker>,
}

/// Where a connection stands.
#[derive(Debug)]
enum Stage {
    /// Between two requests: nothing is handed out.
    Between,
    /// In a head, of which nothing was handed out yet.
    Head,
    /// In a body.
    Body(Body),
    /// No longer in HTTP: everything is handed out.
    Tunnel,
    /// Nothing more is handed out than what is ready.
    Over,
}

impl StrictRequests {
    pub fn new(limits: HeadLimits, nameless: bool) -> Arc<StrictRequests> {
        let state = State {
            stage: Stage::Between,
            head: Head::new(limits).nameless(nameless),
            held: BytesMut::new(),
            ready: 0,
            fault: None,
            waiting: None,
        };
        Arc::new(StrictRequests { limits, nameless, state: Mutex::new(state) })
    }

    /// The connection's stream, as Pingora gets it.
    pub fn framed(self: &Arc<StrictRequests>, stream: ClientStream) -> StrictHttp1Stream {
        StrictHttp1Stream { stream, requests: self.clone() }
    }

    /// Whether the next request, or a part of it, is here already.
    pub fn has_more(&self) -> bool {
        !self.state.lock().held.is_empty()
    }

    /// The next request may be handed out.
    pub fn expect(&self) {
        let mut state = self.state.lock();
        state.head = Head::new(self.limits).nameless(self.nameless);
        state.stage = match state.stage {
            Stage::Between => Stage::Head,
            // Pingora has seen the end of a request where it is not: nothing that follows can be trusted.
            Stage::Head | Stage::Body(_) | Stage::Tunnel | Stage::Over => Stage::Over,
        };
        if matches!(state.stage, Stage::Head) && !state.held.is_empty() {
            state.look();
        }
    }

    /// What is wrong with the request that was handed out last.
    pub fn fault(&self) -> Option<Fault> {
        self.state.lock().fault
    }

    /// From here on the connection does not speak HTTP any more.
    pub fn open_tunnel(&self) {
        let mut state = self.state.lock();
        if matches!(state.stage, Stage::Between) {
            state.stage = Stage::Tunnel;
            state.ready = state.held.len();
            state.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl State {
    /// How many of these bytes may be handed out: in a head, which begins with them, none before it is complete.
    fn check(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        if matches!(self.stage, Stage::Head) {
            let Some(end) = self.head.read(bytes)? else {
                return Ok(0);
            };
            taken = end.length;
            self.stage = Stage::Body(end.body);
        }
        match &mut self.stage {
            Stage::Body(body) => {
                taken += body.take(bytes.get(taken..).unwrap_or_default())?;
                if body.is_over() {
                    self.stage = Stage::Between;
                }
            }
            Stage::Tunnel => taken = bytes.len(),
            Stage::Between | Stage::Head | Stage::Over => {}
        }
        Ok(taken)
    }

    /// Looks at what is held, which begins with a head.
    fn look(&mut self) {
        let held = std::mem::take(&mut self.held);
        match self.check(&held) {
            Ok(taken) => {
                self.held = held;
                self.ready = taken;
            }
            Err(fault) => self.outline(fault, &held),
        }
    }

    /// Puts an outline in the place of a request of which nothing was handed out.
    fn outline(&mut self, fault: Fault, bytes: &[u8]) {
        self.fault = Some(fault);
        self.stage = Stage::Over;
        self.held = BytesMut::from(self.head.outline(bytes).as_slice());
        self.ready = self.held.len();
    }

    /// Hands out what may be.
    fn give(&mut self, buffer: &mut ReadBuf) {
        let part = self.ready.min(buffer.remaining());
        buffer.put_slice(self.held.get(..part).unwrap_or_default());
        self.held.advance(part);
        self.ready -= part;
        if self.held.is_empty() {
            // Connections that wait should cost nothing.
            self.held = BytesMut::new();
        }
    }

    /// Takes what has come into a buffer behind `before`, and leaves in it what may be handed out.
    fn come(&mut self, buffer: &mut ReadBuf, before: usize) -> io::Result<()> {
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if !self.held.is_empty() || matches!(self.stage, Stage::Between) {
            self.held.extend_from_slice(bytes);
            buffer.set_filled(before);
            if matches!(self.stage, Stage::Head) {
                self.look();
            }
            return Ok(());
        }
        let begun = !matches!(self.stage, Stage::Head);
        match self.check(bytes) {
            Ok(taken) => {
                self.held.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                buffer.set_filled(before + taken);
            }
            Err(fault) if begun => {
                self.fault = Some(fault);
                self.stage = Stage::Over;
                buffer.set_filled(before);
                return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
            }
            Err(fault) => {
                self.outline(fault, bytes);
                buffer.set_filled(before);
            }
        }
        Ok(())
    }

    /// Whether there is more of the request than was handed out.
    fn is_cut(&self) -> bool {
        self.fault.is_some() || matches!(self.stage, Stage::Body(_))
    }
}

/// A stream that hands out one request at a time.
#[derive(Debug)]
pub(crate) struct StrictHttp1Stream {
    stream: ClientStream,
    requests: Arc<StrictRequests>,
}

impl StrictHttp1Stream {
    /// Whether the client of a request has left, whatever it sent before.
    pub fn has_left(session: &Session) -> bool {
        let stream = session.as_http1().map(|session| session.stream());
        let framed = stream.and_then(|stream| (**stream).as_any().downcast_ref::<StrictHttp1Stream>());
        framed.is_some_and(|framed| framed.stream.has_left())
    }

    /// The connection itself.
    pub(super) fn inner(&mut self) -> &mut ClientStream {
        &mut self.stream
    }
}

impl AsyncRead for StrictHttp1Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let StrictHttp1Stream { stream, requests } = self.get_mut();
        if stream.response_is_late(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the provider does not answer")));
        }
        let mut state = requests.state.lock();
        let before = buffer.filled().len();
        loop {
            if state.ready > 0 {
                state.give(buffer);
                return Poll::Ready(Ok(()));
            }
            match state.stage {
                Stage::Over => return Poll::Ready(Ok(())),
                Stage::Between if !state.held.is_empty() => {
                    state.waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Stage::Between | Stage::Head | Stage::Body(_) | Stage::Tunnel => {}
            }
            ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            state.come(buffer, before)?;
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for StrictHttp1Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for StrictHttp1Stream {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut self.stream).await;
        let cut = self.requests.state.lock().is_cut();
        if cut {
            // Closing on what has come and was not read would reset the connection, and take the response along.
            let _ = tokio::time::timeout(LINGER, drain(&mut self.stream)).await;
        }
    }
}

async fn drain(stream: &mut ClientStream) -> io::Result<()> {
    let mut part = [0; 4096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match stream.read(&mut part).await? {
            0 => return Ok(()),
            length => left = left.saturating_sub(length),
        }
    }
    Ok(())
}

impl Peek for StrictHttp1Stream {}

impl UniqueID for StrictHttp1Stream {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for StrictHttp1Stream {}

impl GetTimingDigest for StrictHttp1Stream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for StrictHttp1Stream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.stream.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for StrictHttp1Stream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.stream.set_socket_digest(digest);
    }
}
