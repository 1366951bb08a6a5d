//! What lasts as long as the process, whatever its configuration.

use super::{LineFormat, RuntimeError, hex};
use crate::cache::{self, Opened};
use crate::config::{Config, LogFormat, Store};
use crate::gateway::{Gateway, Upstream};
use crate::journal::Journal;
use crate::keys;
use crate::metrics::{Metrics, StoreMetrics};
use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What lasts as long as the process.
pub(super) struct Lasting {
    pub cache: Opened,
    pub metrics: Arc<Metrics>,
    pub journal: Journal,
    pub format: LineFormat,
    pub ids: RequestIds,
    pub stopping: AtomicBool,
    /// By the name of an upstream.
    tallies: Mutex<HashMap<String, Arc<keys::Tally>>>,
}

/// Names requests: unique among processes, and cheap.
pub(super) struct RequestIds {
    process: String,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Result<RequestIds, RuntimeError> {
        let mut process = [0; 8];
        SystemRandom::new().fill(&mut process).map_err(|_| RuntimeError::Random)?;
        Ok(RequestIds { process: hex(&process), next: AtomicU64::new(0) })
    }

    /// A new name.
    pub fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = [self.process.as_str(), &hex(&number.to_be_bytes())].concat();
        HeaderValue::from_maybe_shared(Bytes::from(id)).unwrap_or(HeaderValue::from_static("-"))
    }
}

impl Lasting {
    /// What a process has that starts with this configuration. Has to be called inside a tokio runtime.
    pub fn new(config: &Config, journal: Journal) -> Result<Lasting, RuntimeError> {
        let metrics = Arc::new(Metrics::new()?);
        let listener = Arc::new(StoreMetrics::new()?);
        if matches!(config.store, Store::Redis(_)) {
            metrics.show(&listener)?;
        }
        let cache = cache::open(&config.store, longest_lease(&config.gateway), listener)?;
        cache.start();
        let format = match config.log.format {
            LogFormat::Json => LineFormat::Json,
            LogFormat::Text => LineFormat::Text,
        };
        Ok(Lasting {
            cache,
            metrics,
            journal,
            format,
            ids: RequestIds::new()?,
            stopping: AtomicBool::new(false),
            tallies: Mutex::default(),
        })
    }

    /// What is counted of the issuers of an upstream.
    pub fn tally(&self, upstream: &str) -> Arc<keys::Tally> {
        self.tallies.lock().entry(upstream.to_owned()).or_default().clone()
    }
}

/// How long the fetch of a read can take: nobody waits longer for one who fetches.
pub(super) fn longest_lease(gateway: &Gateway) -> Duration {
    let fetch = |upstream: &Arc<Upstream>| upstream.target.timeouts.connect + upstream.target.timeouts.first_byte;
    gateway.upstreams().iter().map(fetch).max().unwrap_or_default()
}
