//! A client's connection, as Pingora reads and writes it. It enforces the client timeouts where it reads and writes, so
//! that requests need no timers of their own. Between requests a connection holds no buffers.

mod read;
mod stream;

use super::authorities::AuthorityRewriter;
use super::client_timing::ClientTiming;
use super::flood_guard::FloodGuard;
use super::memory_share::{MemoryShare, UnreadBytes};
use super::socket::{Socket, Transport};
use crate::telemetry::DisconnectReason;
use pingora::protocols::SocketDigest;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

/// Bytes that are buffered before they are written: a response's head and a small body go out together.
const WRITE_BUFFER: usize = 4096;
/// Bytes per read before the protocol is known, and while lingering.
const READ_LENGTH: usize = 2048;
/// How long a disconnected client may go on sending, so that it can read why it was disconnected.
const LINGER: Duration = Duration::from_secs(2);
/// The most bytes that it may send meanwhile: a flood is not read to its end.
const LINGER_BYTES: usize = 1 << 20;

/// A client's connection.
#[derive(Debug)]
pub(super) struct ClientStream {
    transport: Transport,
    digest: Arc<SocketDigest>,
    timing: Arc<ClientTiming>,
    /// Bytes that were read to detect the protocol.
    ahead: Vec<u8>,
    /// Bytes to be written.
    out: Vec<u8>,
    /// How many of them have been written.
    written: usize,
    flood_guard: Option<Box<FloodGuard>>,
    /// Rewrites authorities of HTTP/2 requests; only over Unix sockets.
    authorities: Option<Box<AuthorityRewriter>>,
    /// Memory of its open HTTP/2 streams.
    streams: Option<UnreadBytes>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when writes block because the client does not read.
    blocked_since: Option<Instant>,
    /// Until when a disconnected client may go on sending.
    linger_until: Option<Instant>,
    /// How many bytes it has sent meanwhile.
    lingered_bytes: usize,
}

impl ClientStream {
    /// A connection without TLS.
    pub fn plain(socket: Socket, digest: Arc<SocketDigest>, timing: Arc<ClientTiming>) -> ClientStream {
        ClientStream::new(Transport::Plain(socket), digest, timing)
    }

    /// A connection over TLS.
    pub fn encrypted(stream: TlsStream<Socket>, digest: Arc<SocketDigest>, timing: Arc<ClientTiming>) -> ClientStream {
        ClientStream::new(Transport::Tls(Box::new(stream)), digest, timing)
    }

    fn new(transport: Transport, digest: Arc<SocketDigest>, timing: Arc<ClientTiming>) -> ClientStream {
        ClientStream {
            transport,
            digest,
            timing,
            ahead: Vec::new(),
            out: Vec::new(),
            written: 0,
            flood_guard: None,
            authorities: None,
            streams: None,
            timer: None,
            blocked_since: None,
            linger_until: None,
            lingered_bytes: 0,
        }
    }

    /// Starts to inspect HTTP/2 frames, including those that were read ahead. `size` limits the bytes of a head.
    pub fn start_http2(&mut self, size: usize) {
        let connection = &self.timing.connection;
        connection.uploads.set_rate(self.timing.timeouts.body_rate);
        self.flood_guard = Some(Box::new(connection.flood_guard()));
        self.authorities = connection.unix_socket.then(|| Box::new(AuthorityRewriter::new(size)));
        self.streams = Some(connection.share.response());
        self.share().start_http2();
    }

    fn share(&self) -> &Arc<MemoryShare> {
        &self.timing.connection.share
    }

    /// Updates the memory share with the state of the client's flow control.
    fn update_share(&mut self) {
        let windows = self.flood_guard.as_ref().map(|flood_guard| flood_guard.windows());
        let starved = windows.is_some_and(|windows| windows.is_blocked());
        if let (Some(streams), Some(windows)) = (&mut self.streams, windows) {
            streams.set_streams(windows.open());
            self.timing.connection.share.set_open_streams(windows.open());
            self.timing.connection.share.set_completed(windows.completed());
        }
        self.share().set_blocked(starved || self.blocked_since.is_some());
    }

    /// The client's socket accepted this many bytes.
    fn bytes_written(&mut self, bytes: usize) {
        if self.flood_guard.is_none() {
            self.share().client_read(bytes);
        }
        if self.blocked_since.take().is_some() {
            self.update_share();
        }
    }

    /// Bytes that were read ahead.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Takes the bytes that were read ahead.
    pub fn take_ahead(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ahead)
    }

    /// Reads ahead. Returns `false` if the connection has ended.
    pub async fn read_ahead(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| {
            let mut bytes = [0; READ_LENGTH];
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(self.poll_client(cx, &mut buf))?;
            self.ahead.extend_from_slice(buf.filled());
            Poll::Ready(Ok(!buf.filled().is_empty()))
        })
        .await
    }

    /// Frees the buffers until the next request.
    pub fn release_buffers(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }

    /// Reads from the client, within its timeouts.
    fn poll_client(&mut self, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        if self.linger_until.is_some() {
            return self.poll_linger(cx);
        }
        let before = buf.filled().len();
        let received = self.transport.poll_read(cx, buf);
        if self.check_timeout(received)?.is_ready() {
            let received = buf.filled().get(before..).unwrap_or_default();
            self.timing.received(received.len());
            return Poll::Ready(Ok(()));
        }
        let deadline = match &self.flood_guard {
            Some(flood_guard) => flood_guard
                .head_started()
                .map(|since| (since + self.timing.timeouts.head, DisconnectReason::HeadTimeout)),
            None => self.timing.deadline(),
        };
        match deadline {
            Some((deadline, reason)) if self.is_past(cx, deadline) => {
                self.disconnect(cx, reason);
                self.poll_linger(cx)
            }
            Some(_) | None => Poll::Pending,
        }
    }

    /// Whether the provider's response has missed its deadline. If not, the task is woken at the deadline.
    pub fn response_is_late(&mut self, cx: &mut Context) -> bool {
        let late = self.timing.response_deadline().is_some_and(|due| self.is_past(cx, due));
        if late {
            self.timing.response_is_late();
        }
        late
    }

    /// Whether the deadline has passed. If not, the task is woken then, or earlier if an earlier deadline is pending.
    fn is_past(&mut self, cx: &mut Context, deadline: Instant) -> bool {
        loop {
            if Instant::now() >= deadline {
                return true;
            }
            let wanted = tokio::time::Instant::from_std(deadline);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(wanted)));
            // A timer that fires too early costs one check; one that fires too late misses the deadline.
            if timer.deadline() > wanted || timer.is_elapsed() {
                timer.as_mut().reset(wanted);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    /// Sends the reason for the disconnect, as far as the protocol allows: GOAWAY, or status 408.
    fn disconnect(&mut self, cx: &mut Context, reason: DisconnectReason) {
        self.timing.set_disconnect_reason(reason);
        let response: Option<&[u8]> = match (&self.flood_guard, reason) {
            (Some(flood_guard), _) => {
                self.linger_until = Some(Instant::now() + LINGER);
                if let Some(goaway) = flood_guard.goaway(reason) {
                    self.out.extend_from_slice(&goaway);
                }
                None
            }
            (None, DisconnectReason::HeadTimeout) if self.timing.is_in_head() => {
                Some(b"HTTP/1.1 408 Request Timeout\r\n")
            }
            (None, _) => None,
        };
        if let Some(status) = response {
            self.linger_until = Some(Instant::now() + LINGER);
            self.out.extend_from_slice(status);
            self.out.extend_from_slice(b"Connection: close\r\nContent-Length: 0\r\n\r\n");
        }
        let _ = self.poll_buffered(cx);
        let _ = self.transport.poll_flush(cx);
    }

    /// Ends the connection: sends what is buffered, and reads and discards what the client still sends, within bounds, so
    /// that the client can read the response.
    pub fn poll_end(&mut self, cx: &mut Context) -> Poll<()> {
        self.linger_until.get_or_insert_with(|| Instant::now() + LINGER);
        self.poll_linger(cx).map(drop)
    }

    /// Reads and discards what a disconnected client sends, so that the network does not drop the reason sent to it;
    /// then fails.
    fn poll_linger(&mut self, cx: &mut Context) -> Poll<io::Result<()>> {
        let timed_out = || Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client was disconnected")));
        let Some(until) = self.linger_until else {
            return timed_out();
        };
        let sent = self.poll_buffered(cx).is_ready();
        if sent && self.transport.poll_shutdown(cx).is_pending() {
            return if self.is_past(cx, until) { timed_out() } else { Poll::Pending };
        }
        let mut bytes = [0; READ_LENGTH];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            match self.transport.poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if self.may_linger(buf.filled().len(), until) => {}
                Poll::Ready(_) => return timed_out(),
                Poll::Pending if self.is_past(cx, until) => return timed_out(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether to go on reading from a disconnected client that has just sent `received` bytes.
    fn may_linger(&mut self, received: usize, until: Instant) -> bool {
        self.lingered_bytes += received;
        received > 0 && self.lingered_bytes <= LINGER_BYTES && Instant::now() < until
    }

    /// Writes the buffered bytes.
    fn poll_buffered(&mut self, cx: &mut Context) -> Poll<io::Result<()>> {
        while let Some(left) = self.out.get(self.written..).filter(|left| !left.is_empty()) {
            let written = self.transport.poll_write(cx, left);
            let Poll::Ready(written) = self.check_timeout(written)? else {
                return self.poll_blocked(cx);
            };
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.bytes_written(written);
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Records a write timeout if the kernel has closed the connection for it (`TCP_USER_TIMEOUT`).
    fn check_timeout<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == ErrorKind::TimedOut
        {
            self.timing.set_disconnect_reason(DisconnectReason::WriteTimeout);
        }
        result
    }

    /// Writes block: waits for the client, up to the write timeout or until its memory is shed.
    fn poll_blocked<T>(&mut self, cx: &mut Context) -> Poll<io::Result<T>> {
        if self.blocked_since.is_none() {
            self.blocked_since = Some(Instant::now());
            self.update_share();
        }
        self.share().wake_when_shed(cx.waker());
        let given_up = self.share().is_shed();
        let since = self.blocked_since.unwrap_or_else(Instant::now);
        if given_up || self.is_past(cx, since + self.timing.timeouts.write) {
            self.timing.set_disconnect_reason(if given_up {
                DisconnectReason::Memory
            } else {
                DisconnectReason::WriteTimeout
            });
            self.transport.discard_unsent();
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client stopped reading")));
        }
        Poll::Pending
    }

    /// Reads from the client through the flood guard.
    fn poll_guarded(&mut self, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let disconnect_reason = self.flood_guard.as_ref().and_then(|flood_guard| flood_guard.disconnect_reason());
        if let Some(reason) = disconnect_reason.filter(|_| self.linger_until.is_none()) {
            self.disconnect(cx, reason);
            return self.poll_linger(cx);
        }
        if self.ahead.is_empty() {
            ready!(self.poll_client(cx, buf))?;
        } else {
            let taken = self.ahead.len().min(buf.remaining());
            buf.put_slice(self.ahead.get(..taken).unwrap_or_default());
            self.ahead.drain(..taken);
        }
        let received = buf.filled().get(before..).unwrap_or_default();
        let disconnect_reason =
            self.flood_guard.as_mut().and_then(|flood_guard| flood_guard.received(received, Instant::now()));
        if self.flood_guard.is_some() {
            self.update_share();
        }
        if let Some(reason) = disconnect_reason {
            self.disconnect(cx, reason);
            buf.set_filled(before);
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.out.len() + data.len() > WRITE_BUFFER {
            ready!(this.poll_buffered(cx))?;
        }
        let taken = if data.len() < WRITE_BUFFER {
            this.out.extend_from_slice(data);
            data.len()
        } else {
            let written = this.transport.poll_write(cx, data);
            match this.check_timeout(written)? {
                Poll::Ready(taken) => {
                    this.bytes_written(taken);
                    taken
                }
                Poll::Pending => return this.poll_blocked(cx),
            }
        };
        if let Some(flood_guard) = &mut this.flood_guard {
            let bytes = flood_guard.sent(data.get(..taken).unwrap_or_default(), Instant::now());
            flood_guard.take_resets().into_iter().for_each(|(stream, code)| this.timing.stream_rejected(stream, code));
            if flood_guard.disconnect_reason().is_some() {
                // Reads disconnect the client; the next one may come much later.
                cx.waker().wake_by_ref();
            }
            this.share().client_read(bytes);
            this.update_share();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        ready!(self.poll_buffered(cx))?;
        match self.transport.poll_flush(cx) {
            Poll::Ready(flushed) => {
                self.bytes_written(0);
                Poll::Ready(flushed)
            }
            Poll::Pending => self.poll_blocked(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        ready!(self.poll_buffered(cx))?;
        match self.transport.poll_shutdown(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.poll_blocked(cx),
        }
    }
}
