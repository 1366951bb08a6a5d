//! Listening sockets: TCP and Unix.

use super::socket::Socket;
use crate::config::{ListenAddress, SocketFile};
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::task::Poll;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

/// The kernel's accept queue, in connections.
const BACKLOG: u32 = 4096;

/// A bound listening socket.
#[derive(Debug)]
pub struct BoundListener {
    socket: ListenSocket,
    /// The configured address; a successor finds the socket by it.
    address: ListenAddress,
}

#[derive(Debug)]
enum ListenSocket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener),
}

impl BoundListener {
    /// Binds an address; port 0 takes a free port. Call inside a tokio runtime.
    pub fn new(address: &ListenAddress) -> io::Result<BoundListener> {
        let socket = match address {
            ListenAddress::Tcp(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                // Otherwise connections of an earlier process would block the port.
                socket.set_reuseaddr(true)?;
                socket.bind(*address)?;
                let listener = socket.listen(BACKLOG)?;
                let address = listener.local_addr()?;
                ListenSocket::Tcp(listener, address)
            }
            ListenAddress::Unix(file) => ListenSocket::Unix(bind_unix(file)?),
        };
        Ok(BoundListener { socket, address: address.clone() })
    }

    /// Adopts a socket that another process has bound. Fails if its address is not `address`.
    pub fn adopt(address: &ListenAddress, socket: OwnedFd) -> io::Result<BoundListener> {
        let mismatch = || io::Error::new(ErrorKind::InvalidData, "the inherited socket has a different address");
        let socket = match address {
            ListenAddress::Tcp(expected) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                if address.ip() != expected.ip() || (expected.port() != 0 && address.port() != expected.port()) {
                    return Err(mismatch());
                }
                ListenSocket::Tcp(TcpListener::from_std(listener)?, address)
            }
            ListenAddress::Unix(_) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                ListenSocket::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(BoundListener { socket, address: address.clone() })
    }

    /// Its name in a handover.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// The bound address, for display.
    pub fn local_address(&self) -> String {
        match &self.socket {
            ListenSocket::Tcp(_, address) => address.to_string(),
            ListenSocket::Unix(_) => self.address.to_string(),
        }
    }

    /// Accepts the next connection. The address is `None` for Unix sockets.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Accepts a connection that is already queued; `None` if there is none.
    pub(super) async fn try_accept(&self) -> Option<(Socket, Option<SocketAddr>)> {
        std::future::poll_fn(|cx| match self.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_accept(&self, cx: &mut std::task::Context) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        match &self.socket {
            ListenSocket::Tcp(listener, _) => listener.poll_accept(cx).map_ok(|(socket, peer)| {
                let _ = socket.set_nodelay(true);
                // A dual-stack socket reports IPv4 clients as IPv6 addresses.
                (Socket::Tcp(socket), Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())))
            }),
            ListenSocket::Unix(listener) => listener.poll_accept(cx).map_ok(|(socket, _)| (Socket::Unix(socket), None)),
        }
    }
}

impl AsFd for BoundListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListenSocket::Tcp(listener, _) => listener.as_fd(),
            ListenSocket::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Listens on a Unix socket. It appears with its permissions set, and replaces a socket that has no listener any more.
fn bind_unix(file: &SocketFile) -> io::Result<UnixListener> {
    check_path(&file.path)?;
    let mut name = file.path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = file.path.with_file_name(name);
    // A process that ended in between has left it behind. In a container all have the same ID.
    if std::fs::symlink_metadata(&new).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        std::fs::remove_file(&new)?;
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(&new)?;
    let installed = install(socket, &new, file);
    if installed.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    installed
}

/// Listens once the permissions are set: until then the kernel rejects connections.
fn install(socket: UnixSocket, new: &Path, file: &SocketFile) -> io::Result<UnixListener> {
    if let Some((user, group)) = file.owner {
        std::os::unix::fs::chown(new, Some(user), Some(group))?;
    }
    std::fs::set_permissions(new, Permissions::from_mode(file.mode))?;
    let listener = socket.listen(BACKLOG)?;
    std::fs::rename(new, &file.path)?;
    Ok(listener)
}

/// Checks that the path is free, or holds a socket without a listener.
fn check_path(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "the path exists and is not a socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) | Err(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens on this socket")),
    }
}
