//! The PROXY protocol header at the beginning of a connection, on listeners that require one.
//!
//! Only trusted peers may send one. The client in it counts like a client that connects by itself: it is no trusted peer
//! because the proxy is one.

use super::connection_limits::{ConnectionLimits, ConnectionPermit};
use super::socket::Socket;
use crate::config::ClientLimits;
use crate::log_writer::LogInterval;
use crate::telemetry::{DisconnectReason, Label};
use crate::wire::proxy_protocol::{self, ProxyHeader, ProxyHeaderError};
use enum_map::EnumMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;

/// How many connections of one peer may wait for their header. Proxies send it at once, so few wait.
const MAX_WAITING: usize = 1024;
/// Bytes that are looked at together.
const CHUNK: usize = 256;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// The other end of the connection; `None` for Unix sockets.
    pub peer: Option<SocketAddr>,
    /// The client's address: as the PROXY header says, otherwise the peer's.
    pub client: Option<SocketAddr>,
    /// Whether a PROXY header has no address of the client. It then counts under the peer's address, but not as a
    /// trusted peer: anyone may be behind the proxy.
    pub is_unnamed: bool,
    /// Whether the client's connection to the proxy uses TLS, as the PROXY header says.
    pub tls: bool,
}

impl Addresses {
    /// Without a PROXY header.
    pub fn direct(peer: Option<SocketAddr>) -> Addresses {
        Addresses { peer, client: peer, is_unnamed: false, tls: false }
    }

    /// With a PROXY header.
    fn proxied(peer: Option<SocketAddr>, header: ProxyHeader) -> Addresses {
        let ProxyHeader { length: _, client, tls } = header;
        Addresses { peer, client: client.or(peer), is_unnamed: client.is_none(), tls }
    }
}

/// Why a connection has no usable header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderFault {
    #[error("the peer is not in `clients.trusted_peers`")]
    Untrusted,
    #[error("too many connections of the peer wait for their header")]
    TooManyWaiting,
    #[error("no complete header arrived in time")]
    Timeout,
    #[error("the connection ended within the header")]
    Incomplete,
    #[error(transparent)]
    Invalid(#[from] ProxyHeaderError),
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl HeaderFault {
    pub fn reason(&self) -> DisconnectReason {
        match self {
            HeaderFault::Untrusted => DisconnectReason::ProxyPeerUntrusted,
            HeaderFault::TooManyWaiting | HeaderFault::Timeout => DisconnectReason::ProxyHeaderTimeout,
            HeaderFault::Incomplete | HeaderFault::Invalid(_) | HeaderFault::Socket(_) => {
                DisconnectReason::ProxyHeaderInvalid
            }
        }
    }
}

/// The PROXY protocol of a listener that requires it.
#[derive(Debug, Default)]
pub(crate) struct ProxyProtocol {
    /// Connections whose header has not arrived, by peer.
    waiting: Arc<ConnectionLimits>,
    log: EnumMap<DisconnectReason, LogInterval>,
}

impl ProxyProtocol {
    /// Counts a connection as one that waits for its header.
    pub fn wait(&self, limits: ClientLimits, peer: Option<IpAddr>) -> Result<ConnectionPermit, HeaderFault> {
        let limits = ClientLimits { per_source: MAX_WAITING, ..limits };
        self.waiting.acquire(limits, &[], peer).map_err(|_| HeaderFault::TooManyWaiting)
    }

    /// Logs a connection that is closed for its header, once per minute and reason with the number of those that are not
    /// logged: a port scan must not hide the faults of a proxy.
    pub fn log(&self, listener: &str, peer: Option<SocketAddr>, fault: &HeaderFault) {
        let reason = fault.reason();
        if let Some(count) = self.log[reason].count(Instant::now()) {
            let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
            let (reason, error) = (reason.name(), fault.to_string());
            tracing::warn!(listener, reason, peer, error, count, "connections closed: no valid PROXY protocol header");
        }
    }
}

/// Reads the header. `None` if the connection ends before its first byte, as those of a health check do that only
/// connect.
pub(super) async fn read(
    socket: &mut Socket,
    peer: Option<SocketAddr>,
    deadline: Instant,
) -> Result<Option<Addresses>, HeaderFault> {
    let reading = async {
        if !socket.has_more().await {
            return Ok(None);
        }
        let Socket::Tcp(socket) = socket else {
            return Err(HeaderFault::Untrusted);
        };
        header(socket).await.map(Some)
    };
    let header = tokio::time::timeout_at(deadline.into(), reading).await.map_err(|_| HeaderFault::Timeout)?;
    Ok(header?.map(|header| Addresses::proxied(peer, header)))
}

/// Looks at what has arrived before it takes anything out of the socket. What follows the header is for TLS or HTTP.
async fn header(socket: &mut TcpStream) -> Result<ProxyHeader, HeaderFault> {
    // Empty until something arrives.
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        peek(socket, &mut bytes).await?;
        if bytes.len() == before {
            return Err(HeaderFault::Incomplete);
        }
        let parsed = proxy_protocol::parse(&bytes)?;
        bytes.truncate(parsed.map_or(bytes.len(), |header| header.length));
        socket.read_exact(bytes.get_mut(before..).unwrap_or_default()).await?;
        if let Some(header) = parsed {
            return Ok(header);
        }
    }
}

/// Appends what has arrived, and leaves it in the socket.
async fn peek(socket: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    std::future::poll_fn(|cx| {
        let mut chunk = [0; CHUNK];
        let mut seen = ReadBuf::new(&mut chunk);
        let peeked = socket.poll_peek(cx, &mut seen);
        bytes.extend_from_slice(seen.filled());
        peeked.map_ok(|_| ())
    })
    .await
}
