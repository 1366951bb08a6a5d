//! The transport of a connection: a socket, with or without TLS.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A client's socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// `TCP_NOTSENT_LOWAT` in bytes: what the kernel buffers beyond what is in flight. A client that does not read should
/// not cost megabytes.
const UNSENT_LIMIT: u32 = 128 << 10;
/// The least user timeout: the kernel also needs time for retransmissions.
const MIN_USER_TIMEOUT: Duration = Duration::from_secs(5);

impl Socket {
    /// Whether it is a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Socket::Unix(_))
    }

    /// The user ID of the process at the other end of a Unix socket.
    pub fn peer_uid(&self) -> Option<u32> {
        match self {
            Socket::Tcp(_) => None,
            Socket::Unix(socket) => Some(socket.peer_cred().ok()?.uid()),
        }
    }

    /// Waits for the next byte, and leaves it in the socket. `false` if the connection ends before it, with FIN or RST.
    /// Unix sockets cannot look ahead: `true` at once.
    pub async fn has_more(&self) -> bool {
        match self {
            Socket::Tcp(socket) => matches!(socket.peek(&mut [0]).await, Ok(1..)),
            Socket::Unix(_) => true,
        }
    }

    /// Whether the peer has closed or reset the connection, even if bytes that it sent before have not been read.
    fn is_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match self {
            Socket::Tcp(socket) => pin!(socket.ready(Interest::READABLE)).poll(&mut cx),
            Socket::Unix(socket) => pin!(socket.ready(Interest::READABLE)).poll(&mut cx),
        };
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Sets the kernel's timeout for unacknowledged data (`TCP_USER_TIMEOUT`). It also applies after the connection was
    /// closed, when the kernel would keep unsent data.
    pub fn set_write_timeout(&self, timeout: Duration) {
        // Errors are ignored: the connection has ended, or the kernel is too old.
        if let Socket::Tcp(socket) = self {
            let socket = socket2::SockRef::from(socket);
            let _ = socket.set_tcp_user_timeout(Some(timeout.max(MIN_USER_TIMEOUT)));
            let _ = socket.set_tcp_notsent_lowat(UNSENT_LIMIT);
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

/// Delegates a call to the inner stream.
macro_rules! delegate {
    ($self:ident, $inner:ident => $call:expr) => {
        match &mut *$self {
            Self::Tcp($inner) => $call,
            Self::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        delegate!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, buf: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        delegate!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        delegate!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

/// A socket, with or without TLS.
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

    /// Makes closing the connection discard unsent data. Otherwise the kernel would keep the data and the connection as
    /// long as the peer acknowledges anything.
    pub fn discard_unsent(&self) {
        if let Socket::Tcp(socket) = self.socket() {
            // An error means that the connection has ended.
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
