//! What carries the bytes of a connection: a socket, with or without TLS.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A socket of a client's.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How much of a response the system takes beyond what is on its way: a client that reads nothing should not cost
/// megabytes.
const UNSENT: u32 = 128 << 10;
/// The system counts lost packets too: it needs the time to send them again.
const LEAST_TIMEOUT: Duration = Duration::from_secs(5);

impl Socket {
    /// Whether it is one of the file system.
    pub fn is_file(&self) -> bool {
        matches!(self, Socket::Unix(_))
    }

    /// Whether the other side has closed the connection, or reset it: also where what it sent before has not been read.
    fn is_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match self {
            Socket::Tcp(socket) => pin!(socket.ready(Interest::READABLE)).poll(&mut cx),
            Socket::Unix(socket) => pin!(socket.ready(Interest::READABLE)).poll(&mut cx),
        };
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Has the system, too, give up a client that takes nothing of what was written to it for as long as this: also
    /// after the connection was closed, and what was written would be kept.
    pub fn give_up_after(&self, timeout: Duration) {
        // Errors: there is no connection any more, or the system is too old for it.
        if let Socket::Tcp(socket) = self {
            let socket = socket2::SockRef::from(socket);
            let _ = socket.set_tcp_user_timeout(Some(timeout.max(LEAST_TIMEOUT)));
            let _ = socket.set_tcp_notsent_lowat(UNSENT);
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Socket::Tcp(socket) => socket.as_raw_fd(),
            Socket::Unix(socket) => socket.as_raw_fd(),
        }
    }
}

/// Hands a call to whatever carries the bytes.
macro_rules! carried {
    ($self:ident, $inner:ident => $call:expr) => {
        match &mut *$self {
            Self::Tcp($inner) => $call,
            Self::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        carried!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, buf: &[u8]) -> Poll<io::Result<usize>> {
        carried!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        carried!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        carried!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

/// What carries the bytes of a connection.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Transport {
    pub fn poll_read(&mut self, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(inner) => Pin::new(inner).poll_read(cx, buf),
            Transport::Tls(inner) => Pin::new(inner).poll_read(cx, buf),
        }
    }

    pub fn poll_write(&mut self, cx: &mut Context, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(inner) => Pin::new(inner).poll_write(cx, buf),
            Transport::Tls(inner) => Pin::new(inner).poll_write(cx, buf),
        }
    }

    pub fn poll_flush(&mut self, cx: &mut Context) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(inner) => Pin::new(inner).poll_flush(cx),
            Transport::Tls(inner) => Pin::new(inner).poll_flush(cx),
        }
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(inner) => Pin::new(inner).poll_shutdown(cx),
            Transport::Tls(inner) => Pin::new(inner).poll_shutdown(cx),
        }
    }

    /// Lets the end of the connection throw away what was written and not taken. Otherwise the system would keep it,
    /// and the connection, for as long as the other side answers at all.
    pub fn abandon(&self) {
        if let Socket::Tcp(socket) = self.socket() {
            // An error means that there is no connection any more.
            let _ = socket.set_zero_linger();
        }
    }

    /// See [`Socket::is_closed`].
    pub fn is_closed(&self) -> bool {
        self.socket().is_closed()
    }

    pub fn fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }

    fn socket(&self) -> &Socket {
        match self {
            Transport::Plain(inner) => inner,
            Transport::Tls(inner) => inner.get_ref().0,
        }
    }
}
