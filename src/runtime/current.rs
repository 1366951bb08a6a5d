//! Which configuration holds, and how another takes its place.

use super::process_state::{ProcessState, longest_lease};
use super::{Runtime, RuntimeError};
use crate::cache::{Mark, MarkFailurePolicy, Scope};
use crate::coherence::Settled;
use crate::config::{Config, RestartRequired};
use crate::gateway::{OnUnreachable, Upstream, WriteOutcome};
use crate::log_writer::LogWriter;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::telemetry::{Label, ReloadResult};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long a new provider's name may take to be looked up, and a new issuer's keys to be fetched, before a
/// configuration holds.
const WARM_UP: Duration = Duration::from_secs(5);
/// How often it is looked whether something is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// How much longer a mark stands than it is needed.
const MARGIN: Duration = Duration::from_secs(5);

/// A running gateway.
pub struct CurrentRuntime {
    now: ArcSwap<Runtime>,
    /// Those that held before, as long as requests keep to them.
    previous: Mutex<Vec<Previous>>,
    reload_state: Mutex<ReloadState>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    process: Arc<ProcessState>,
}

/// What was read last, beside what holds.
#[derive(Debug, Default)]
struct ReloadState {
    /// Why it was rejected, where it was.
    rejected: Option<String>,
    /// Why it could not even be read, where it could not.
    unread: Option<String>,
    /// What of it waits for a restart.
    waiting: Vec<RestartRequired>,
}

/// What held before.
#[derive(Clone)]
struct Previous {
    runtime: Weak<Runtime>,
    /// How long a write can take that began under it.
    longest_write: Duration,
}

impl CurrentRuntime {
    /// What the process holds in memory for its clients.
    pub fn memory(&self) -> Arc<Memory> {
        self.process.memory.clone()
    }

    /// A gateway that starts with this configuration, whose text has this SHA-256 hash. Has to be called inside a tokio
    /// runtime.
    pub fn new(config: &Config, hash: &str, log_writer: LogWriter) -> Result<CurrentRuntime, RuntimeError> {
        let process = Arc::new(ProcessState::new(config, log_writer)?);
        let now = ArcSwap::from_pointee(Runtime::new(config, process.clone(), None)?);
        let metrics = process.metrics.clone();
        metrics.activate(hash, &[]);
        Ok(CurrentRuntime { now, previous: Mutex::default(), reload_state: Mutex::default(), metrics, process })
    }

    /// What holds now.
    pub fn now(&self) -> Arc<Runtime> {
        self.now.load_full()
    }

    /// From now on the gateway says that it is not ready.
    pub fn stop(&self) {
        self.process.stopping.store(true, Ordering::Relaxed);
    }

    /// What this configuration would make of the process. It can take the place of what holds as long as nothing else
    /// does.
    pub fn candidate(&self, config: &Config) -> Result<Arc<Runtime>, RuntimeError> {
        Runtime::new(config, self.process.clone(), Some(&self.now())).map(Arc::new)
    }

    /// Waits, a while at the most, until a candidate can serve whatever is served now, or says what it cannot.
    pub async fn warm_up(&self, candidate: &Runtime) -> Result<(), Vec<String>> {
        let (now, deadline) = (self.now(), Instant::now() + WARM_UP);
        loop {
            let lost = candidate.lost(&now);
            if lost.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(lost);
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Puts a candidate into the place of what holds. Requests that are in flight keep to what they began with.
    pub async fn activate(&self, candidate: Arc<Runtime>) {
        let last = self.now();
        let previous = self.previous_with(&last);
        let longest_write = previous.iter().map(|one| one.longest_write).max().unwrap_or_default();
        let marks = self.mark_uncached(&last, &candidate, longest_write + MARGIN).await;
        self.process.cache.set_lease(longest_lease(&candidate.gateway));
        self.now.store(candidate);
        if !marks.is_empty() {
            tokio::spawn(end_after(previous, longest_write, marks, self.process.clone()));
        }
    }

    /// What held before or holds up to now, as far as requests keep to it.
    fn previous_with(&self, last: &Arc<Runtime>) -> Vec<Previous> {
        let mut previous = self.previous.lock();
        previous.retain(|one| one.runtime.strong_count() > 0);
        previous.push(Previous { runtime: Arc::downgrade(last), longest_write: longest_write(last) });
        previous.clone()
    }

    /// Writes to a provider of which nothing was cached have left no marks. Where something is cached from now on, all
    /// of them at once have one mark, and what may be left from an earlier time is made stale.
    async fn mark_uncached(&self, last: &Runtime, candidate: &Runtime, guard: Duration) -> Vec<Mark> {
        let before = cached(last);
        let mut marks = Vec::new();
        for (scope, upstream) in cached(candidate).into_iter().filter(|(scope, _)| !before.contains_key(scope)) {
            let bound = upstream.scope_cache.map(|cache| cache.max_serving_time()).unwrap_or_default();
            let on_mark_failure = MarkFailurePolicy { on_unreachable: OnUnreachable::Forward, bound };
            match self.process.cache.sessions.begin(Scope::Upstream(scope), guard, on_mark_failure).await {
                Ok(mark) => marks.push(mark),
                Err(rejection) => {
                    tracing::warn!(upstream = upstream.name, reason = rejection.name(), "cannot mark writes in flight");
                }
            }
        }
        marks
    }

    /// Marks all that is cached as being changed, so that nothing of it is given out: another process serves the same
    /// upstreams, and their stores do not know of each other. The marks stand for `at_most`.
    pub async fn hold_cache(&self, at_most: Duration) -> Vec<Mark> {
        let mut marks = Vec::new();
        for (scope, upstream) in cached(&self.now()) {
            let Some(cache) = upstream.scope_cache else {
                continue;
            };
            let marked = self.process.cache.sessions.begin(Scope::Upstream(scope), at_most, cache.into()).await;
            marks.extend(marked.ok());
        }
        marks
    }

    /// From now on this process alone serves its upstreams: what is cached may be given out again, but for what is
    /// older.
    pub async fn release_cache(&self, marks: Vec<Mark>) {
        end(marks, &self.process).await;
    }

    /// A configuration was applied whose text has this hash. `waiting` is what of it waits for a restart.
    pub fn applied(&self, hash: &str, waiting: Vec<RestartRequired>) {
        self.metrics.reload(ReloadResult::Applied);
        self.metrics.activate(hash, &waiting);
        *self.reload_state.lock() = ReloadState { rejected: None, unread: None, waiting };
    }

    /// The configuration was read again, and is the one that holds.
    pub fn unchanged(&self, hash: &str) {
        let mut reload_state = self.reload_state.lock();
        self.metrics.reload(ReloadResult::Unchanged);
        self.metrics.activate(hash, &reload_state.waiting);
        reload_state.rejected = None;
        reload_state.unread = None;
    }

    /// A configuration was rejected.
    pub fn rejected(&self, why: String) {
        self.metrics.reload(ReloadResult::Rejected);
        self.metrics.reject();
        let mut reload_state = self.reload_state.lock();
        reload_state.rejected = Some(why);
        reload_state.unread = None;
    }

    /// A configuration could not be read for a reason that is none of its own.
    pub fn unread(&self, why: String) {
        self.metrics.reload(ReloadResult::Unread);
        self.reload_state.lock().unread = Some(why);
    }

    /// What an operator should know of the configuration, although requests are served.
    pub fn details(&self) -> Vec<String> {
        let reload_state = self.reload_state.lock();
        let rejected = reload_state.rejected.iter();
        let rejected = rejected.map(|why| format!("configuration rejected, still using the previous one: {why}"));
        let unread = reload_state.unread.iter();
        let unread = unread.map(|why| format!("configuration not read, still using the previous one: {why}"));
        let waiting = reload_state.waiting.iter();
        rejected
            .chain(unread)
            .chain(waiting.map(|option| format!("{}: the change needs a restart", option.name())))
            .collect()
    }
}

/// By scope: an upstream of those that cache, or share the provider of one that does.
fn cached(runtime: &Runtime) -> BTreeMap<u64, Arc<Upstream>> {
    let upstreams = runtime.gateway.upstreams().iter().filter(|upstream| upstream.scope_cache.is_some());
    upstreams.map(|upstream| (upstream.scope, upstream.clone())).collect()
}

/// How long a write can take from its head to its end: its body, what is read to evaluate it, and itself.
fn longest_write(runtime: &Runtime) -> Duration {
    let write =
        |upstream: &Arc<Upstream>| upstream.body.timeout + (upstream.slots.wait + upstream.target.timeouts.guard()) * 2;
    runtime.gateway.upstreams().iter().map(write).max().unwrap_or_default()
}

/// Ends marks when no request keeps to what held before, or no write of it can be under backend any more.
async fn end_after(previous: Vec<Previous>, longest_write: Duration, marks: Vec<Mark>, process: Arc<ProcessState>) {
    let deadline = Instant::now() + longest_write;
    while previous.iter().any(|one| one.runtime.strong_count() > 0) && Instant::now() < deadline {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    end(marks, &process).await;
}

/// Ends marks, and makes stale what they stood for.
async fn end(marks: Vec<Mark>, process: &ProcessState) {
    for mark in marks {
        process.cache.sessions.end(mark, WriteOutcome::End(Settled::default())).await;
    }
}
