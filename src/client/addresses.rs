//! The addresses of a host, resolved in the background for as long as their TTL. If resolving fails, the last ones
//! stay.
//!
//! Failing addresses are remembered, so that a dead one does not cost every request a timeout. A caller tries one
//! address after another from [`Addresses::next`] until a connection succeeds.

use super::resolver::{LookupError, ResolvedAddresses, Resolver};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Delay before a failed lookup is retried; doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(10);
/// How long a failing address is avoided; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// The addresses of a host.
#[derive(Debug)]
pub struct Addresses {
    resolver: Arc<Resolver>,
    host: String,
    port: u16,
    known: ArcSwap<Vec<SocketAddr>>,
    round_robin: AtomicUsize,
    /// The length of `failing`, so that most requests need not lock it.
    failing_count: AtomicUsize,
    failing: Mutex<Vec<Failing>>,
}

/// An address that could not be connected to.
#[derive(Debug)]
struct Failing {
    address: SocketAddr,
    /// Until when other addresses are preferred.
    until: Instant,
    pause: Duration,
}

/// The addresses that a request has tried.
#[derive(Debug)]
pub struct Attempts {
    tried: Vec<SocketAddr>,
    /// Its start in the round robin.
    first: Option<usize>,
    /// Until when failing addresses are tried again.
    retry_until: Instant,
}

impl Attempts {
    /// The most addresses that a request tries.
    pub const MAX: usize = 8;

    /// No attempts yet. `connect` is the timeout of one attempt; failing addresses are tried only within that time, so
    /// that a request does not wait for each of many dead addresses.
    pub fn within(connect: Duration) -> Attempts {
        Attempts { tried: Vec::new(), first: None, retry_until: Instant::now() + connect }
    }
}

impl Addresses {
    /// The addresses of `host`. They are known at once if it is an IP address.
    pub fn new(resolver: &Arc<Resolver>, host: &str, port: u16) -> Arc<Addresses> {
        let known = host.parse().map(|ip| vec![SocketAddr::new(ip, port)]).unwrap_or_default();
        Arc::new(Addresses {
            resolver: resolver.clone(),
            host: host.to_owned(),
            port,
            known: ArcSwap::from_pointee(known),
            round_robin: AtomicUsize::new(0),
            failing_count: AtomicUsize::new(0),
            failing: Mutex::default(),
        })
    }

    /// Whether this resolver resolves them.
    pub fn uses_resolver(&self, resolver: &Arc<Resolver>) -> bool {
        Arc::ptr_eq(&self.resolver, resolver)
    }

    /// Whether any address is known.
    pub fn are_known(&self) -> bool {
        !self.known.load().is_empty()
    }

    /// The current addresses.
    pub fn current(&self) -> Arc<Vec<SocketAddr>> {
        self.known.load_full()
    }

    /// Whether this is one of the current addresses.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.known.load().contains(&address)
    }

    /// The next address to try: round robin, failing ones last, none twice. `None` if all were tried, or the name has
    /// not been resolved yet.
    pub fn next(&self, attempts: &mut Attempts) -> Option<SocketAddr> {
        let known = self.known.load();
        let first = *attempts.first.get_or_insert_with(|| self.round_robin.fetch_add(1, Ordering::Relaxed));
        let at = first.checked_rem(known.len())?;
        let in_turn = known.iter().cycle().skip(at).take(known.len()).copied();
        let mut untried = in_turn.filter(|address| !attempts.tried.contains(address));
        if attempts.tried.len() >= Attempts::MAX {
            return None;
        }
        let next = match self.failing_count.load(Ordering::Relaxed) {
            0 => untried.next(),
            _ => self.preferred(untried, attempts),
        }?;
        attempts.tried.push(next);
        Some(next)
    }

    /// The first of these addresses that is not failing. An address whose pause has ended is tried by one request and
    /// avoided by all others meanwhile.
    fn preferred(&self, untried: impl Iterator<Item = SocketAddr>, attempts: &Attempts) -> Option<SocketAddr> {
        let (mut failing, now) = (self.failing.lock(), Instant::now());
        let mut last: Option<(Instant, SocketAddr)> = None;
        for address in untried {
            match failing.iter_mut().find(|one| one.address == address) {
                None => return Some(address),
                Some(one) if one.until <= now => {
                    one.until = now + one.pause;
                    return Some(address);
                }
                Some(one) if last.is_none_or(|(until, _)| one.until < until) => last = Some((one.until, address)),
                Some(_) => {}
            }
        }
        let retry = attempts.tried.is_empty() || now < attempts.retry_until;
        last.map(|(_, address)| address).filter(|_| retry)
    }

    /// Records a failed connection attempt: others are preferred for a while.
    pub fn failed(&self, address: SocketAddr) {
        let (mut failing, now) = (self.failing.lock(), Instant::now());
        match failing.iter_mut().find(|one| one.address == address) {
            // Several requests may have tried at once.
            Some(one) if one.until <= now + one.pause / 2 => {
                one.pause = (one.pause * 2).min(MAX_PAUSE);
                one.until = now + one.pause;
            }
            Some(_) => {}
            None if self.contains(address) => {
                failing.push(Failing { address, until: now + FIRST_PAUSE, pause: FIRST_PAUSE });
                tracing::warn!(host = self.host, %address, "cannot connect to the address; preferring others");
            }
            None => {}
        }
        self.failing_count.store(failing.len(), Ordering::Relaxed);
    }

    /// Records a successful connection.
    pub fn mark_working(&self, address: SocketAddr) {
        if self.failing_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut failing = self.failing.lock();
        let before = failing.len();
        failing.retain(|one| one.address != address);
        self.failing_count.store(failing.len(), Ordering::Relaxed);
        if failing.len() < before {
            tracing::info!(host = self.host, %address, "the address is reachable again");
        }
    }

    /// Resolves the name once. Returns how long the result is valid.
    pub async fn look_up(&self) -> Result<Duration, LookupError> {
        if self.is_literal() {
            return Ok(Duration::MAX);
        }
        let ResolvedAddresses { addresses, ttl } = self.resolver.look_up(&self.host).await?;
        self.update(addresses);
        Ok(ttl)
    }

    /// Keeps the addresses resolved, until they are dropped elsewhere.
    pub async fn keep_current(self: Arc<Addresses>) {
        let mut failing = false;
        let mut retry = FIRST_RETRY;
        while Arc::strong_count(&self) > 1 && !self.is_literal() {
            let result = self.look_up().await;
            self.log_change(std::mem::replace(&mut failing, result.is_err()), result.as_ref().err());
            let pause = result.unwrap_or(retry);
            retry = if failing { (retry * 2).min(MAX_RETRY) } else { FIRST_RETRY };
            tokio::time::sleep(pause).await;
        }
    }

    fn is_literal(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    /// Logs a change between success and failure.
    fn log_change(&self, failed: bool, error: Option<&LookupError>) {
        let known = self.known.load().len();
        match error {
            Some(error) if !failed => {
                tracing::warn!(host = self.host, %error, known, "cannot resolve the host name");
            }
            None if failed => tracing::info!(host = self.host, known, "the host name resolves again"),
            Some(_) | None => {}
        }
    }

    fn update(&self, found: Vec<IpAddr>) {
        let mut found: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect();
        found.sort_unstable();
        found.dedup();
        if found.iter().any(has_route) {
            found.retain(has_route);
        }
        if !found.is_empty() && **self.known.load() != found {
            if self.are_known() {
                tracing::info!(host = self.host, addresses = ?found, "the host name has new addresses");
            }
            self.known.store(Arc::new(found));
            let mut failing = self.failing.lock();
            failing.retain(|one| self.contains(one.address));
            self.failing_count.store(failing.len(), Ordering::Relaxed);
        }
    }
}

/// Whether there is a route to an address: without IPv6, no request should be sent to an IPv6 address. Sends nothing.
fn has_route(address: &SocketAddr) -> bool {
    let own: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((own, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Files;

    const CONNECT: Duration = Duration::from_secs(1);

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 1))
    }

    fn known(last: &[u8]) -> Arc<Addresses> {
        let addresses = Addresses::new(&Resolver::new(Vec::new(), Files::default()), "provider.test", 1);
        addresses.update(last.iter().map(|last| address(*last).ip()).collect());
        addresses
    }

    /// The addresses that a request tries if these are dead.
    fn tried(addresses: &Addresses, dead: &[u8]) -> Vec<u8> {
        let mut attempts = Attempts::within(CONNECT);
        let mut all = Vec::new();
        while let Some(next) = addresses.next(&mut attempts) {
            let IpAddr::V4(ip) = next.ip() else { panic!("{next}") };
            let last = ip.octets()[3];
            all.push(last);
            if !dead.contains(&last) {
                addresses.mark_working(next);
                break;
            }
            addresses.failed(next);
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn unreachable_addresses_delay_one_request_only() {
        let addresses = known(&[7, 8, 9]);
        assert_eq!(tried(&addresses, &[7, 8]), [7, 8, 9], "goes on");
        for _ in 0..10 {
            assert_eq!(tried(&addresses, &[7, 8]), [9], "remembered");
        }
        tokio::time::advance(FIRST_PAUSE).await;
        let again: Vec<Vec<u8>> = (0..6).map(|_| tried(&addresses, &[7, 8])).collect();
        assert_eq!(again.iter().flatten().filter(|last| **last != 9).count(), 2, "each is tried once: {again:?}");
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(tried(&addresses, &[7, 8]), [9], "and longer avoided then");
        tokio::time::advance(FIRST_PAUSE).await;
        let back: Vec<Vec<u8>> = (0..6).map(|_| tried(&addresses, &[])).collect();
        assert!(back.iter().all(|one| one.len() == 1), "{back:?}");
        assert!([7, 8, 9].iter().all(|last| back.contains(&vec![*last])), "all have their turn again: {back:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_is_tried_if_all_are_unreachable() {
        let addresses = known(&[7, 8, 9]);
        assert_eq!(tried(&addresses, &[7, 8, 9]).len(), 3);
        assert_eq!(tried(&addresses, &[7, 8, 9]).len(), 3, "they are refused at once");
        let mut attempts = Attempts::within(CONNECT);
        addresses.next(&mut attempts).unwrap();
        tokio::time::advance(CONNECT).await;
        assert_eq!(addresses.next(&mut attempts), None, "they hang");
        assert_eq!(known(&[]).next(&mut Attempts::within(CONNECT)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn removed_addresses_are_forgotten() {
        let addresses = known(&[7, 8]);
        assert_eq!(tried(&addresses, &[7]), [7, 8]);
        addresses.update(vec![address(8).ip(), address(9).ip()]);
        assert_eq!(addresses.failing_count.load(Ordering::Relaxed), 0);
        addresses.failed(address(7));
        assert_eq!(addresses.failing_count.load(Ordering::Relaxed), 0, "it is none of its addresses any more");
    }
}
