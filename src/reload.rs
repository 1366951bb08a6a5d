//! Reloads the configuration without interruption: on SIGHUP, and when its files change.
//!
//! A new configuration is read, checked and set up completely next to the active one, then activated in one step. If
//! anything fails, the active one stays, and log, metrics and `/readyz` show why. Changes are detected by contents, so
//! it does not matter how files are replaced: in place, by another file of the same name, or by the symbolic links with
//! which Kubernetes swaps whole directories.

mod source;

pub use source::{Fingerprints, LoadedConfig, Machine, Source, Unusable};

use crate::config::{self, Config, ConfigError, RestartRequired};
use crate::runtime::{CurrentRuntime, Runtime};
use crate::telemetry::Label;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::Instant;

/// Retry interval for a configuration that is rejected for external reasons.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// The most faults that are logged per reload.
const MAX_FAULTS: usize = 20;

/// A part of the process that adopts the configuration before it is activated, or says why it cannot.
pub type Follower = Box<dyn Fn(&Config) -> Result<(), String> + Send + Sync>;

/// Reloads the configuration.
pub struct Reload {
    source: Arc<Source>,
    running: Arc<CurrentRuntime>,
    /// The configuration at the start of the process, but with the trusted peers that are active; and the fingerprints
    /// of its files.
    started: (Config, Fingerprints),
    followers: Vec<Follower>,
    options: config::Reload,
    /// Fingerprints of the active configuration.
    current: Fingerprints,
    /// Fingerprints of the last read.
    read: Fingerprints,
    /// Fingerprints of the last check, if they differ from `read`: the files may be half written.
    changing: Option<Fingerprints>,
    rejected: Option<RejectedConfig>,
    /// Whether the last read failed for want of descriptors.
    no_descriptors: bool,
}

/// Why a configuration is rejected.
struct Reason {
    /// For the log.
    logged: String,
    /// For `/readyz`, which needs no credential: without what the configuration contains.
    shown: String,
}

impl From<String> for Reason {
    fn from(text: String) -> Reason {
        Reason { shown: text.clone(), logged: text }
    }
}

impl From<&ConfigError> for Reason {
    fn from(error: &ConfigError) -> Reason {
        Reason { logged: error.to_string(), shown: error.place() }
    }
}

/// Why the last configuration was rejected.
struct RejectedConfig {
    reason: String,
    /// When it was rejected, if a retry may succeed.
    tried: Option<Instant>,
}

impl RejectedConfig {
    fn is_due(&self) -> bool {
        self.tried.is_some_and(|tried| tried.elapsed() >= RETRY_INTERVAL)
    }
}

/// The cause of a reload.
enum ReloadCause {
    Signal,
    /// Two checks found these fingerprints.
    Change(Fingerprints),
}

impl ReloadCause {
    /// The name in the log.
    fn name(&self) -> &'static str {
        match self {
            ReloadCause::Signal => "signal",
            ReloadCause::Change(_) => "watch",
        }
    }
}

impl Reload {
    /// Reloads `source`. `config` and `fingerprints` are those at the start of the process.
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

    /// Reloads on SIGHUP and on changes.
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

    /// Checks for changes. A change counts once two checks find the same contents: until then files may be half
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
        let trigger = cause.name();
        let had_no_descriptors =
            std::mem::replace(&mut self.no_descriptors, matches!(loaded, Err(Unusable::NoDescriptors)));
        if self.no_descriptors {
            // The fingerprints of this read mean nothing.
            self.running.unread("too many open files".into());
            if !had_no_descriptors {
                tracing::error!("configuration not read: too many open files; still using the previous one");
            }
            return;
        }
        if let ReloadCause::Change(found) = cause
            && found != fingerprints
        {
            // The files are still changing, or name files that were not checked yet.
            self.changing = Some(fingerprints);
            return;
        }
        self.read = fingerprints;
        self.changing = None;
        match loaded {
            Ok(loaded) if self.read == self.current => self.unchanged(&loaded),
            Ok(loaded) => self.apply(loaded, trigger).await,
            Err(unread @ (Unusable::Unreadable(_) | Unusable::NoDescriptors)) => {
                self.reject(&[unread.to_string().into()], false)
            }
            Err(Unusable::Invalid(faults)) => {
                self.reject(&faults.iter().map(Reason::from).collect::<Vec<_>>(), false);
            }
        }
    }

    /// The active configuration was read again.
    fn unchanged(&mut self, loaded: &LoadedConfig) {
        self.rejected = None;
        self.running.unchanged(&loaded.hash);
        tracing::info!(hash = loaded.hash, "configuration unchanged");
    }

    async fn apply(&mut self, LoadedConfig { mut config, warnings, hash }: LoadedConfig, trigger: &str) {
        for warning in &warnings {
            tracing::warn!(%warning, "configuration warning");
        }
        let waiting = self.waiting(&config);
        if waiting.contains(&RestartRequired::TrustedPeers) {
            config.clients.trusted_peers.clone_from(&self.started.0.clients.trusted_peers);
        }
        let config = Arc::new(config);
        let candidate = match self.candidate(config.clone()).await {
            Ok(candidate) => candidate,
            Err((reasons, may_recover)) => {
                let reasons: Vec<Reason> = reasons.into_iter().map(Reason::from).collect();
                return self.reject(&reasons, may_recover);
            }
        };
        // The other parts that can change without a restart. Those that may fail come first, when nothing has changed
        // yet.
        if let Err(reason) = self.followers.iter().try_for_each(|follow| follow(&config)) {
            return self.reject(&[reason.into()], false);
        }
        self.running.activate(candidate).await;
        self.started.0.clients.trusted_peers.clone_from(&config.clients.trusted_peers);
        let names: Vec<&str> = waiting.iter().map(|option| option.name()).collect();
        if !names.is_empty() {
            tracing::warn!(
                options = names.join(", "),
                "these options need a restart; the rest of the configuration is applied"
            );
        }
        let previous = self.running.applied(&hash, waiting);
        tracing::info!(hash, previous, trigger, warnings = warnings.len(), "configuration applied");
        self.options = config.reload;
        self.current = self.read.clone();
        self.rejected = None;
    }

    /// Builds the runtime and waits until it can serve. Otherwise returns why not, and whether a retry may succeed.
    async fn candidate(&self, config: Arc<Config>) -> Result<Arc<Runtime>, (Vec<String>, bool)> {
        let running = self.running.clone();
        let candidate = blocking(move || running.candidate(&config)).await;
        let candidate = candidate.ok_or_else(|| (vec!["the configuration could not be set up".to_owned()], false))?;
        let candidate = candidate.map_err(|error| (vec![error.to_string()], false))?;
        self.running.warm_up(&candidate).await.map_err(|lost| (lost, true))?;
        Ok(candidate)
    }

    /// The changes that need a restart. The store reads its files only at the start.
    fn waiting(&self, config: &Config) -> Vec<RestartRequired> {
        let (started, fingerprints) = &self.started;
        let mut waiting = started.restart_required(config);
        let changed = started.store.files().into_iter().any(|path| fingerprints.at(path) != self.read.at(path));
        if changed && !waiting.contains(&RestartRequired::Store) {
            waiting.push(RestartRequired::Store);
        }
        waiting
    }

    fn reject(&mut self, reasons: &[Reason], may_recover: bool) {
        let (reason, shown) =
            reasons.first().map(|first| (first.logged.clone(), first.shown.clone())).unwrap_or_default();
        // Every retry is counted, but the same reason is logged only once.
        let told = may_recover && self.rejected.as_ref().is_some_and(|last| last.reason == reason);
        for Reason { logged, .. } in reasons.iter().take(MAX_FAULTS).filter(|_| !told) {
            tracing::error!(
                reason = logged,
                faults = reasons.len(),
                "configuration rejected; still using the previous one"
            );
        }
        self.running.rejected(shown);
        self.rejected = Some(RejectedConfig { reason, tried: may_recover.then(Instant::now) });
    }
}

/// Runs blocking file access outside the async threads; `None` if it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| tracing::error!(%error, "reading the configuration failed")).ok()
}
