//! A connection from a client, as Pingora reads and writes it: whoever waits for the client here waits only so long.
//!
//! Deadlines stand where the waiting is, so that no connection needs a timer of its own for each request, and nothing
//! has to watch over it. Between two requests a connection holds no buffers.

mod read;
mod stream;

use super::authorities::Authorities;
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

/// How much is collected before it is written: the head of a response and a small body go together.
const COLLECTED: usize = 4096;
/// How much is read at once while nobody knows what it is.
const FIRST: usize = 2048;
/// How long a client that was cut off may go on sending, so that it reads why.
const LINGER: Duration = Duration::from_secs(2);
/// How much it may send meanwhile, in bytes: whoever goes on with a flood is not listened to.
const LINGER_BYTES: usize = 1 << 20;

/// A connection from a client.
#[derive(Debug)]
pub(super) struct ClientStream {
    transport: Transport,
    digest: Arc<SocketDigest>,
    timing: Arc<ClientTiming>,
    /// What was read before anybody asked for it.
    ahead: Vec<u8>,
    /// What is to be written.
    out: Vec<u8>,
    /// How much of it is written.
    written: usize,
    frames: Option<Box<FloodGuard>>,
    /// What its requests of HTTP/2 are for, where that need not be a host.
    authorities: Option<Box<Authorities>>,
    /// What its streams of HTTP/2 hold.
    streams: Option<UnreadBytes>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the client takes nothing, where something is to be written.
    blocked: Option<Instant>,
    /// Until when a client that was cut off may go on sending.
    lingers: Option<Instant>,
    /// How much it has sent meanwhile.
    lingered: usize,
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
            frames: None,
            authorities: None,
            streams: None,
            timer: None,
            blocked: None,
            lingers: None,
            lingered: 0,
        }
    }

    /// From now on frames of HTTP/2 pass, first those that were read ahead; heads may have so many fields, and be so
    /// large.
    pub fn speaks_http2(&mut self, fields: usize, size: usize) {
        let arrival = &self.timing.arrival;
        arrival.uploads.set_rate(self.timing.timeouts.body_rate);
        self.frames = Some(Box::new(arrival.frames(fields)));
        self.authorities = arrival.over_socket.then(|| Box::new(Authorities::new(size)));
        self.streams = Some(arrival.share.response());
        self.share().speaks_http2();
    }

    fn share(&self) -> &Arc<MemoryShare> {
        &self.timing.arrival.share
    }

    /// Tells what the client lets the gateway send.
    fn share_state(&mut self) {
        let windows = self.frames.as_ref().map(|frames| frames.windows());
        let starved = windows.is_some_and(|windows| windows.is_blocked());
        if let (Some(streams), Some(windows)) = (&mut self.streams, windows) {
            streams.set_streams(windows.open());
            self.timing.arrival.share.streams(windows.open());
            self.timing.arrival.share.finished(windows.finished());
        }
        self.share().is_blocked(starved || self.blocked.is_some());
    }

    /// The client takes bytes.
    fn is_taken(&mut self, bytes: usize) {
        if self.frames.is_none() {
            self.share().took(bytes);
        }
        if self.blocked.take().is_some() {
            self.share_state();
        }
    }

    /// What was read ahead.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Reads ahead; `false` where the connection has ended.
    pub async fn read_ahead(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| {
            let mut bytes = [0; FIRST];
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(self.poll_client(cx, &mut buf))?;
            self.ahead.extend_from_slice(buf.filled());
            Poll::Ready(Ok(!buf.filled().is_empty()))
        })
        .await
    }

    /// Gives up buffers until the next request.
    pub fn rest(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }

    /// Reads from the client, for as long as it may be waited for.
    fn poll_client(&mut self, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        if self.lingers.is_some() {
            return self.poll_linger(cx);
        }
        let before = buf.filled().len();
        let came = self.transport.poll_read(cx, buf);
        if self.learn(came)?.is_ready() {
            let came = buf.filled().get(before..).unwrap_or_default();
            self.timing.received(came.len());
            return Poll::Ready(Ok(()));
        }
        let deadline = match &self.frames {
            Some(frames) => {
                frames.head_since().map(|since| (since + self.timing.timeouts.head, DisconnectReason::HeadTimeout))
            }
            None => self.timing.deadline(),
        };
        match deadline {
            Some((deadline, cut)) if self.is_over(cx, deadline) => {
                self.cut(cx, cut);
                self.poll_linger(cx)
            }
            Some(_) | None => Poll::Pending,
        }
    }

    /// Whether the response that the client waits for did not come in time; if not, the task is woken then.
    pub fn response_is_late(&mut self, cx: &mut Context) -> bool {
        let late = self.timing.response_due().is_some_and(|due| self.is_over(cx, due));
        if late {
            self.timing.response_is_late();
        }
        late
    }

    /// Whether a time has come; if not, the task is woken then, or at an earlier time that is waited for.
    fn is_over(&mut self, cx: &mut Context, deadline: Instant) -> bool {
        loop {
            if Instant::now() >= deadline {
                return true;
            }
            let wanted = tokio::time::Instant::from_std(deadline);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(wanted)));
            // An earlier end of the timer costs a look, a later one would be too late.
            if timer.deadline() > wanted || timer.is_elapsed() {
                timer.as_mut().reset(wanted);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    /// Tells the client that it is cut off, as well as that can be said now.
    fn cut(&mut self, cx: &mut Context, cut: DisconnectReason) {
        self.timing.note_cut(cut);
        let response: Option<&[u8]> = match (&self.frames, cut) {
            (Some(frames), _) => {
                self.lingers = Some(Instant::now() + LINGER);
                if let Some(goaway) = frames.goaway(cut) {
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
            self.lingers = Some(Instant::now() + LINGER);
            self.out.extend_from_slice(status);
            self.out.extend_from_slice(b"Connection: close\r\nContent-Length: 0\r\n\r\n");
        }
        let _ = self.poll_out(cx);
        let _ = self.transport.poll_flush(cx);
    }

    /// Takes what a client sends that was cut off, so that the network does not throw away what it was told, and then
    /// fails.
    fn poll_linger(&mut self, cx: &mut Context) -> Poll<io::Result<()>> {
        let cut = || Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client was cut off")));
        let Some(until) = self.lingers else {
            return cut();
        };
        let told = self.poll_out(cx).is_ready();
        if told && self.transport.poll_shutdown(cx).is_pending() {
            return if self.is_over(cx, until) { cut() } else { Poll::Pending };
        }
        let mut bytes = [0; FIRST];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            match self.transport.poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if self.may_go_on(buf.filled().len(), until) => {}
                Poll::Ready(_) => return cut(),
                Poll::Pending if self.is_over(cx, until) => return cut(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether a client that was cut off, and sends so many bytes more, is listened to any longer.
    fn may_go_on(&mut self, came: usize, until: Instant) -> bool {
        self.lingered += came;
        came > 0 && self.lingered <= LINGER_BYTES && Instant::now() < until
    }

    /// Writes what was collected.
    fn poll_out(&mut self, cx: &mut Context) -> Poll<io::Result<()>> {
        while let Some(left) = self.out.get(self.written..).filter(|left| !left.is_empty()) {
            let written = self.transport.poll_write(cx, left);
            let Poll::Ready(written) = self.learn(written)? else {
                return self.poll_blocked(cx);
            };
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.is_taken(written);
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Notes where the system has given the client up, which counts from when it took nothing as the gateway does.
    fn learn<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == ErrorKind::TimedOut
        {
            self.timing.note_cut(DisconnectReason::WriteTimeout);
        }
        result
    }

    /// The client takes nothing: it may do so for a while.
    fn poll_blocked<T>(&mut self, cx: &mut Context) -> Poll<io::Result<T>> {
        if self.blocked.is_none() {
            self.blocked = Some(Instant::now());
            self.share_state();
        }
        self.share().wakes(cx.waker());
        let given_up = self.share().is_given_up();
        let since = self.blocked.unwrap_or_else(Instant::now);
        if given_up || self.is_over(cx, since + self.timing.timeouts.write) {
            self.timing.note_cut(if given_up { DisconnectReason::Memory } else { DisconnectReason::WriteTimeout });
            self.transport.abandon();
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client takes nothing")));
        }
        Poll::Pending
    }

    /// Reads what the client sends, and looks at it.
    fn poll_frames(&mut self, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let verdict = self.frames.as_ref().and_then(|frames| frames.verdict());
        if let Some(cut) = verdict.filter(|_| self.lingers.is_none()) {
            self.cut(cx, cut);
            return self.poll_linger(cx);
        }
        if self.ahead.is_empty() {
            ready!(self.poll_client(cx, buf))?;
        } else {
            let taken = self.ahead.len().min(buf.remaining());
            buf.put_slice(self.ahead.get(..taken).unwrap_or_default());
            self.ahead.drain(..taken);
        }
        let came = buf.filled().get(before..).unwrap_or_default();
        let verdict = self.frames.as_mut().and_then(|frames| frames.received(came, Instant::now()));
        if self.frames.is_some() {
            self.share_state();
        }
        if let Some(cut) = verdict {
            self.cut(cx, cut);
            buf.set_filled(before);
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.out.len() + data.len() > COLLECTED {
            ready!(this.poll_out(cx))?;
        }
        let taken = if data.len() < COLLECTED {
            this.out.extend_from_slice(data);
            data.len()
        } else {
            let written = this.transport.poll_write(cx, data);
            match this.learn(written)? {
                Poll::Ready(taken) => {
                    this.is_taken(taken);
                    taken
                }
                Poll::Pending => return this.poll_blocked(cx),
            }
        };
        if let Some(frames) = &mut this.frames {
            let bytes = frames.sent(data.get(..taken).unwrap_or_default(), Instant::now());
            frames.resets().into_iter().for_each(|(stream, code)| this.timing.stream_was_rejected(stream, code));
            if frames.verdict().is_some() {
                // The connection is cut off where it is read, which may be long after.
                cx.waker().wake_by_ref();
            }
            this.share().took(bytes);
            this.share_state();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        match self.transport.poll_flush(cx) {
            Poll::Ready(flushed) => {
                self.is_taken(0);
                Poll::Ready(flushed)
            }
            Poll::Pending => self.poll_blocked(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        match self.transport.poll_shutdown(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.poll_blocked(cx),
        }
    }
}
