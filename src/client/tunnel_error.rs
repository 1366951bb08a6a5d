//! Why a forward proxy opened no tunnel.

use crate::wire::http1::ConnectResponseError;
use http::StatusCode;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A tunnel that could not be opened. The text names the proxy, and never has credentials or texts of the proxy.
#[derive(Debug)]
pub struct TunnelError {
    /// The host and port of the proxy.
    pub(super) proxy: Arc<str>,
    pub(super) reason: Reason,
}

/// Why a tunnel could not be opened.
#[derive(Debug)]
pub(super) enum Reason {
    /// No TCP connection to the proxy.
    Unreachable(io::Error),
    /// No connection to the proxy, with its TLS, in time.
    NoConnection,
    /// No TLS to the proxy.
    Tls(io::Error),
    /// The proxy closed the connection.
    Closed,
    /// The connection to the proxy broke.
    Broken(io::Error),
    /// No complete response in time.
    NoResponse,
    /// An invalid response.
    Invalid(ConnectResponseError),
    /// A response without a tunnel.
    Status(StatusCode),
}

impl TunnelError {
    /// Whether the cause is the proxy at this address, so that others of its addresses are preferred.
    pub(super) fn is_of_address(&self) -> bool {
        match &self.reason {
            Reason::Unreachable(_)
            | Reason::NoConnection
            | Reason::Tls(_)
            | Reason::Closed
            | Reason::Broken(_)
            | Reason::Invalid(_) => true,
            // It tries to connect to the server.
            Reason::NoResponse | Reason::Status(_) => false,
        }
    }

    /// Whether the proxy would respond in the same way at its other addresses.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.reason, Reason::Status(status) if !status.is_server_error())
    }

    /// Whether the time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self.reason, Reason::NoConnection | Reason::NoResponse)
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = &self.proxy;
        match &self.reason {
            Reason::Unreachable(_) => write!(f, "cannot connect to the egress proxy {proxy}"),
            Reason::NoConnection => write!(f, "no connection to the egress proxy {proxy} in time"),
            Reason::Tls(_) => write!(f, "TLS handshake with the egress proxy {proxy} failed"),
            Reason::Closed => {
                write!(f, "the egress proxy {proxy} closed the connection before its response to CONNECT")
            }
            Reason::Broken(_) => write!(f, "the connection to the egress proxy {proxy} broke"),
            Reason::NoResponse => write!(f, "the egress proxy {proxy} did not respond to CONNECT in time"),
            Reason::Invalid(error) => {
                write!(f, "the egress proxy {proxy} sent an invalid response to CONNECT: {error}")
            }
            Reason::Status(status) => write!(f, "the egress proxy {proxy} responded with {status}"),
        }
    }
}

impl Error for TunnelError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Reason::Unreachable(error) | Reason::Tls(error) | Reason::Broken(error) => Some(error),
            Reason::NoConnection | Reason::Closed | Reason::NoResponse | Reason::Invalid(_) | Reason::Status(_) => None,
        }
    }
}
