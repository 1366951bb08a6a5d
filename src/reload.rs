//! Reading the configuration again while requests are served: on SIGHUP, and when what it is made of has changed.
//!
//! The whole of a new configuration is read, checked and set up beside the one that holds, and then takes its place in
//! one step; or the last good one stays, and log, metrics and `/readyz` say why. Changes are found by contents, so that
//! it does not matter how files are replaced: in place, by another file of the same name, or by the links with which
//! Kubernetes swaps whole directories.

mod source;

pub use source::{Fingerprints, LoadedConfig, Machine, Source, Unusable};

use crate::config::{self, Config, ConfigError, RestartRequired};
use crate::runtime::{CurrentRuntime, Runtime};
use crate::telemetry::Label;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::Instant;

/// How often a configuration is tried again that is rejected for what lies outside of it.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// How many faults of a configuration are logged.
const MAX_FAULTS: usize = 20;

/// A part of the process that follows a configuration which is about to hold, or says why it cannot.
pub type Follower = Box<dyn Fn(&Config) -> Result<(), String> + Send + Sync>;

/// What reads the configuration again.
pub struct Reload {
    source: Arc<Source>,
    running: Arc<CurrentRuntime>,
    /// The configuration that the process was started with, and what stood in its files.
    started: (Config, Fingerprints),
    followers: Vec<Follower>,
    options: config::Reload,
    /// What stood in the files of the configuration that holds.
    current: Fingerprints,
    /// What stood in the files that were read last.
    read: Fingerprints,
    /// What the last look found, where it is not what was read: it may be half written.
    changing: Option<Fingerprints>,
    rejected: Option<RejectedConfig>,
    /// Whether there were no descriptors to read it with.
    no_descriptors: bool,
}

/// Why the configuration that was read last does not hold.
struct RejectedConfig {
    reason: String,
    /// When it was found out, where time may mend it.
    tried: Option<Instant>,
}

impl RejectedConfig {
    fn is_due(&self) -> bool {
        self.tried.is_some_and(|tried| tried.elapsed() >= RETRY_INTERVAL)
    }
}

/// Why a configuration is read again.
enum ReloadCause {
    Signal,
    /// Two looks found this.
    Change(Fingerprints),
}

impl Reload {
    /// Reads `source` again, from which the configuration came that the process was started with. `fingerprints` is
    /// what stood in its files.
    pub fn new(
        source: Source,
        config: Config,
        fingerprints: Fingerprints,
        running: Arc<CurrentRuntime>,
        followers: Vec<Follower>,
    ) -> Reload {
        Reload {
            source: Arc::new(source),
            running,
            options: config.reload,
            started: (config, fingerprints.clone()),
            followers,
            current: fingerprints.clone(),
            read: fingerprints,
            changing: None,
            rejected: None,
            no_descriptors: false,
        }
    }

    /// Reads the configuration again whenever there is a cause to.
    pub async fn run(mut self, mut hangup: Signal) {
        loop {
            let interval = self.options.interval;
            let cause = tokio::select! {
                received = hangup.recv() => match received {
                    Some(()) => Some(ReloadCause::Signal),
                    None => return,
                },
                () = tokio::time::sleep(interval), if self.options.watch => self.changed().await.map(ReloadCause::Change),
            };
            if let Some(cause) = cause {
                self.read(cause).await;
            }
        }
    }

    /// Looks whether something has changed. It counts once two looks have found the same: until then it may be half
    /// written.
    async fn changed(&mut self) -> Option<Fingerprints> {
        let last = self.changing.as_ref().unwrap_or(&self.read).clone();
        let fingerprints = blocking(move || last.rehash()).await??;
        if fingerprints == self.read {
            self.changing = None;
            let again = self.no_descriptors || self.rejected.as_ref().is_some_and(RejectedConfig::is_due);
            return again.then_some(fingerprints);
        }
        if self.changing.as_ref() == Some(&fingerprints) {
            return Some(fingerprints);
        }
        self.changing = Some(fingerprints);
        None
    }

    async fn read(&mut self, cause: ReloadCause) {
        let source = self.source.clone();
        let Some((fingerprints, loaded)) = blocking(move || source.read()).await else {
            return;
        };
        let had_no_descriptors =
            std::mem::replace(&mut self.no_descriptors, matches!(loaded, Err(Unusable::NoDescriptors)));
        if self.no_descriptors {
            // What was found of its files says nothing.
            self.running.unread("too many open files".into());
            if !had_no_descriptors {
                tracing::error!("configuration not read: too many open files; still using the previous one");
            }
            return;
        }
        if let ReloadCause::Change(found) = cause
            && found != fingerprints
        {
            // It goes on changing, or names files that were not looked at yet.
            self.changing = Some(fingerprints);
            return;
        }
        self.read = fingerprints;
        self.changing = None;
        match loaded {
            Ok(loaded) if self.read == self.current => self.unchanged(&loaded),
            Ok(loaded) => self.apply(loaded).await,
            Err(unread @ (Unusable::Unreadable(_) | Unusable::NoDescriptors)) => {
                self.reject(&[unread.to_string()], false)
            }
            Err(Unusable::Invalid(faults)) => {
                self.reject(&faults.iter().map(ConfigError::to_string).collect::<Vec<_>>(), false);
            }
        }
    }

    /// What was read is what holds.
    fn unchanged(&mut self, loaded: &LoadedConfig) {
        self.rejected = None;
        self.running.unchanged(&loaded.hash);
        tracing::info!(hash = loaded.hash, "configuration unchanged");
    }

    async fn apply(&mut self, LoadedConfig { config, warnings, hash }: LoadedConfig) {
        for warning in &warnings {
            tracing::warn!(%warning, "configuration warning");
        }
        let config = Arc::new(config);
        let candidate = match self.candidate(config.clone()).await {
            Ok(candidate) => candidate,
            Err((reasons, may_recover)) => return self.reject(&reasons, may_recover),
        };
        // Whatever else of the process can change while it serves. Those that may fail come first, so that nothing has
        // changed then.
        if let Err(reason) = self.followers.iter().try_for_each(|follow| follow(&config)) {
            return self.reject(&[reason], false);
        }
        self.running.activate(candidate).await;
        let waiting = self.waiting(&config);
        let names: Vec<&str> = waiting.iter().map(|option| option.name()).collect();
        if !names.is_empty() {
            tracing::warn!(
                options = names.join(", "),
                "these options need a restart; the rest of the configuration is applied"
            );
        }
        tracing::info!(hash, "configuration applied");
        self.running.applied(&hash, waiting);
        self.options = config.reload;
        self.current = self.read.clone();
        self.rejected = None;
    }

    /// What the configuration makes of the process, set up and found able to serve; otherwise why not, and whether time
    /// may mend it.
    async fn candidate(&self, config: Arc<Config>) -> Result<Arc<Runtime>, (Vec<String>, bool)> {
        let running = self.running.clone();
        let candidate = blocking(move || running.candidate(&config)).await;
        let candidate = candidate.ok_or_else(|| (vec!["the configuration could not be set up".to_owned()], false))?;
        let candidate = candidate.map_err(|error| (vec![error.to_string()], false))?;
        self.running.warm_up(&candidate).await.map_err(|lost| (lost, true))?;
        Ok(candidate)
    }

    /// What of a configuration waits for a restart. The store reads its files when it is set up.
    fn waiting(&self, config: &Config) -> Vec<RestartRequired> {
        let (started, fingerprints) = &self.started;
        let mut waiting = started.restart_required(config);
        let changed = started.store.files().into_iter().any(|path| fingerprints.at(path) != self.read.at(path));
        if changed && !waiting.contains(&RestartRequired::Store) {
            waiting.push(RestartRequired::Store);
        }
        waiting
    }

    fn reject(&mut self, reasons: &[String], may_recover: bool) {
        let reason = reasons.first().cloned().unwrap_or_default();
        // Each try of the same is counted, but told only once.
        let told = may_recover && self.rejected.as_ref().is_some_and(|last| last.reason == reason);
        for reason in reasons.iter().take(MAX_FAULTS).filter(|_| !told) {
            tracing::error!(reason, faults = reasons.len(), "configuration rejected; still using the previous one");
        }
        self.running.rejected(reason.clone());
        self.rejected = Some(RejectedConfig { reason, tried: may_recover.then(Instant::now) });
    }
}

/// Does what may wait for files where it holds nobody up; none where it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| tracing::error!(%error, "reading the configuration failed")).ok()
}
