//! The active configuration, and how a new one replaces it.

use super::process_state::{ProcessState, longest_lease};
use super::{Runtime, RuntimeError};
use crate::cache::{Mark, MarkFailurePolicy, Scope};
use crate::coherence::Settled;
use crate::config::{Config, RestartRequired, memory_for_tokens};
use crate::gateway::{OnUnreachable, Upstream, WriteOutcome};
use crate::log_writer::LogWriter;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::provider::Provider;
use crate::serve::{MAX_RIGHT_WAIT, Service};
use crate::telemetry::{Label, ReloadResult};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait for a new provider's name and a new issuer's keys before a configuration is rejected.
const WARM_UP: Duration = Duration::from_secs(5);
/// Interval of checks for completion.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// How much longer a mark lasts than needed.
const MARGIN: Duration = Duration::from_secs(5);

/// The active runtime and its history.
pub struct CurrentRuntime {
    now: ArcSwap<Runtime>,
    /// Previous runtimes that requests still use, or writes that go on without their client.
    previous: Mutex<Vec<Previous>>,
    reload_state: Mutex<ReloadState>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    process: Arc<ProcessState>,
}

/// The state of the last reload.
#[derive(Debug, Default)]
struct ReloadState {
    /// The hash of the active configuration's text.
    hash: String,
    /// Why the configuration was rejected, if it was.
    rejected: Option<String>,
    /// Why the configuration could not be read, if so.
    unread: Option<String>,
    /// Changes that need a restart.
    waiting: Vec<RestartRequired>,
}

/// A previous runtime.
#[derive(Clone)]
struct Previous {
    /// Its requests keep its service, and so do writes that go on without their client.
    service: Weak<Service<Provider>>,
    /// The longest time that a write may take under it.
    longest_write: Duration,
}

impl CurrentRuntime {
    /// The memory budget of the process.
    pub fn memory(&self) -> Arc<Memory> {
        self.process.memory.clone()
    }

    /// Sets the memory limit of the process, in bytes; `None` means the system's.
    pub fn set_memory_limit(&self, limit: Option<usize>) {
        let ProcessState { memory, tokens, .. } = &*self.process;
        memory.set_limit(limit);
        tokens.set_max_bytes(memory_for_tokens(memory.limit()));
    }

    /// Starts with this configuration, whose text has this SHA-256 hash. Call inside a tokio runtime.
    pub fn new(config: &Config, hash: &str, log_writer: LogWriter) -> Result<CurrentRuntime, RuntimeError> {
        let process = Arc::new(ProcessState::new(config, log_writer)?);
        let now = ArcSwap::from_pointee(Runtime::new(config, process.clone(), None)?);
        let metrics = process.metrics.clone();
        metrics.activate(hash, &[]);
        let reload_state = Mutex::new(ReloadState { hash: hash.to_owned(), ..ReloadState::default() });
        Ok(CurrentRuntime { now, previous: Mutex::default(), reload_state, metrics, process })
    }

    /// The active runtime.
    pub fn now(&self) -> Arc<Runtime> {
        self.now.load_full()
    }

    /// Makes the gateway report that it is not ready.
    pub fn stop(&self) {
        self.process.stopping.store(true, Ordering::Relaxed);
    }

    /// Builds the runtime of a new configuration. It may be activated as long as no other one was activated meanwhile.
    pub fn candidate(&self, config: &Config) -> Result<Arc<Runtime>, RuntimeError> {
        Runtime::new(config, self.process.clone(), Some(&self.now())).map(Arc::new)
    }

    /// Waits up to `WARM_UP` until a candidate can serve whatever is served now. Otherwise returns what it cannot
    /// serve.
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

    /// Activates a candidate. Requests in flight keep their runtime.
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

    /// The previous runtimes and the last one, as far as requests still use them.
    fn previous_with(&self, last: &Arc<Runtime>) -> Vec<Previous> {
        let mut previous = self.previous.lock();
        previous.retain(|one| one.service.strong_count() > 0);
        previous.push(Previous { service: Arc::downgrade(&last.service), longest_write: longest_write(last) });
        previous.clone()
    }

    /// Marks upstreams whose caching starts now. Writes in flight have left no marks there, so one mark covers all of
    /// them, and older entries become stale.
    async fn mark_uncached(&self, last: &Runtime, candidate: &Runtime, guard: Duration) -> Vec<Mark> {
        let before = cached(last);
        let mut marks = Vec::new();
        for (scope, upstream) in cached(candidate).into_iter().filter(|(scope, _)| !before.contains_key(scope)) {
            let bound = upstream.scope_cache.map(|cache| cache.max_serving_time()).unwrap_or_default();
            let on_mark_failure = MarkFailurePolicy { on_unreachable: OnUnreachable::Forward, bound };
            match self.process.cache.sessions.begin(Scope::Upstream(scope), guard, on_mark_failure).await {
                Ok(mark) => marks.push(mark),
                Err(rejection) => {
                    tracing::warn!(
                        upstream = upstream.name,
                        reason = rejection.name(),
                        "cannot set invalidation marks; reads may be stale until cached responses expire"
                    );
                }
            }
        }
        marks
    }

    /// Marks everything cached, so that nothing is served from it, and suspends exclusive rights: another process serves
    /// the same upstreams with a memory store of its own. The marks last for `at_most`.
    pub async fn suspend_cache(&self, at_most: Duration) -> Vec<Mark> {
        self.process.cache.sessions.suspend_rights(true);
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

    /// Ends the marks: this process alone serves its upstreams again, from entries that are newer.
    pub async fn resume_cache(&self, marks: Vec<Mark>) {
        self.process.cache.sessions.suspend_rights(false);
        end(marks, &self.process).await;
    }

    /// A configuration was activated. `hash` is that of its text, `waiting` its changes that need a restart. Returns
    /// the hash of the previous one.
    pub fn applied(&self, hash: &str, waiting: Vec<RestartRequired>) -> String {
        self.metrics.reload(ReloadResult::Applied);
        self.metrics.activate(hash, &waiting);
        let state = ReloadState { hash: hash.to_owned(), rejected: None, unread: None, waiting };
        std::mem::replace(&mut *self.reload_state.lock(), state).hash
    }

    /// A reload found the active configuration unchanged.
    pub fn unchanged(&self, hash: &str) {
        let mut reload_state = self.reload_state.lock();
        self.metrics.reload(ReloadResult::Unchanged);
        self.metrics.activate(hash, &reload_state.waiting);
        reload_state.rejected = None;
        reload_state.unread = None;
    }

    /// A configuration was rejected. `/readyz` shows why, to anybody: not what the configuration contains.
    pub fn rejected(&self, why: String) {
        self.metrics.reload(ReloadResult::Rejected);
        self.metrics.reject();
        let mut reload_state = self.reload_state.lock();
        reload_state.rejected = Some(why);
        reload_state.unread = None;
    }

    /// A configuration could not be read, for a reason outside of it.
    pub fn unread(&self, why: String) {
        self.metrics.reload(ReloadResult::Unread);
        self.reload_state.lock().unread = Some(why);
    }

    /// A configuration that was rejected or not read, and options that need a restart. Requests are served all the
    /// same.
    pub(super) fn config_problems(&self) -> Vec<String> {
        let reload_state = self.reload_state.lock();
        let rejected = reload_state.rejected.iter();
        let rejected = rejected.map(|why| format!("configuration rejected; still using the previous one: {why}"));
        let unread = reload_state.unread.iter();
        let unread = unread.map(|why| format!("configuration not read; still using the previous one: {why}"));
        let waiting = reload_state.waiting.iter();
        rejected
            .chain(unread)
            .chain(waiting.map(|option| format!("{}: the change needs a restart", option.name())))
            .collect()
    }
}

/// By scope: an upstream that caches, or that shares its provider with one that does.
fn cached(runtime: &Runtime) -> BTreeMap<u64, Arc<Upstream>> {
    let upstreams = runtime.gateway.upstreams().iter().filter(|upstream| upstream.scope_cache.is_some());
    upstreams.map(|upstream| (upstream.scope, upstream.clone())).collect()
}

/// How long a write can take from its head to its end: its body, what is read to evaluate it, and itself.
fn longest_write(runtime: &Runtime) -> Duration {
    let write = |upstream: &Arc<Upstream>| {
        upstream.body.timeout + MAX_RIGHT_WAIT + (upstream.slots.wait + upstream.target.timeouts.guard()) * 2
    };
    runtime.gateway.upstreams().iter().map(write).max().unwrap_or_default()
}

/// Ends marks once no request uses a previous runtime, or none of its writes can be in flight any more.
async fn end_after(previous: Vec<Previous>, longest_write: Duration, marks: Vec<Mark>, process: Arc<ProcessState>) {
    let deadline = Instant::now() + longest_write;
    while previous.iter().any(|one| one.service.strong_count() > 0) && Instant::now() < deadline {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    end(marks, &process).await;
}

/// Ends marks, and makes what they covered stale.
async fn end(marks: Vec<Mark>, process: &ProcessState) {
    for mark in marks {
        process.cache.sessions.end(mark, WriteOutcome::End(Settled::default())).await;
    }
}
