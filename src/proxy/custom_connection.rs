//! Connections to providers that Pingora does not make by itself: tunnels through a forward proxy, and those of requests
//! that ask to switch protocols (`Upgrade`).
//!
//! If Pingora reads the provider's 101 before it has handled the end of the request, which has no body, it takes that
//! end for the end of the tunnel: it closes, and what the provider sends after its 101 is lost. It polls both in random
//! order. On these connections the first read after a write yields once, so that the end of the request comes first.
//!
//! Some connections serve one request: those that may switch, and those in TLS to the proxy. Pingora cannot see their
//! file descriptor, by which it tells pooled connections apart, so it could mix them up. Each of them gets a pool of its
//! own ([`lone_pool`]); if the connection stays open after the request, Pingora drops it from there.

use crate::client::{Transport, Tunnel};
use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, Result};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Makes the connections to a provider.
#[derive(Debug)]
pub(super) struct Connector {
    /// How to get through the forward proxy, and how long that may take.
    pub tunnel: Option<(Arc<Tunnel>, Duration)>,
    /// Whether a connection serves one request.
    pub is_lone: bool,
}

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let address = address.as_inet().copied();
        let address = address.ok_or_else(|| Error::explain(ErrorType::SocketError, "the provider has no address"))?;
        let transport = match &self.tunnel {
            Some((tunnel, within)) => {
                tunnel.open(address, Instant::now() + *within).await.map_err(|error| match error.is_timeout() {
                    true => Error::because(ErrorType::ConnectTimedout, "opening a tunnel", error),
                    false => Error::because(ErrorType::ConnectProxyFailure, "opening a tunnel", error),
                })?
            }
            None => Transport::Tcp(direct(address).await?),
        };
        Ok(match transport {
            Transport::Tcp(socket) if !self.is_lone => socket.into(),
            socket => VirtualSocketStream::new(Box::new(Switching { socket, has_written: false })).into(),
        })
    }
}

async fn direct(address: std::net::SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(address).await.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
            _ => ErrorType::ConnectError,
        };
        Error::because(kind, format!("connecting to {address}"), error)
    })
}

/// The key of a pool for one connection. Keys of shared pools have other last bits.
pub(super) fn lone_pool() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) << 2 | 3
}

/// A socket whose first read after a write yields once, so that the rest of the task runs first.
#[derive(Debug)]
struct Switching {
    socket: Transport,
    has_written: bool,
}

impl VirtualSocket for Switching {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.socket().set_nodelay(true),
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
