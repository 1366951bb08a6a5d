//! The addresses of a host: looked up in the background, for as long as they hold; the last good ones stay.

use super::resolver::{Found, LookupError, Resolver};
use arc_swap::ArcSwap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How soon a name that could not be looked up is looked up again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// The addresses of a host.
#[derive(Debug)]
pub struct Addresses {
    resolver: Arc<Resolver>,
    host: String,
    port: u16,
    known: ArcSwap<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

impl Addresses {
    /// The addresses of `host`, which are known at once where it is an address itself.
    pub fn new(resolver: &Arc<Resolver>, host: &str, port: u16) -> Arc<Addresses> {
        let known = host.parse().map(|ip| vec![SocketAddr::new(ip, port)]).unwrap_or_default();
        Arc::new(Addresses {
            resolver: resolver.clone(),
            host: host.to_owned(),
            port,
            known: ArcSwap::from_pointee(known),
            turn: AtomicUsize::new(0),
        })
    }

    /// Whether it is this resolver that looks them up.
    pub fn are_found_by(&self, resolver: &Arc<Resolver>) -> bool {
        Arc::ptr_eq(&self.resolver, resolver)
    }

    /// Whether any address is known.
    pub fn are_known(&self) -> bool {
        !self.known.load().is_empty()
    }

    /// Whether this is one of them.
    pub fn include(&self, address: SocketAddr) -> bool {
        self.known.load().contains(&address)
    }

    /// All that are known.
    pub fn known(&self) -> Vec<SocketAddr> {
        self.known.load().to_vec()
    }

    /// The next address in turn, none where the name could not be looked up yet.
    pub fn pick(&self) -> Option<SocketAddr> {
        let known = self.known.load();
        let place = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(known.len())?;
        known.get(place).copied()
    }

    /// Looks the name up once. Says for how long what was found holds.
    pub async fn look_up(&self) -> Result<Duration, LookupError> {
        if self.is_literal() {
            return Ok(Duration::MAX);
        }
        let Found { addresses, holds } = self.resolver.look_up(&self.host).await?;
        self.renew(addresses);
        Ok(holds)
    }

    /// Looks the name up, again and again, for as long as anybody else holds the addresses.
    pub async fn keep_current(self: Arc<Addresses>) {
        let mut failing = false;
        let mut retry = FIRST_RETRY;
        while Arc::strong_count(&self) > 1 && !self.is_literal() {
            let result = self.look_up().await;
            self.note(std::mem::replace(&mut failing, result.is_err()), result.as_ref().err());
            let pause = result.unwrap_or(retry);
            retry = if failing { (retry * 2).min(LONGEST_RETRY) } else { FIRST_RETRY };
            tokio::time::sleep(pause).await;
        }
    }

    fn is_literal(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    /// Logs how it went, where that is a change.
    fn note(&self, failed: bool, error: Option<&LookupError>) {
        let known = self.known.load().len();
        match error {
            Some(error) if !failed => {
                tracing::warn!(host = self.host, %error, known, "the name cannot be looked up");
            }
            None if failed => tracing::info!(host = self.host, known, "the name can be looked up again"),
            Some(_) | None => {}
        }
    }

    fn renew(&self, found: Vec<IpAddr>) {
        let mut found: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect();
        found.sort_unstable();
        found.dedup();
        if found.iter().any(has_route) {
            found.retain(has_route);
        }
        if !found.is_empty() && **self.known.load() != found {
            if self.are_known() {
                tracing::info!(host = self.host, addresses = ?found, "the name has new addresses");
            }
            self.known.store(Arc::new(found));
        }
    }
}

/// Whether there is any way to an address: where there is no IPv6, requests in turn must not be lost on it. Nothing is sent.
fn has_route(address: &SocketAddr) -> bool {
    let own: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((own, 0)).and_then(|socket| socket.connect(address)).is_ok()
}
