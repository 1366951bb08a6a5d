//! What lasts as long as the process, whatever its configuration.

use super::{LineFormat, RuntimeError, hex};
use crate::cache::{self, Opened};
use crate::config::{Config, LogFormat, Store};
use crate::gateway::{Gateway, Upstream};
use crate::journal::Journal;
use crate::keys;
use crate::metrics::{Metrics, StoreMetrics};
use crate::wire::trace::Trace;
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

/// Names requests and traces: unique among processes, and cheap.
pub(super) struct RequestIds {
    /// The process, as a number and in digits.
    process: (u64, String),
    next: AtomicU64,
    /// What the numbers of traces begin at.
    seed: u64,
}

impl RequestIds {
    fn new() -> Result<RequestIds, RuntimeError> {
        let (mut process, mut seed) = ([0; 8], [0; 8]);
        let random = SystemRandom::new();
        random.fill(&mut process).and_then(|()| random.fill(&mut seed)).map_err(|_| RuntimeError::Random)?;
        Ok(RequestIds {
            process: (u64::from_be_bytes(process), hex(&process)),
            next: AtomicU64::new(0),
            seed: u64::from_be_bytes(seed),
        })
    }

    /// A new name of a request.
    pub fn request(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = [self.process.1.as_str(), &hex(&number.to_be_bytes())].concat();
        HeaderValue::from_maybe_shared(Bytes::from(id)).unwrap_or(HeaderValue::from_static("-"))
    }

    /// A new trace. Samplers take the second half of its id for a random number.
    pub fn trace(&self) -> Trace {
        let number = self.seed.wrapping_add(self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(2));
        Trace::begun([self.process.0, mixed(number)], mixed(number.wrapping_add(1)))
    }
}

/// The finalizer of SplitMix64: no two numbers become one, and near ones become far apart.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
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
