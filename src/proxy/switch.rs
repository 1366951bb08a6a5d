//! Connections to providers for requests that ask to switch protocols.
//!
//! Pingora takes the end of such a request, which has no body, for the end of the tunnel where it sees the provider's
//! 101 first: it closes at once, and what the provider sends behind its 101 is lost. It looks at both in any order, so
//! that happens where the 101 is here before Pingora waits for it. On these connections it waits at least once.
//!
//! Each such connection has one request. Pingora does not know its descriptor, by which it tells apart the connections
//! that it keeps: it could use none of them again, and would take one for another when one ends. So each is in a pool
//! of its own ([`lone`]), from which Pingora drops it at once where the provider has not switched and keeps the
//! connection open.

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, Result};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Connects to a provider for a request that asks to switch protocols.
#[derive(Debug)]
pub(super) struct Connector;

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let address = address.as_inet().copied();
        let address = address.ok_or_else(|| Error::explain(ErrorType::SocketError, "the provider has no address"))?;
        let socket = TcpStream::connect(address).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, format!("connecting to {address}"), error)
        })?;
        Ok(VirtualSocketStream::new(Box::new(Switching { socket, has_written: false })).into())
    }
}

/// The key of a pool that is no other connection's: those that share a pool have other last bits.
pub(super) fn lone() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) << 2 | 3
}

/// A socket of which the first read behind a write yields once: meanwhile what else the task has ready comes first.
#[derive(Debug)]
struct Switching {
    socket: TcpStream,
    has_written: bool,
}

impl VirtualSocket for Switching {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.set_nodelay(true),
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Switching {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_written) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Switching {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes));
        self.has_written = true;
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
