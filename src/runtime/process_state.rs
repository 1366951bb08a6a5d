//! State that outlives configurations.

use super::RuntimeError;
use crate::cache::{self, OpenCache};
use crate::config::{Config, LogFormat, Store, memory_for_tokens};
use crate::gateway::{Gateway, Upstream};
use crate::introspection::IntrospectionCounters;
use crate::jwks::{self, VerifiedTokens};
use crate::log_writer::LogWriter;
use crate::memory::Memory;
use crate::metrics::{Metrics, StoreMetrics};
use crate::provider;
use crate::serve::Lockouts;
use crate::wire::hex;
use crate::wire::trace::Trace;
use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// State that outlives configurations.
pub(super) struct ProcessState {
    pub cache: OpenCache,
    pub memory: Arc<Memory>,
    pub tokens: Arc<VerifiedTokens>,
    pub metrics: Arc<Metrics>,
    pub log_writer: LogWriter,
    /// The format of the log, which needs a restart.
    pub format: LogFormat,
    pub ids: RequestIds,
    pub lockouts: Arc<Lockouts>,
    pub stopping: AtomicBool,
    pub started: Instant,
    pub readiness_timeout: Duration,
    /// Whether it has been ready.
    pub ready: AtomicBool,
    /// By upstream name.
    counters_of: Mutex<HashMap<String, UpstreamCounters>>,
}

/// The counters of an upstream; they continue in a later configuration with the same upstream.
#[derive(Clone, Default)]
pub(super) struct UpstreamCounters {
    pub keys: Arc<jwks::JwksCounters>,
    pub introspection: Arc<IntrospectionCounters>,
    pub slots: Arc<provider::SlotUsage>,
}

/// Generates request IDs and traces: unique among processes, cheap, and without visible order, so that nobody can
/// derive the number of requests between two. SipHash with a secret key computes them from a counter.
#[derive(Default)]
pub(super) struct RequestIds {
    key: RandomState,
    next: AtomicU64,
}

impl RequestIds {
    /// Unique numbers.
    fn fresh<const N: usize>(&self) -> [u64; N] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        std::array::from_fn(|part| self.key.hash_one((number, part)))
    }

    /// A new request ID.
    pub fn request(&self) -> HeaderValue {
        let [high, low] = self.fresh();
        let id = hex::text(&[high.to_be_bytes(), low.to_be_bytes()].concat());
        HeaderValue::from_maybe_shared(Bytes::from(id)).unwrap_or(HeaderValue::from_static("-"))
    }

    /// A random number.
    pub fn number(&self) -> u64 {
        let [number] = self.fresh();
        number
    }

    /// A new trace context. Samplers use the second half of the trace ID as a random number.
    pub fn trace(&self) -> Trace {
        let [high, low, span] = self.fresh();
        Trace::start([high, low], span)
    }
}

impl ProcessState {
    /// The state of a process that starts with this configuration. Call inside a tokio runtime.
    pub fn new(config: &Config, log_writer: LogWriter) -> Result<ProcessState, RuntimeError> {
        let metrics = Arc::new(Metrics::new()?);
        let listener = Arc::new(StoreMetrics::new()?);
        if matches!(config.store, Store::Redis(_)) {
            metrics.register_store(&listener)?;
        }
        let cache = cache::open(&config.store, longest_lease(&config.gateway), listener)?;
        cache.start();
        let cached = match &config.store {
            Store::Memory(store) => store.max_bytes,
            Store::Redis(_) => 0,
        };
        let memory = Memory::new(config.clients.limits.memory, cached);
        Ok(ProcessState {
            cache,
            tokens: VerifiedTokens::new(memory_for_tokens(memory.limit())),
            memory,
            metrics,
            log_writer,
            format: config.log.format,
            ids: RequestIds::default(),
            lockouts: Arc::default(),
            stopping: AtomicBool::new(false),
            started: Instant::now(),
            readiness_timeout: config.readiness_timeout,
            ready: AtomicBool::new(false),
            counters_of: Mutex::default(),
        })
    }

    /// The counters of an upstream.
    pub fn counters_of(&self, upstream: &str) -> UpstreamCounters {
        self.counters_of.lock().entry(upstream.to_owned()).or_default().clone()
    }
}

/// The longest time that the fetch of a read can take: leases last as long.
pub(super) fn longest_lease(gateway: &Gateway) -> Duration {
    let fetch = |upstream: &Arc<Upstream>| {
        upstream.slots.wait + upstream.target.timeouts.connect + upstream.target.timeouts.first_byte
    };
    gateway.upstreams().iter().map(fetch).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn request_ids_are_random() {
        let ids = RequestIds::default();
        let names: Vec<String> = (0..1_000).map(|_| ids.request().to_str().unwrap().to_owned()).collect();
        let distinct =
            |part: std::ops::Range<usize>| names.iter().map(|name| &name[part.clone()]).collect::<HashSet<_>>();
        assert_eq!(names.iter().filter(|name| name.len() == 32).count(), 1_000);
        assert_eq!(
            (distinct(0..16).len(), distinct(16..32).len()),
            (1_000, 1_000),
            "no part is the process, none a counter"
        );
        let number = |name: &String| u64::from_str_radix(&name[16..], 16).unwrap();
        let steps: HashSet<u64> =
            names.windows(2).map(|pair| number(&pair[1]).wrapping_sub(number(&pair[0]))).collect();
        assert_eq!(steps.len(), 999);
        let other = RequestIds::default().request();
        assert!(!names.iter().any(|name| *name == other), "other processes have other names");
    }
}
