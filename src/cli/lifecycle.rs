//! How a gateway starts and ends, and how its place is taken.

use super::{CommandError, other};
use crate::admin;
use crate::config::{self, Config, Listener, LogFormat, Shutdown, Store};
use crate::handover::{self, Inherited, Successor};
use crate::journal::Journal;
use crate::proxy::{self, Serving};
use crate::runtime::{Bound, LineFormat, Runtime};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing_subscriber::EnvFilter;

/// How long a new process waits for the one whose place it takes.
const WAIT_FOR_OLD: Duration = Duration::from_secs(60);
/// How long a process waits for the one that takes its place, before it goes on.
const WAIT_FOR_NEW: Duration = Duration::from_secs(30);
/// What the socket of the admin listener is called when it is handed over.
const ADMIN: &str = "admin";

/// A gateway that serves, with its admin listener.
pub(super) struct Started {
    runtime: Arc<Runtime>,
    serving: Serving,
    /// Where requests come in, as people write it.
    pub listen: String,
    /// The first address of these.
    pub address: Option<SocketAddr>,
    /// The admin pages, and where they are.
    pub admin: Option<(admin::Served, SocketAddr)>,
    shutdown: Shutdown,
    /// Whether what is cached is in the memory of this process only.
    alone: bool,
}

/// Why a gateway ends.
enum End {
    Signal(&'static str),
    /// Another process has taken its place, which knows by this when it is over.
    Replaced(Successor),
}

/// Waits for the listeners of the process whose place this one takes.
pub(super) async fn inherited(shutdown: &Shutdown) -> Result<Inherited, CommandError> {
    let Some(path) = shutdown.upgrade_socket.clone() else {
        return Err(other("`--upgrade` needs `shutdown.upgrade_socket` in the configuration"));
    };
    let shown = path.display().to_string();
    let received = spawn_blocking(move || handover::receive(&path, WAIT_FOR_OLD)).await.map_err(other)?;
    received.map_err(|error| other(format!("{shown}: {error}")))
}

impl Started {
    /// Binds everything first, then starts.
    pub async fn new(
        config: Config,
        journal: Journal,
        mut inherited: Option<Inherited>,
    ) -> Result<Started, CommandError> {
        let listeners = config.listeners.iter().map(|listener| bound(listener, &mut inherited));
        let listeners = listeners.collect::<Result<Vec<_>, CommandError>>()?;
        let admin = config.admin.map(|address| bound_admin(address, &mut inherited)).transpose()?;
        start_log(&config, &journal);
        let format = match config.log.format {
            LogFormat::Json => LineFormat::Json,
            LogFormat::Text => LineFormat::Text,
        };
        let requests = config.log.requests.then_some(format);
        let alone = matches!(config.store, Store::Memory(_));
        let runtime = Arc::new(
            Runtime::new(config.gateway, &config.store, journal, requests, config.clients.clone()).map_err(other)?,
        );
        runtime.start_background();
        let mut held = Vec::new();
        if inherited.is_some() {
            ready(&runtime).await;
            held = if alone { runtime.hold_cache(held_for(&config.shutdown)).await } else { held };
        }
        let listen = listeners.iter().map(|(_, bound)| bound.shown()).collect::<Vec<_>>().join(" ");
        let address = listeners.iter().find_map(|(_, bound)| bound.address());
        let serving = Serving::start(runtime.clone(), listeners, &config.clients).map_err(other)?;
        let at = admin.as_ref().map(Bound::address);
        let admin = admin.map(|admin| admin::serve(runtime.clone(), admin)).transpose().map_err(other)?;
        if let Some(inherited) = inherited {
            let old = inherited.confirm().map_err(other)?;
            let runtime = runtime.clone();
            tokio::spawn(async move {
                let _ = spawn_blocking(|| old.ended()).await;
                tracing::info!("the process before this one has ended");
                runtime.release_cache(held).await;
            });
        }
        Ok(Started { runtime, serving, listen, address, admin: admin.zip(at), shutdown: config.shutdown, alone })
    }

    /// Waits, a while at the most, until the gateway is ready.
    pub async fn ready(&self) {
        ready(&self.runtime).await;
    }

    /// Serves until a signal comes, then ends what is in flight. A second signal ends it at once.
    pub async fn until_stopped(self) -> Result<(), CommandError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(other)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(other)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(other)?;
        let mut quit = signal(SignalKind::quit()).map_err(other)?;
        let end = loop {
            tokio::select! {
                _ = terminate.recv() => break End::Signal("SIGTERM"),
                _ = interrupt.recv() => break End::Signal("SIGINT"),
                _ = quit.recv() => match self.hand_over().await {
                    Ok(end) => break end,
                    Err(error) => tracing::error!(%error, "the listeners could not be handed over; going on"),
                },
                // Unhandled it would end the process, and many take it for a reload.
                _ = hangup.recv() => tracing::warn!("SIGHUP is ignored: the configuration is read at the start only"),
            }
        };
        let config::Shutdown { mut drain_delay, grace, .. } = self.shutdown;
        let _successor = match end {
            End::Signal(signal) => {
                tracing::info!(signal, "stopping");
                None
            }
            End::Replaced(successor) => {
                tracing::info!("another process has taken over; stopping");
                // Nobody has to look elsewhere.
                drain_delay = Duration::ZERO;
                Some(successor)
            }
        };
        tokio::select! {
            cut = self.serving.stop(drain_delay, grace) => tracing::info!(requests_cut_off = cut, "stopped"),
            _ = terminate.recv() => tracing::warn!("stopped at once"),
            _ = interrupt.recv() => tracing::warn!("stopped at once"),
        }
        Ok(())
    }

    /// Hands the listeners over to a process that waits for them. Without a place for that the signal means a stop.
    async fn hand_over(&self) -> io::Result<End> {
        let Some(path) = self.shutdown.upgrade_socket.clone() else {
            return Ok(End::Signal("SIGQUIT"));
        };
        // Before the other process can change anything.
        let held = if self.alone { self.runtime.hold_cache(held_for(&self.shutdown)).await } else { Vec::new() };
        let listeners = self.serving.listeners().to_vec();
        let admin = self.admin.as_ref().map(|(served, _)| served.socket().try_clone()).transpose()?;
        let passed = spawn_blocking(move || {
            let mut sockets: Vec<(String, BorrowedFd)> =
                listeners.iter().map(|bound| (bound.name(), bound.as_fd())).collect();
            sockets.extend(admin.as_ref().map(|admin| (ADMIN.to_owned(), admin.as_fd())));
            handover::pass_on(&path, &sockets, WAIT_FOR_NEW)
        });
        match passed.await.map_err(io::Error::other).flatten() {
            Ok(successor) => {
                if let Some((admin, _)) = &self.admin {
                    admin.end();
                }
                Ok(End::Replaced(successor))
            }
            Err(error) => {
                self.runtime.release_cache(held).await;
                Err(error)
            }
        }
    }
}

/// How long a process whose place is taken may go on.
fn held_for(shutdown: &Shutdown) -> Duration {
    shutdown.grace + WAIT_FOR_OLD
}

async fn ready(runtime: &Runtime) {
    for _ in 0..500 {
        if runtime.unready().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn bound(listener: &Listener, inherited: &mut Option<Inherited>) -> Result<(Listener, proxy::Bound), CommandError> {
    let taken = |error| other(format!("listener `{}` cannot listen on {}: {error}", listener.name, listener.address));
    let socket = inherited.as_mut().and_then(|inherited| inherited.take(&listener.address.to_string()));
    let bound = match socket {
        Some(socket) => proxy::Bound::adopt(&listener.address, socket),
        None => proxy::Bound::new(&listener.address),
    };
    Ok((listener.clone(), bound.map_err(taken)?))
}

fn bound_admin(address: SocketAddr, inherited: &mut Option<Inherited>) -> Result<Bound, CommandError> {
    let taken = |error| other(format!("cannot listen on {address}: {error}"));
    let socket = inherited.as_mut().and_then(|inherited| inherited.take(ADMIN));
    if let Some(bound) = socket.map(Bound::adopt).transpose().map_err(taken)?
        && (bound.address() == address || address.port() == 0)
    {
        return Ok(bound);
    }
    Bound::new(address).map_err(taken)
}

fn start_log(config: &Config, journal: &Journal) {
    let level = config.log.level.name();
    // What libraries tell of single connections stands in the lines of requests.
    let quiet =
        ["pingora_core", "pingora_proxy", "hyper", "h2", "rustls"].map(|name| format!("{name}=error")).join(",");
    let filter = EnvFilter::new(format!("{level},{quiet}"));
    let journal = journal.clone();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || journal.clone()).with_ansi(false);
    // An error means that a log was started before, as in tests.
    let _ = match config.log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
