//! How to connect to a host.

use super::addresses::Addresses;
use super::tunnel::Tunnel;
use crate::gateway::{CaCertificates, ClientIdentity, Protocol};
use crate::memory::Memory;
use std::sync::Arc;
use std::time::Duration;

/// How to connect to a host.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Its addresses, or those of the forward proxy.
    pub addresses: Arc<Addresses>,
    /// How to get through the forward proxy, if there is one.
    pub tunnel: Option<Arc<Tunnel>>,
    /// Trusted CAs, in place of the system's.
    pub authorities: Option<CaCertificates>,
    /// The gateway's client certificate.
    pub identity: Option<ClientIdentity>,
    /// The HTTP versions that may be used.
    pub protocol: Protocol,
    /// Timeout of a connection attempt to one address, tunnel and TLS included.
    pub connect: Duration,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
    /// Whether it may use the reserved descriptors.
    pub may_use_reserve: bool,
    /// The budget for buffered responses; `None` if they are few and small.
    pub memory: Option<Arc<Memory>>,
}
