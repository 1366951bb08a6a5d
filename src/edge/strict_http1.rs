//! The stream of an HTTP/1 connection. It releases one request at a time to Pingora, and only requests whose framing
//! every server reads alike ([`crate::wire::http1`]).
//!
//! Pingora accepts a bare LF as end of line, encodes invalid characters in the target, merges repeated lengths, and
//! rejects some requests without a log line or body. All this is detected here, before Pingora sees a byte. A request
//! that is not strict is replaced by an outline of itself, which the gateway then rejects like any other request.
//! Pipelined requests are held back until the one before has its response.

use super::client_stream::ClientStream;
use crate::wire::http1::{BodyFraming, HeadLimits, HeadParser, RequestError};
use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
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
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The reading state of one connection, shared by its stream and the gateway.
#[derive(Debug)]
pub(super) struct StrictHttp1Reader {
    limits: HeadLimits,
    /// Whether `Host` may contain something else than a host (Unix sockets).
    host_optional: bool,
    state: Mutex<ReaderState>,
}

#[derive(Debug)]
struct ReaderState {
    position: Position,
    head: HeadParser,
    /// Bytes received and not released yet.
    pending: BytesMut,
    /// How many of them may be released.
    ready: usize,
    /// The length of the head that was read last; 0 if it is not complete.
    head_length: usize,
    /// The declared length of its body, in bytes; 0 without a body, `None` if it is not declared.
    body_length: Option<u64>,
    fault: Option<RequestError>,
    /// The task that waits for pending bytes.
    waiting: Option<Waker>,
}

/// The position in the byte stream.
#[derive(Debug)]
enum Position {
    /// Between two requests: nothing is released.
    Between,
    /// In a head: nothing is released before it is complete.
    Head,
    Body(BodyFraming),
    /// After a switch of protocols: everything is released.
    Tunnel,
    /// At the end: only what is ready is still released.
    Over,
}

impl StrictHttp1Reader {
    pub fn new(limits: HeadLimits, host_optional: bool) -> Arc<StrictHttp1Reader> {
        let state = ReaderState {
            position: Position::Between,
            head: HeadParser::new(limits).host_optional(host_optional),
            pending: BytesMut::new(),
            ready: 0,
            head_length: 0,
            body_length: None,
            fault: None,
            waiting: None,
        };
        Arc::new(StrictHttp1Reader { limits, host_optional, state: Mutex::new(state) })
    }

    /// Wraps the connection's stream for Pingora.
    pub fn wrap(self: &Arc<StrictHttp1Reader>, stream: ClientStream) -> StrictHttp1Stream {
        StrictHttp1Stream { stream, reader: self.clone() }
    }

    /// Whether the next request, or a part of it, has arrived.
    pub fn has_more(&self) -> bool {
        !self.state.lock().pending.is_empty()
    }

    /// Allows the next request to be released.
    pub fn start_request(&self) {
        let mut state = self.state.lock();
        state.head = HeadParser::new(self.limits).host_optional(self.host_optional);
        state.head_length = 0;
        state.position = match state.position {
            Position::Between => Position::Head,
            // Pingora ended the request at another byte than this reader: nothing that follows can be trusted.
            Position::Head | Position::Body(_) | Position::Tunnel | Position::Over => Position::Over,
        };
    }

    /// The framing fault of the last request, if any.
    pub fn fault(&self) -> Option<RequestError> {
        self.state.lock().fault
    }

    /// Switches to a tunnel: the bytes that follow are not HTTP.
    pub fn open_tunnel(&self) {
        let mut state = self.state.lock();
        if matches!(state.position, Position::Between) {
            state.position = Position::Tunnel;
            state.ready = state.pending.len();
            state.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl ReaderState {
    /// How many of these bytes may be released. In a head, which begins with them: none before it is complete.
    fn check(&mut self, bytes: &[u8]) -> Result<usize, RequestError> {
        let mut taken = 0;
        if matches!(self.position, Position::Head) {
            let Some(end) = self.head.read(bytes)? else {
                return Ok(0);
            };
            taken = end.length;
            (self.head_length, self.body_length) = (end.length, end.body.left());
            self.position = Position::Body(end.body);
        }
        match &mut self.position {
            Position::Body(body) => {
                taken += body.take(bytes.get(taken..).unwrap_or_default())?;
                if body.is_over() {
                    self.position = Position::Between;
                }
            }
            Position::Tunnel => taken = bytes.len(),
            Position::Between | Position::Head | Position::Over => {}
        }
        Ok(taken)
    }

    /// Checks the pending bytes, which begin with a head.
    fn check_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        match self.check(&pending) {
            Ok(taken) => {
                self.pending = pending;
                self.ready = taken;
            }
            Err(fault) => self.placeholder(fault, &pending),
        }
    }

    /// Replaces a request, of which nothing was released, by its outline.
    fn placeholder(&mut self, fault: RequestError, bytes: &[u8]) {
        self.fault = Some(fault);
        self.position = Position::Over;
        self.pending = BytesMut::from(self.head.placeholder(bytes).as_slice());
        self.ready = self.pending.len();
    }

    /// Releases what is ready.
    fn hand_out(&mut self, buffer: &mut ReadBuf) {
        let part = self.ready.min(buffer.remaining());
        buffer.put_slice(self.pending.get(..part).unwrap_or_default());
        self.advance(part);
    }

    /// Takes bytes that are ready.
    fn advance(&mut self, length: usize) {
        self.pending.advance(length);
        self.ready -= length;
        if self.pending.is_empty() {
            // An idle connection holds no buffer.
            self.pending = BytesMut::new();
        }
    }

    /// Checks the bytes that were read into `buffer` after `before`, behind a head, and leaves in it what may be released.
    fn receive(&mut self, buffer: &mut ReadBuf, before: usize) -> io::Result<()> {
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        match self.check(bytes) {
            Ok(taken) => {
                self.pending.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                buffer.set_filled(before + taken);
                Ok(())
            }
            Err(fault) => {
                self.fault = Some(fault);
                self.position = Position::Over;
                buffer.set_filled(before);
                Err(io::Error::new(io::ErrorKind::InvalidData, fault))
            }
        }
    }

    /// Whether the request has more bytes than were released.
    fn is_cut(&self) -> bool {
        self.fault.is_some() || matches!(self.position, Position::Body(_))
    }
}

/// A stream that releases one request at a time.
#[derive(Debug)]
pub(crate) struct StrictHttp1Stream {
    stream: ClientStream,
    reader: Arc<StrictHttp1Reader>,
}

impl StrictHttp1Stream {
    /// Whether the client of this session has closed the connection, even if bytes that it sent before have not been
    /// read.
    pub fn is_disconnected(session: &Session) -> bool {
        let stream = session.as_http1().map(|session| session.stream());
        let wrap = stream.and_then(|stream| (**stream).as_any().downcast_ref::<StrictHttp1Stream>());
        wrap.is_some_and(|wrap| wrap.stream.is_disconnected())
    }

    /// Takes what was read ahead. Returns `true` if nothing more has to be read before the next request is served: its
    /// head is complete, or rejected.
    pub(super) fn has_head(&mut self) -> bool {
        let mut state = self.reader.state.lock();
        if matches!(state.position, Position::Head) {
            state.pending.extend_from_slice(&self.stream.take_ahead());
            state.check_pending();
        }
        !matches!(state.position, Position::Head)
    }

    /// The head of the next request, if all of it has arrived, it is valid, the length of its body is known, and its host
    /// and target are `wanted`. It stays in the stream.
    pub(super) fn whole_head(&mut self, wanted: impl FnOnce(&str, &str) -> bool) -> Option<Bytes> {
        let state = self.reader.state.lock();
        if state.head_length == 0 || state.fault.is_some() || state.body_length.is_none() {
            return None;
        }
        let head = state.pending.get(..state.head_length)?;
        let (host, target) = state.head.destination(head)?;
        wanted(host, target).then(|| Bytes::copy_from_slice(head))
    }

    /// Takes the head of [`StrictHttp1Stream::whole_head`] out of the stream. The body is next.
    pub fn take_head(&mut self) {
        let mut state = self.reader.state.lock();
        let length = std::mem::take(&mut state.head_length);
        state.advance(length);
    }

    /// Whether all of the body has arrived, too.
    pub fn has_whole_request(&self) -> bool {
        !matches!(self.reader.state.lock().position, Position::Body(_))
    }

    /// How many bytes of the body have not been read.
    pub fn body_left(&self) -> u64 {
        let state = self.reader.state.lock();
        let missing = match &state.position {
            Position::Body(body) => body.left().unwrap_or(0),
            Position::Between | Position::Head | Position::Tunnel | Position::Over => 0,
        };
        missing + (state.ready - state.head_length.min(state.ready)) as u64
    }

    /// The client's stream.
    pub(super) fn inner(&mut self) -> &mut ClientStream {
        &mut self.stream
    }
}

impl AsyncRead for StrictHttp1Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let StrictHttp1Stream { stream, reader } = self.get_mut();
        if stream.response_is_late(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the provider does not respond")));
        }
        let mut state = reader.state.lock();
        let before = buffer.filled().len();
        loop {
            if state.ready > 0 {
                state.hand_out(buffer);
                return Poll::Ready(Ok(()));
            }
            match state.position {
                // A head is read before the request is served.
                Position::Head | Position::Over => return Poll::Ready(Ok(())),
                Position::Between if !state.pending.is_empty() => {
                    state.waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Position::Between | Position::Body(_) | Position::Tunnel => {}
            }
            ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            state.receive(buffer, before)?;
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
        let StrictHttp1Stream { stream, reader } = self.get_mut();
        if reader.state.lock().is_cut() {
            // Closing with unread bytes would reset the connection and lose the response.
            return stream.poll_end(cx).map(Ok);
        }
        Pin::new(stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for StrictHttp1Stream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
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
