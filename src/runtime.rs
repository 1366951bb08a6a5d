//! What a running gateway carries: the compiled configuration and the leaves that work for it.

use crate::cache::{self, Caution, Mark, Opened, Scope, Sessions};
use crate::client::ClientError;
use crate::config;
use crate::gateway::{CallerCheck, Gateway, Upstream, settle_related};
use crate::journal::Journal;
use crate::keys::Issuer;
use crate::metrics::{IssuerReading, Metrics, Reading, StoreMetrics};
use crate::upstream::Provider;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use ipnet::IpNet;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why a gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A way to a provider cannot be set up.
    #[error("upstreams.{upstream}: {error}")]
    Client {
        /// The upstream.
        upstream: String,
        /// Why.
        error: ClientError,
    },
    /// The store cannot be set up.
    #[error(transparent)]
    Store(#[from] cache::SetupError),
    /// A metric cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A listener that is bound, so that a port that is taken is found out before anything else starts.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds an address; port 0 takes a free one.
    pub fn new(address: SocketAddr) -> io::Result<Bound> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    }

    /// A socket that another process has bound.
    pub fn adopt(socket: OwnedFd) -> io::Result<Bound> {
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
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

/// A running gateway.
pub struct Runtime {
    /// The compiled configuration.
    pub gateway: Arc<Gateway>,
    cache: Opened,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The log.
    pub journal: Journal,
    /// Whether each request gets a line in the log.
    pub log_requests: Option<LineFormat>,
    trusted_peers: Vec<IpNet>,
    ways: Vec<Way>,
    ids: RequestIds,
    stopping: AtomicBool,
}

/// How lines of requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// One JSON object.
    Json,
    /// `key=value`, for people.
    Text,
}

/// How an upstream is reached, and how its callers are checked.
struct Way {
    provider: Arc<Provider>,
    issuer: Option<Arc<Issuer>>,
}

/// Names requests: unique among processes, and cheap.
struct RequestIds {
    process: String,
    next: AtomicU64,
}

impl Runtime {
    /// A gateway with this store.
    pub fn new(
        gateway: Arc<Gateway>,
        store: &config::Store,
        journal: Journal,
        log_requests: Option<LineFormat>,
        trusted_peers: Vec<IpNet>,
    ) -> Result<Runtime, RuntimeError> {
        let ways = gateway.upstreams().iter().map(way).collect::<Result<Vec<Way>, RuntimeError>>()?;
        let names: Vec<String> = gateway.upstreams().iter().map(|upstream| upstream.name.clone()).collect();
        let mut process = [0; 8];
        SystemRandom::new().fill(&mut process).map_err(|_| RuntimeError::Random)?;
        let metrics = Metrics::new(names)?;
        let listener = Arc::new(StoreMetrics::new()?);
        if matches!(store, config::Store::Redis(_)) {
            metrics.show(&listener)?;
        }
        let cache = cache::open(store, longest_lease(&gateway), listener)?;
        Ok(Runtime {
            gateway,
            cache,
            metrics: Arc::new(metrics),
            journal,
            log_requests,
            trusted_peers,
            ways,
            ids: RequestIds { process: hex(&process), next: AtomicU64::new(0) },
            stopping: AtomicBool::new(false),
        })
    }

    /// The cache of session reads.
    pub fn sessions(&self) -> &Sessions {
        &self.cache.sessions
    }

    /// Marks all that is cached as being changed, so that nothing of it is given out: another process serves the same upstreams,
    /// and their stores do not know of each other. The marks stand for `at_most`.
    pub async fn hold_cache(&self, at_most: Duration) -> Vec<Mark> {
        let cached =
            self.gateway.upstreams().iter().filter_map(|upstream| Some((upstream.scope, upstream.scope_cache?)));
        let mut marks = Vec::new();
        for (scope, cache) in cached.collect::<BTreeMap<_, _>>() {
            let caution = Caution { on_unreachable: cache.on_unreachable, bound: cache.longest() };
            marks.extend(self.sessions().begin(Scope::Upstream(scope), at_most, caution).await.ok());
        }
        marks
    }

    /// From now on this process alone serves its upstreams: what is cached may be given out again, but for what is older.
    pub async fn release_cache(&self, marks: Vec<Mark>) {
        for mark in marks {
            self.sessions().end(mark, settle_related(StatusCode::OK)).await;
        }
    }

    /// Starts what works in the background: look-ups of names, fetches of keys, what the cache needs. Has to be called inside a
    /// tokio runtime.
    pub fn start_background(&self) {
        self.cache.start();
        for way in &self.ways {
            tokio::spawn(way.provider.addresses().clone().keep_current());
            if let Some(issuer) = &way.issuer {
                tokio::spawn(issuer.clone().keep_current());
            }
        }
    }

    /// The way to an upstream.
    pub fn provider(&self, upstream: &Upstream) -> Option<&Arc<Provider>> {
        self.ways.get(upstream.index).map(|way| &way.provider)
    }

    /// Whether a client at this address may speak for others.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_peers.iter().any(|network| network.contains(&peer))
    }

    /// Who checks the callers of an upstream.
    pub fn issuer(&self, upstream: &Upstream) -> Option<&Arc<Issuer>> {
        self.ways.get(upstream.index).and_then(|way| way.issuer.as_ref())
    }

    /// A new name of a request.
    pub fn request_id(&self) -> HeaderValue {
        let number = self.ids.next.fetch_add(1, Ordering::Relaxed);
        let id = [self.ids.process.as_str(), &hex(&number.to_be_bytes())].concat();
        HeaderValue::from_maybe_shared(Bytes::from(id)).unwrap_or(HeaderValue::from_static("-"))
    }

    /// From now on the gateway says that it is not ready.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the gateway is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Why the gateway should get no requests; empty where it should.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_stopping() {
            reasons.push("stopping".to_owned());
        }
        for (upstream, way) in self.gateway.upstreams().iter().zip(&self.ways) {
            if way.issuer.as_ref().is_some_and(|issuer| issuer.health().keys == 0) {
                reasons.push(format!("upstreams.{}: the issuer's keys are not known yet", upstream.name));
            }
        }
        reasons
    }

    /// What is read off when metrics are asked for.
    pub fn reading(&self) -> Reading {
        let fill = self.sessions().store().measure();
        let issuers = self.ways.iter().enumerate().filter_map(|(index, way)| {
            let health = way.issuer.as_ref()?.health();
            let reading = IssuerReading {
                keys: health.keys,
                fetched: health.fetched,
                failed: health.failed,
                age: health.age,
                verified: health.verified,
                remembered: health.remembered,
            };
            Some((index, reading))
        });
        Reading {
            cache: (fill.bytes, fill.sessions, fill.evictions),
            cache_events: self.sessions().tally().read().map(|(event, count)| (event.name(), count)).collect(),
            issuers: issuers.collect(),
            log_lines_dropped: self.journal.dropped(),
        }
    }
}

/// How long the fetch of a read can take: nobody waits longer for one who fetches.
fn longest_lease(gateway: &Gateway) -> Duration {
    let fetch = |upstream: &Arc<Upstream>| upstream.target.timeouts.connect + upstream.target.timeouts.first_byte;
    gateway.upstreams().iter().map(fetch).max().unwrap_or_default()
}

fn way(upstream: &Arc<Upstream>) -> Result<Way, RuntimeError> {
    let provider =
        Provider::new(upstream).map_err(|error| RuntimeError::Client { upstream: upstream.name.clone(), error })?;
    let issuer = match &upstream.check {
        CallerCheck::Token { expected, keys, .. } => {
            Some(Issuer::new(&upstream.name, (**keys).clone(), expected.clone()))
        }
        CallerCheck::Forward | CallerCheck::None => None,
    };
    Ok(Way { provider: Arc::new(provider), issuer })
}

/// Seconds since the epoch, for tokens.
pub fn wall_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Milliseconds since the epoch, for what providers say of time.
pub fn wall_millis() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
