//! The socket of the admin listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

/// A listener that is bound, so that a port that is taken is found out before anything else starts.
pub struct AdminSocket {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminSocket {
    /// Binds an address; port 0 takes a free one.
    pub fn new(address: SocketAddr) -> io::Result<AdminSocket> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(AdminSocket { listener, address })
    }

    /// A socket that another process has bound.
    pub fn adopt(socket: OwnedFd) -> io::Result<AdminSocket> {
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(AdminSocket { listener, address })
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}
