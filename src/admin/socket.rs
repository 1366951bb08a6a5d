//! The socket of the admin listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

/// A bound socket: a port in use is detected before anything else starts.
pub struct AdminSocket {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminSocket {
    /// Binds an address; port 0 takes a free port.
    pub fn new(address: SocketAddr) -> io::Result<AdminSocket> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(AdminSocket { listener, address })
    }

    /// Adopts a socket that another process has bound.
    pub fn adopt(socket: OwnedFd) -> io::Result<AdminSocket> {
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(AdminSocket { listener, address })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listening socket.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}
