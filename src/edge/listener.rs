//! Listeners: sockets that are bound before anything else starts, and the loops that accept on them.

use super::socket::Socket;
use crate::config::{ListenAddress, SocketFile};
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::task::Poll;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// How many connections the system may hold back for a listener.
const BACKLOG: u32 = 4096;

/// A socket that is listened on.
#[derive(Debug)]
pub struct BoundListener {
    socket: Listening,
    /// The address as the configuration has it, by which another process finds the socket.
    wanted: ListenAddress,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener),
}

impl BoundListener {
    /// Binds an address; port 0 takes a free one. Has to be called inside a tokio runtime.
    pub fn new(address: &ListenAddress) -> io::Result<BoundListener> {
        let socket = match address {
            ListenAddress::Tcp(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                // Connections of a process that has just ended do not keep its port.
                socket.set_reuseaddr(true)?;
                socket.bind(*address)?;
                let listener = socket.listen(BACKLOG)?;
                let address = listener.local_addr()?;
                Listening::Tcp(listener, address)
            }
            ListenAddress::Unix(file) => Listening::Unix(socket_file(file)?),
        };
        Ok(BoundListener { socket, wanted: address.clone() })
    }

    /// A socket that another process has bound.
    pub fn adopt(address: &ListenAddress, socket: OwnedFd) -> io::Result<BoundListener> {
        let other = || io::Error::new(ErrorKind::InvalidData, "the socket that was handed over has another address");
        let socket = match address {
            ListenAddress::Tcp(wanted) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                if address.ip() != wanted.ip() || (wanted.port() != 0 && address.port() != wanted.port()) {
                    return Err(other());
                }
                Listening::Tcp(TcpListener::from_std(listener)?, address)
            }
            ListenAddress::Unix(_) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                Listening::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(BoundListener { socket, wanted: address.clone() })
    }

    /// What it is called when it is handed over.
    pub fn name(&self) -> String {
        self.wanted.to_string()
    }

    /// Where it listens, as people write it.
    pub fn shown(&self) -> String {
        match &self.socket {
            Listening::Tcp(_, address) => address.to_string(),
            Listening::Unix(_) => self.wanted.to_string(),
        }
    }

    /// The next connection, and where it comes from.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// A connection that is there already; none where there is none.
    pub(super) async fn accept_at_once(&self) -> Option<(Socket, Option<SocketAddr>)> {
        std::future::poll_fn(|cx| match self.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_accept(&self, cx: &mut std::task::Context) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        match &self.socket {
            Listening::Tcp(listener, _) => listener.poll_accept(cx).map_ok(|(socket, peer)| {
                let _ = socket.set_nodelay(true);
                // A socket of both versions of IP shows clients of IPv4 as addresses of IPv6.
                (Socket::Tcp(socket), Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())))
            }),
            Listening::Unix(listener) => listener.poll_accept(cx).map_ok(|(socket, _)| (Socket::Unix(socket), None)),
        }
    }
}

impl AsFd for BoundListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Listening::Tcp(listener, _) => listener.as_fd(),
            Listening::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Listens on a socket in the file system. It appears with its permissions, in the place of one that nobody listens on
/// any more.
fn socket_file(file: &SocketFile) -> io::Result<UnixListener> {
    check_place(&file.path)?;
    let mut name = file.path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = file.path.with_file_name(name);
    let listener = std::os::unix::net::UnixListener::bind(&new)?;
    let placed = place(&new, file);
    if placed.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    placed?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn place(new: &Path, file: &SocketFile) -> io::Result<()> {
    if let Some((user, group)) = file.owner {
        std::os::unix::fs::chown(new, Some(user), Some(group))?;
    }
    std::fs::set_permissions(new, Permissions::from_mode(file.mode))?;
    std::fs::rename(new, &file.path)
}

/// Whether a socket may be put in a place: nothing may be there but a socket that nobody listens on.
fn check_place(path: &Path) -> io::Result<()> {
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is something else than a socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) | Err(_) => Err(io::Error::new(ErrorKind::AddrInUse, "somebody listens there")),
    }
}
