//! The gateway on the wire: Pingora carries the bytes, the core decides. Nothing else in the program names Pingora.

mod access_log;
mod attend;
mod body;
mod caller;
mod chunks;
mod context;
mod declared;
mod failed;
mod first_byte;
mod given_up;
mod governed;
mod head;
mod hooks;
mod invalidating;
mod logout;
mod offers;
mod pass_through;
mod peer;
mod reject;
mod relay;
mod response;
mod stop;
mod switch;
mod upstream_request;
mod upstream_response;
mod whole;

use crate::client::Attempts;
use crate::config::{Clients, Listener};
use crate::descriptors;
use crate::edge::{BoundListener, Connections, ListenerInfo, Server, ServerOptions, Stage, TlsError, server_config};
use crate::runtime::CurrentRuntime;
use arc_swap::ArcSwapOption;
use hooks::{Hooks, MAX_TRIES};
use parking_lot::Mutex;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a stopping gateway looks whether it is idle.
const IDLE_CHECK: Duration = Duration::from_millis(10);
/// How long connections without a request may take to end when the gateway stops: a client may just be sending one.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A gateway that serves.
pub struct Serving {
    running: Arc<CurrentRuntime>,
    connections: Arc<Connections<HttpProxy<Hooks>>>,
    doors: Vec<Arc<ListenerInfo>>,
    listeners: Mutex<Vec<Arc<BoundListener>>>,
    stage: watch::Sender<Stage>,
    ending: watch::Sender<bool>,
}

impl Serving {
    /// Serves on bound listeners, on the tokio runtime that this is called in.
    pub fn start(
        running: Arc<CurrentRuntime>,
        listeners: Vec<(Listener, BoundListener)>,
        clients: &Clients,
    ) -> Result<Serving, TlsError> {
        let (stage, at_stage) = watch::channel(Stage::Serving);
        let (ending, at_end) = watch::channel(false);
        let conf = Arc::new(ServerConf {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            upstream_keepalive_pool_size: descriptors::kept(),
            // Each may be made after going from one address to the next.
            max_retries: MAX_TRIES * Attempts::MOST,
            ..ServerConf::default()
        });
        let proxy = http_proxy(&conf, Hooks::new(running.clone()));
        let metrics = running.metrics.clone();
        let server = Server { app: Arc::new(proxy), metrics, stage: at_stage, ending: at_end };
        let connections = Arc::new(Connections::new(server, running.memory(), ServerOptions::new(clients)));
        let door = |listener: &Listener| {
            let tls = ArcSwapOption::new(spoken(listener)?);
            Ok(Arc::new(ListenerInfo { name: listener.name.as_str().into(), tls }))
        };
        let doors = listeners.iter().map(|(listener, _)| door(listener)).collect::<Result<Vec<_>, TlsError>>()?;
        let listeners: Vec<Arc<BoundListener>> = listeners.into_iter().map(|(_, bound)| Arc::new(bound)).collect();
        for (bound, door) in listeners.iter().zip(&doors) {
            tokio::spawn(connections.clone().accept(bound.clone(), door.clone()));
        }
        Ok(Serving { running, connections, doors, listeners: Mutex::new(listeners), stage, ending })
    }

    /// Goes on with other certificates, limits and deadlines, for connections that begin from now on. Nothing changes
    /// where one of the certificates cannot be used.
    pub fn renew(&self, listeners: &[Listener], clients: &Clients) -> Result<(), TlsError> {
        let named = |door: &Arc<ListenerInfo>| listeners.iter().find(|listener| *listener.name == *door.name);
        let pairs = self.doors.iter().filter_map(|door| Some((door, named(door)?)));
        let renewed =
            pairs.map(|(door, listener)| Ok((door, spoken(listener)?))).collect::<Result<Vec<_>, TlsError>>()?;
        for (door, tls) in renewed {
            // TLS neither comes nor goes at a listener that is open.
            if tls.is_some() == door.tls.load().is_some() {
                door.tls.store(tls);
            }
        }
        self.connections.set_terms(ServerOptions::new(clients));
        self.running.memory().set_limit(clients.limits.memory);
        Ok(())
    }

    /// The listeners, for a process that takes the place of this one.
    pub fn listeners(&self) -> Vec<Arc<BoundListener>> {
        self.listeners.lock().clone()
    }

    /// Stops: no longer ready at once, and clients are asked to go elsewhere; no new connections after `drain_delay`;
    /// then it waits until nothing is in flight, for `grace` at the most. Says how many requests were cut off.
    pub async fn stop(&self, drain_delay: Duration, grace: Duration) -> u64 {
        self.running.stop();
        let _ = self.stage.send(Stage::Draining);
        tokio::time::sleep(drain_delay).await;
        let _ = self.ending.send(true);
        let _ = self.stage.send(Stage::Closing);
        self.listeners.lock().clear();
        self.connections.clean_up().await;
        let (begun, metrics) = (Instant::now(), &self.running.metrics);
        // One pause in any case: a connection that was accepted just now has not been counted yet.
        loop {
            tokio::time::sleep(IDLE_CHECK).await;
            let left = metrics.in_flight.get();
            let over = left <= 0 && (metrics.open_connections() <= 0 || begun.elapsed() >= LAST_CALL);
            if over || begun.elapsed() >= grace {
                return u64::try_from(left).unwrap_or(0);
            }
        }
    }
}

/// What a listener speaks TLS with, where it does.
fn spoken(listener: &Listener) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    listener.tls.as_ref().map(server_config).transpose()
}
