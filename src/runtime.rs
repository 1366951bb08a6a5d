//! The state of a running gateway: the compiled configuration and the I/O objects that serve it. Each configuration
//! makes one immutable [`Runtime`]; [`CurrentRuntime`] has the active one.

mod backends;
mod current;
mod error;
mod process_state;
mod readiness;
mod supervised;
mod verifiers;

pub use current::CurrentRuntime;
pub use error::RuntimeError;
pub use readiness::Readiness;
pub use verifiers::{TokenVerifier, TokenVerifiers};

use crate::cache::Sessions;
use crate::client::{Files, Resolver};
use crate::config::{Config, ForwardingHeaders, Log};
use crate::gateway::{Gateway, Upstream};
use crate::jwks::IssuerContext;
use crate::log_writer::LogWriter;
use crate::metrics::{IntrospectionReading, Meters, MetricsSnapshot, QuotaReading, SlotReading};
use crate::provider::Provider;
use crate::serve::Service;
use crate::telemetry::Label;
use crate::wire::trace::Trace;
use backends::Backend;
use http::HeaderValue;
use ipnet::IpNet;
use process_state::{ProcessState, UpstreamCounters};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The runtime of one configuration. A request keeps the runtime that it started with.
pub struct Runtime {
    /// The compiled configuration.
    pub gateway: Arc<Gateway>,
    /// The metrics.
    pub metrics: Arc<Meters>,
    /// Serves governed requests.
    pub service: Arc<Service<Provider>>,
    /// The log writer.
    pub log_writer: LogWriter,
    /// How the access log is written; `None` if it is off.
    pub access_log: Option<Log>,
    trusted_peers: Vec<IpNet>,
    forwarding_headers: ForwardingHeaders,
    resolver: Arc<Resolver>,
    backends: Vec<Backend>,
    process: Arc<ProcessState>,
}

impl Runtime {
    /// Builds the runtime of a configuration. It reuses what still fits of the last one. Call inside a tokio runtime.
    fn new(config: &Config, process: Arc<ProcessState>, last: Option<&Runtime>) -> Result<Runtime, RuntimeError> {
        let before = last.map(|last| &last.gateway);
        let gateway = match before.filter(|before| !before.has_same_secret(&config.gateway)) {
            Some(before) => Arc::new(config.gateway.with_secret_of(before)),
            None => config.gateway.clone(),
        };
        let same = last.map(|last| &last.resolver).filter(|resolver| resolver.uses_servers(&config.dns.servers));
        let resolver = same.cloned().unwrap_or_else(|| Resolver::new(config.dns.servers.clone(), Files::default()));
        let backend = |upstream: &Arc<Upstream>| {
            let UpstreamCounters { keys, introspection, slots } = process.counters_of(&upstream.name);
            let tokens = process.tokens.clone();
            let issuer_context = IssuerContext { resolver: resolver.clone(), counters: keys, tokens };
            Backend::new(
                upstream,
                last.and_then(|last| last.backend_of(&upstream.name)),
                issuer_context,
                introspection,
                slots,
                &process.memory,
            )
        };
        let backends = gateway.upstreams().iter().map(backend).collect::<Result<Vec<Backend>, RuntimeError>>()?;
        let names = gateway.upstreams().iter().map(|upstream| upstream.name.as_str());
        let metrics = Arc::new(Meters::new(process.metrics.clone(), names));
        Ok(Runtime {
            service: Arc::new(Service {
                gateway: gateway.clone(),
                sessions: process.cache.sessions.clone(),
                lockouts: process.lockouts.clone(),
                metrics: metrics.clone(),
                backends: backends.iter().map(Backend::serving).collect(),
            }),
            metrics,
            log_writer: process.log_writer.clone(),
            access_log: config.log.requests.then_some(Log { format: process.format, ..config.log }),
            trusted_peers: config.clients.trusted_peers.clone(),
            forwarding_headers: config.clients.forwarding_headers,
            gateway,
            resolver,
            backends,
            process,
        })
    }

    /// The session cache.
    pub fn sessions(&self) -> &Sessions {
        &self.process.cache.sessions
    }

    /// The provider of an upstream.
    pub fn provider(&self, upstream: &Upstream) -> Option<&Arc<Provider>> {
        self.backends.get(upstream.index).map(Backend::provider)
    }

    /// Whether this address is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_peers.iter().any(|network| network.contains(&peer))
    }

    /// Which forwarding headers trusted proxies write.
    pub fn forwarding_headers(&self) -> ForwardingHeaders {
        self.forwarding_headers
    }

    /// What verifies the tokens of an upstream's callers, if the gateway does.
    pub fn verifiers(&self, upstream: &Upstream) -> Option<&TokenVerifiers> {
        self.backends.get(upstream.index).and_then(Backend::verifiers)
    }

    /// A new request ID.
    pub fn request_id(&self) -> HeaderValue {
        self.process.ids.request()
    }

    /// A random number, which no client can predict.
    pub fn random_number(&self) -> u64 {
        self.process.ids.number()
    }

    /// A new trace context.
    pub fn new_trace(&self) -> Trace {
        self.process.ids.trace()
    }

    /// Whether the gateway is stopping.
    pub fn is_stopping(&self) -> bool {
        self.process.stopping.load(Ordering::Relaxed)
    }

    /// The values for metrics.
    pub fn reading(&self) -> MetricsSnapshot {
        let fill = self.sessions().store().usage();
        let issuers = self.each().filter_map(|(upstream, backend)| {
            Some((upstream.name.clone(), backend.verifiers()?.reading(upstream.check.issuers())?))
        });
        let introspections = self.each().filter_map(|(upstream, backend)| {
            let counters = backend.verifiers()?.introspector()?.counters();
            let reading = IntrospectionReading { results: counters.results(), cached: counters.hits() };
            Some((upstream.name.clone(), reading))
        });
        let slots = self.each().map(|(upstream, backend)| {
            let (in_flight, waited) = backend.slots().usage().read();
            let limit = backend.slots().limits().in_flight;
            (upstream.name.clone(), SlotReading { in_flight, limit, waited })
        });
        let quotas = self.each().filter_map(|(upstream, backend)| {
            let (quota, age) = backend.provider().quota()?;
            Some((upstream.name.clone(), QuotaReading { quota, age }))
        });
        MetricsSnapshot {
            cache: (fill.bytes, fill.sessions, fill.evictions),
            cache_events: self.sessions().counters().read().map(|(event, count)| (event.name(), count)).collect(),
            issuers: issuers.collect(),
            introspections: introspections.collect(),
            slots: slots.collect(),
            quotas: quotas.collect(),
            memory: self.process.memory.read(),
            log_lines_dropped: self.log_writer.dropped(),
        }
    }

    fn each(&self) -> impl Iterator<Item = (&Arc<Upstream>, &Backend)> {
        self.gateway.upstreams().iter().zip(&self.backends)
    }

    fn backend_of(&self, name: &str) -> Option<&Backend> {
        self.each().find(|(upstream, _)| upstream.name == name).map(|(_, backend)| backend)
    }

    /// What this runtime cannot serve that the last one serves.
    fn lost(&self, last: &Runtime) -> Vec<String> {
        let lost = |(upstream, backend): (&Arc<Upstream>, &Backend)| {
            let reason = backend.unready(last.backend_of(&upstream.name))?;
            Some(format!("upstreams.{}.{reason}", upstream.name))
        };
        self.each().filter_map(lost).collect()
    }
}
