//! Start, shutdown and upgrade of a gateway.

use super::command_error::{CommandError, other};
use super::log;
use super::operations::{BoundOperations, Operations};
use super::signals::CaughtSignals;
use crate::config::{self, Clients, Config, Listener, Shutdown, Store};
use crate::descriptors;
use crate::edge;
use crate::handover::{self, Inherited, Successor};
use crate::log_writer::LogWriter;
use crate::proxy::Serving;
use crate::reload::{Fingerprints, Follower, LoadedConfig, Reload, Source};
use crate::runtime::CurrentRuntime;
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};

/// How long a new process waits for the old one.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the old process waits for the new one, before it continues to serve.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a replaced process still serves requests on kept connections, and closes each with its response.
const LAST_RESPONSES: Duration = Duration::from_secs(1);

/// A running gateway, with its listeners for operations.
pub(super) struct Started {
    running: Arc<CurrentRuntime>,
    serving: Arc<Serving>,
    /// The listening addresses, for display.
    pub listen: String,
    pub operations: Arc<Operations>,
    shutdown: Arc<Mutex<Shutdown>>,
    /// Whether the cache is in this process's memory only.
    has_memory_store: bool,
    /// Completes when the old process has ended, if there was one.
    predecessor: Option<JoinHandle<()>>,
    /// What adopts a new configuration.
    followers: Vec<Follower>,
    signals: Signals,
}

/// The signals that are handled.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    fn new(hangup: Signal) -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: Some(hangup),
        })
    }
}

/// Why a gateway stops.
enum End {
    Signal(&'static str),
    /// Replaced by another process, which sees its end through this.
    Replaced(Successor),
}

/// Waits for the listeners of the old process.
pub(super) async fn inherited(shutdown: &Shutdown) -> Result<Inherited, CommandError> {
    let Some(path) = shutdown.upgrade_socket.clone() else {
        return Err(other("`--upgrade` needs `shutdown.upgrade_socket` in the configuration"));
    };
    let shown = path.display().to_string();
    let received = spawn_blocking(move || handover::receive(&path, PREDECESSOR_TIMEOUT)).await.map_err(other)?;
    received.map_err(|error| other(format!("{shown}: {error}")))
}

impl Started {
    /// Binds all sockets, then starts.
    pub async fn new(
        loaded: &LoadedConfig,
        log_writer: LogWriter,
        caught: CaughtSignals,
        mut inherited: Option<Inherited>,
    ) -> Result<Started, CommandError> {
        let config = &loaded.config;
        let listeners = config.listeners.iter().map(|listener| bound(listener, &mut inherited));
        let listeners = listeners.collect::<Result<Vec<_>, CommandError>>()?;
        let operations = BoundOperations::new(config, &mut inherited)?;
        let level = log::start(config, &log_writer);
        let signals = Signals::new(caught.log_ignored()).map_err(other)?;
        if !config.uses_proxy_variables {
            warn_about_proxy_variables();
        }
        let has_memory_store = matches!(config.store, Store::Memory(_));
        let running = Arc::new(CurrentRuntime::new(config, &loaded.hash, log_writer).map_err(other)?);
        let mut marks = Vec::new();
        if inherited.is_some() {
            ready(&running).await;
            marks = if has_memory_store { running.suspend_cache(max_overlap(&config.shutdown)).await } else { marks };
        }
        let listen = listeners.iter().map(|(_, bound)| bound.local_address()).collect::<Vec<_>>().join(" ");
        let serving = Arc::new(Serving::start(running.clone(), listeners, &limit_connections(config)).map_err(other)?);
        let operations = Arc::new(operations.start(&running)?);
        let mut predecessor = None;
        if let Some(inherited) = inherited {
            let old = inherited.confirm().map_err(other)?;
            let running = running.clone();
            predecessor = Some(tokio::spawn(async move {
                let _ = spawn_blocking(|| old.wait()).await;
                tracing::info!("previous process exited");
                running.resume_cache(marks).await;
            }));
        }
        let shutdown = Arc::new(Mutex::new(config.shutdown.clone()));
        let followers = followers(serving.clone(), operations.clone(), level, shutdown.clone());
        Ok(Started {
            running,
            serving,
            listen,
            operations,
            shutdown,
            has_memory_store,
            predecessor,
            followers,
            signals,
        })
    }

    /// Starts to reload the configuration on SIGHUP and changes; but not before the old process has ended, which does
    /// not reload.
    pub fn reload(&mut self, source: Source, config: Config, fingerprints: Fingerprints) {
        let Some(hangup) = self.signals.hangup.take() else {
            return;
        };
        let followers = std::mem::take(&mut self.followers);
        let reload = Reload::new(source, config, fingerprints, self.running.clone(), followers);
        let predecessor = self.predecessor.take();
        tokio::spawn(async move {
            if let Some(predecessor) = predecessor {
                let _ = predecessor.await;
            }
            reload.run(hangup).await;
        });
    }

    /// Waits up to 5 s until the gateway is ready.
    #[cfg(feature = "sandbox")]
    pub async fn ready(&self) {
        ready(&self.running).await;
    }

    /// Serves until a signal arrives, then drains. A second signal ends the process at once.
    pub async fn until_stopped(mut self) -> Result<(), CommandError> {
        let running = self.running.clone();
        // A small task until then, so that the log says when it was, and not when somebody asked.
        tokio::spawn(async move { running.reach_readiness().await });
        let end = loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => break End::Signal("SIGTERM"),
                _ = self.signals.interrupt.recv() => break End::Signal("SIGINT"),
                _ = self.signals.quit.recv() => match self.hand_over().await {
                    Ok(end) => break end,
                    Err(error) => tracing::error!(%error, "cannot hand over the listeners; still serving"),
                },
            }
        };
        let Signals { mut terminate, mut interrupt, .. } = self.signals;
        let config::Shutdown { mut drain_delay, grace, .. } = self.shutdown.lock().clone();
        let _successor = match end {
            End::Signal(signal) => {
                tracing::info!(signal, "stopping");
                None
            }
            End::Replaced(successor) => {
                tracing::info!("listeners handed over to a new process; stopping");
                // No client must reconnect elsewhere, but a response must tell each that its connection ends.
                drain_delay = LAST_RESPONSES;
                Some(successor)
            }
        };
        tokio::select! {
            cut = self.serving.stop(drain_delay, grace) => tracing::info!(requests_cut_off = cut, "stopped"),
            _ = terminate.recv() => tracing::warn!("stopped immediately"),
            _ = interrupt.recv() => tracing::warn!("stopped immediately"),
        }
        Ok(())
    }

    /// Hands the listeners over to a waiting process. Without `upgrade_socket` the signal stops the gateway.
    async fn hand_over(&self) -> io::Result<End> {
        let shutdown = self.shutdown.lock().clone();
        let Some(path) = shutdown.upgrade_socket.clone() else {
            return Ok(End::Signal("SIGQUIT"));
        };
        let listeners = self.serving.listeners();
        let operations = self.operations.sockets();
        // Before the new process can change anything, and after everything else that can fail.
        let marks =
            if self.has_memory_store { self.running.suspend_cache(max_overlap(&shutdown)).await } else { Vec::new() };
        let passed = spawn_blocking(move || {
            let mut sockets: Vec<(String, BorrowedFd)> =
                listeners.iter().map(|bound| (bound.name(), bound.as_fd())).collect();
            sockets.extend(operations.iter().map(|(name, bound)| (name.clone(), bound.as_fd())));
            handover::send(&path, &sockets, SUCCESSOR_TIMEOUT)
        });
        match passed.await.map_err(io::Error::other).flatten() {
            Ok(successor) => {
                self.operations.end();
                Ok(End::Replaced(successor))
            }
            Err(error) => {
                self.running.resume_cache(marks).await;
                Err(error)
            }
        }
    }
}

/// How long a replaced process may still run.
fn max_overlap(shutdown: &Shutdown) -> Duration {
    shutdown.grace + PREDECESSOR_TIMEOUT
}

/// What adopts a new configuration; what can fail comes first.
fn followers(
    serving: Arc<Serving>,
    operations: Arc<Operations>,
    level: Follower,
    shutdown: Arc<Mutex<Shutdown>>,
) -> Vec<Follower> {
    vec![
        Box::new(move |config| {
            let renewal = operations.renewal(config).map_err(|error| format!("admin, control: {error}"))?;
            let renewed = serving.renew(&config.listeners, &limit_connections(config));
            renewed.map_err(|error| format!("listeners: {error}"))?;
            operations.renew(renewal);
            Ok(())
        }),
        level,
        Box::new(move |config| {
            *shutdown.lock() = config.shutdown.clone();
            Ok(())
        }),
    ]
}

/// The client options, with the connection limit reduced to what the process can open.
fn limit_connections(config: &Config) -> Clients {
    let mut clients = config.clients.clone();
    let declared = clients.limits.connections;
    let in_flight = config.gateway.upstreams().iter().map(|upstream| upstream.slots.in_flight).sum();
    clients.limits.connections = descriptors::max_clients(declared, in_flight);
    if clients.limits.connections < declared {
        let allowed = clients.limits.connections;
        tracing::warn!(declared, allowed, "client connections limited by the open file limit");
    }
    clients
}

/// Warns if proxy variables are set: many programs use them, the gateway only where the configuration says so.
fn warn_about_proxy_variables() {
    const NAMES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let set = NAMES.into_iter().filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let set: Vec<&str> = set.collect();
    if !set.is_empty() {
        let variables = set.join(", ");
        tracing::warn!(variables, "proxy environment variables are ignored");
    }
}

async fn ready(running: &CurrentRuntime) {
    for _ in 0..500 {
        if running.readiness().is_ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn bound(
    listener: &Listener,
    inherited: &mut Option<Inherited>,
) -> Result<(Listener, edge::BoundListener), CommandError> {
    let taken = |error| other(format!("listener `{}` cannot listen on {}: {error}", listener.name, listener.address));
    let socket = inherited.as_mut().and_then(|inherited| inherited.take(&listener.address.to_string()));
    let bound = match socket {
        Some(socket) => edge::BoundListener::adopt(&listener.address, socket),
        None => edge::BoundListener::new(&listener.address),
    };
    Ok((listener.clone(), bound.map_err(taken)?))
}
