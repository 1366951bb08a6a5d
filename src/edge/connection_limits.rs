//! Limits on the number of open connections.

use crate::config::ClientLimits;
use crate::telemetry::DisconnectReason;
use ipnet::IpNet;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts open connections, in total and by source.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLimits {
    open: AtomicUsize,
    sources: Mutex<HashMap<IpAddr, usize>>,
}

/// The permit of an open connection; dropping it releases the count.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    connection_limits: Arc<ConnectionLimits>,
    source: Option<IpAddr>,
}

impl ConnectionLimits {
    /// Acquires a permit, or returns the limit that was reached. `client` is `None` for Unix sockets. Trusted proxies
    /// have no limit per source, since they carry many clients.
    pub fn acquire(
        self: &Arc<ConnectionLimits>,
        limits: ClientLimits,
        trusted: &[IpNet],
        client: Option<IpAddr>,
    ) -> Result<ConnectionPermit, DisconnectReason> {
        // Created first: dropping it releases the count on every path.
        let mut permit = ConnectionPermit { connection_limits: self.clone(), source: None };
        if self.open.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            return Err(DisconnectReason::Connections);
        }
        permit.count_source(limits, trusted, client)?;
        Ok(permit)
    }
}

/// Whether the address is a trusted proxy's.
pub(super) fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

impl ConnectionPermit {
    /// Counts the connection as one of this client, once.
    pub fn count_source(
        &mut self,
        limits: ClientLimits,
        trusted: &[IpNet],
        client: Option<IpAddr>,
    ) -> Result<(), DisconnectReason> {
        let client = client.filter(|client| self.source.is_none() && !is_trusted(trusted, *client));
        let Some(source) = client.map(|client| source(client.to_canonical())) else {
            return Ok(());
        };
        let mut sources = self.connection_limits.sources.lock();
        let count = sources.entry(source).or_default();
        if *count >= limits.per_source {
            return Err(DisconnectReason::PerSource);
        }
        *count += 1;
        self.source = Some(source);
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connection_limits.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(source) = self.source {
            let mut sources = self.connection_limits.sources.lock();
            if let Some(count) = sources.get_mut(&source) {
                *count -= 1;
                if *count == 0 {
                    sources.remove(&source);
                }
            }
        }
    }
}

/// The source that a peer counts as: its IPv4 address, or its IPv6 /64, since one host usually owns a whole /64.
pub(crate) fn source(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http1::HeadLimits;

    struct Door(Arc<ConnectionLimits>, ClientLimits);

    fn door(connections: usize, per_source: usize) -> Door {
        let head = HeadLimits::default();
        Door(Arc::default(), ClientLimits { connections, per_source, streams: 1, memory: None, head })
    }

    impl Door {
        fn from(&self, peer: &str) -> Result<ConnectionPermit, DisconnectReason> {
            self.0.acquire(self.1, &["10.0.0.0/8".parse().unwrap()], Some(peer.parse().unwrap()))
        }
    }

    #[test]
    fn connections_are_limited_per_process_and_source() {
        let door = door(4, 2);
        let first = door.from("1.1.1.1").unwrap();
        let second = door.from("1.1.1.1").unwrap();
        assert_eq!(door.from("1.1.1.1").unwrap_err(), DisconnectReason::PerSource);
        let _third = door.from("2.2.2.2").unwrap();
        let _fourth = door.0.acquire(door.1, &[], None).unwrap();
        assert_eq!(door.from("3.3.3.3").unwrap_err(), DisconnectReason::Connections);
        drop(first);
        let _again = door.from("1.1.1.1").unwrap();
        drop(second);
        assert_eq!(door.0.open.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn ipv6_network_is_one_source_and_trusted_proxies_are_exempt() {
        let door = door(10, 1);
        let _one = door.from("2001:db8::1").unwrap();
        assert_eq!(door.from("2001:db8::ffff:1").unwrap_err(), DisconnectReason::PerSource);
        let _other = door.from("2001:db8:0:1::1").unwrap();
        let _mapped = door.from("::ffff:1.2.3.4").unwrap();
        assert_eq!(door.from("1.2.3.4").unwrap_err(), DisconnectReason::PerSource);
        let _proxies = [door.from("10.0.0.1").unwrap(), door.from("10.0.0.1").unwrap()];
    }

    #[test]
    fn closed_connections_leave_no_state() {
        let door = door(10, 1);
        drop(door.from("1.1.1.1").unwrap());
        assert!(door.0.sources.lock().is_empty());
    }
}
