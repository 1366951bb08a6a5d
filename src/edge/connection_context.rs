//! What is known of a connection, for each of its requests.

use super::flood_guard::FloodGuard;
use super::memory_share::MemoryShare;
use super::proxy_header::Addresses;
use super::uploads::Uploads;
use crate::metrics::Metrics;
use crate::model::PeerIdentity;
use crate::wire::http1::HeadLimits;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The connection on which a request arrived.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionContext {
    /// The name of the listener.
    pub listener: Arc<str>,
    /// Where it comes from.
    pub addresses: Addresses,
    /// Whether the client uses TLS, up to the gateway or up to the proxy that sent a PROXY header.
    pub tls: bool,
    /// What it proves of who opened it; empty before the TLS handshake.
    pub identity: OnceLock<Arc<PeerIdentity>>,
    /// Whether it is a Unix socket. Clients may then send its path in place of a host.
    pub unix_socket: bool,
    /// The limits of request heads. They stay the same for the life of the connection.
    pub head_limits: HeadLimits,
    /// HTTP/2 requests so far, and how many of their heads were rejected.
    pub requests: Arc<AtomicU32>,
    pub rejected: Arc<AtomicU32>,
    /// Counts streams that are reset before they become requests.
    pub metrics: Arc<Metrics>,
    /// Its share of the memory budget.
    pub share: Arc<MemoryShare>,
    /// The request bodies in progress; HTTP/2 only.
    pub(super) uploads: Arc<Uploads>,
}

impl ConnectionContext {
    /// Sets all that the connection proves. Only the first call counts.
    pub(super) fn identify(&self, identity: PeerIdentity) {
        self.identity.get_or_init(|| Arc::new(identity));
    }

    /// The flood guard of an HTTP/2 connection.
    pub(super) fn flood_guard(&self) -> FloodGuard {
        let counts = (self.requests.clone(), self.rejected.clone());
        FloodGuard::new(Instant::now(), self.head_limits.count, counts, self.uploads.clone())
    }
}
