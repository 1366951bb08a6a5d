//! What serving a governed request needs, and what it gives.

use super::lockouts::Lockouts;
use crate::cache::Sessions;
use crate::coherence::Millis;
use crate::coherence::reading::ForwardReason;
use crate::gateway::{Gateway, Outcome, ProviderResponse, Released, Upstream};
use crate::metrics::Meters;
use crate::model::Rejection;
use crate::provider::{ExchangeRecord, Failure, Fetch, Origin, Provider, RequestHeaders, Slots};
use crate::telemetry::CacheStatus;
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The client of a provider: sends a request and reads the whole response.
pub trait ProviderClient: Send + Sync + 'static {
    /// Sends a request. It goes on until it ends, or until the future is dropped.
    fn fetch(&self, fetch: Fetch) -> impl Future<Output = Result<ProviderResponse, Failure>> + Send;
}

impl ProviderClient for Provider {
    fn fetch(&self, fetch: Fetch) -> impl Future<Output = Result<ProviderResponse, Failure>> + Send {
        Provider::fetch(self, fetch)
    }
}

/// A request of a client, beside its decoded body.
pub trait ClientRequest: Send {
    /// Why a client that has left cannot be sent a response.
    type Gone: Send;

    /// The headers.
    fn headers(&self) -> &HeaderMap;

    /// Where the request comes from, for the provider.
    fn origin(&self) -> Origin;

    /// The address, or the network of an IPv6 address, whose limit of requests in flight applies. `None` for verified
    /// callers, Unix sockets, and trusted peers that report no client.
    fn client_ip(&self) -> Option<IpAddr>;

    /// When the head of the request arrived.
    fn started(&self) -> Instant;

    /// What the access log and the metrics show of the request.
    fn outcome(&mut self) -> &mut Outcome;

    /// The record of the last request that was sent to the provider for this one; `None` if there is none.
    fn record(&mut self) -> &mut Option<ExchangeRecord>;

    /// A record for a request to the provider.
    fn new_record(&mut self) -> ExchangeRecord {
        self.record().insert(ExchangeRecord::default()).clone()
    }

    /// The record of the request before, for one that follows it, which [`ExchangeRecord::restart`]s it; or a new one.
    fn kept_record(&mut self) -> ExchangeRecord {
        self.record().get_or_insert_default().clone()
    }

    /// Awaits `work`, and cancels it when the client disconnects. Does not poll it if the client has already left.
    fn attend<W>(&mut self, work: W) -> impl Future<Output = Result<W::Output, Self::Gone>> + Send
    where
        W: Future<Output: Send> + Send;
}

/// Why a request ends without a response of its provider.
#[derive(Debug)]
pub enum NotServed<G> {
    /// The gateway rejects it.
    Rejected(Rejection),
    /// The client cannot be sent a response.
    Gone(G),
}

impl<G> From<Rejection> for NotServed<G> {
    fn from(rejection: Rejection) -> NotServed<G> {
        NotServed::Rejected(rejection)
    }
}

/// A response, and where it comes from.
#[derive(Debug)]
pub struct Served {
    /// The response, as the client may see it.
    pub response: Released,
    /// Where it comes from.
    pub source: ServedFrom,
}

/// Where a response comes from: the value of `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedFrom {
    /// The cache.
    Hit {
        /// The age of the response.
        age: Millis,
        /// How much longer it is fresh, in milliseconds. Negative for a stale response. `None` for a caller who may not
        /// see all of it: it tells when a session ends that does so soon.
        left: Option<i64>,
    },
    /// The provider: the cache had no usable response.
    Miss {
        /// Why.
        why: ForwardReason,
        /// Whether the response was stored.
        stored: bool,
    },
    /// The provider, by the fetch of another request.
    Coalesced,
    /// The provider: the cache was bypassed.
    Bypass,
    /// The provider: reads of this kind are not cached.
    Uncached,
    /// The provider: the request is a write.
    Write,
}

impl ServedFrom {
    pub(super) fn status(self) -> CacheStatus {
        match self {
            ServedFrom::Hit { .. } => CacheStatus::Hit,
            ServedFrom::Miss { .. } => CacheStatus::Miss,
            ServedFrom::Coalesced => CacheStatus::Coalesced,
            ServedFrom::Bypass => CacheStatus::Bypass,
            ServedFrom::Uncached | ServedFrom::Write => CacheStatus::None,
        }
    }
}

/// What serves the requests to one upstream.
pub struct UpstreamHandles<P> {
    /// Sends requests to the provider.
    pub provider: Arc<P>,
    /// The headers that requests to the provider have.
    pub headers: Arc<RequestHeaders>,
    /// How many requests may be in flight at the provider.
    pub slots: Arc<Slots>,
}

/// Serves the governed requests of one configuration.
pub struct Service<P> {
    /// The compiled configuration.
    pub gateway: Arc<Gateway>,
    /// The cache.
    pub sessions: Arc<Sessions>,
    /// Joins the invalidations that locked users cause.
    pub lockouts: Arc<Lockouts>,
    /// The metrics.
    pub metrics: Arc<Meters>,
    /// By the index of the upstream.
    pub backends: Vec<UpstreamHandles<P>>,
}

impl<P: ProviderClient> Service<P> {
    /// The backend of an upstream.
    pub fn backend(&self, upstream: &Upstream) -> Result<&UpstreamHandles<P>, Rejection> {
        self.backends.get(upstream.index).ok_or(Rejection::Unavailable)
    }
}
