//! Pingora's hooks and pass-through: Pingora carries the bytes, the core decides. Only this room and `edge` name
//! Pingora.

mod aborted;
mod access_log;
mod access_log_fields;
mod body;
mod buffered_http2;
mod caller;
mod chunks;
mod client_presence;
mod context;
mod custom_connection;
mod declared_length;
mod direct;
mod direct_client;
mod direct_forward;
mod downstream;
mod first_byte;
mod governed;
mod head;
mod hooks;
mod idle_connections;
mod invalidating;
mod log_line;
mod logout;
mod not_served;
mod pass_through;
mod peer;
mod pingora_session;
mod reject;
mod relay;
mod reported_address;
mod response;
mod routing;
mod upgrade_offers;
mod upstream_error;
mod upstream_request;
mod upstream_response;

pub use access_log_fields::{ACCESS_LOG, LogField, LogFieldKind};

use crate::client::Attempts;
use crate::config::{Clients, Listener};
use crate::descriptors;
use crate::edge::{
    BoundListener, Connections, DirectApp, ListenerInfo, ProxyProtocol, Server, ServerOptions, ShutdownStage, TlsError,
    certificate_expiry, server_config,
};
use crate::runtime::CurrentRuntime;
use arc_swap::ArcSwapOption;
use direct::Direct;
use hooks::Hooks;
use parking_lot::Mutex;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use upstream_error::MAX_TRIES;

/// How often a stopping gateway checks whether it is idle.
const IDLE_CHECK: Duration = Duration::from_millis(10);
/// How long idle connections may stay open when the gateway stops: a client may just be sending a request.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// A running gateway.
pub struct Serving {
    running: Arc<CurrentRuntime>,
    connections: Arc<Connections<HttpProxy<Hooks>>>,
    listener_infos: Vec<Arc<ListenerInfo>>,
    listeners: Mutex<Vec<Arc<BoundListener>>>,
    stage: watch::Sender<ShutdownStage>,
    shutdown: watch::Sender<bool>,
}

impl Serving {
    /// Serves on bound listeners. Must be called inside a tokio runtime.
    pub fn start(
        running: Arc<CurrentRuntime>,
        listeners: Vec<(Listener, BoundListener)>,
        clients: &Clients,
    ) -> Result<Serving, TlsError> {
        let direct = Arc::new(Direct::new(running.clone()));
        Serving::start_with(running, listeners, clients, Some(direct))
    }

    /// Serves on bound listeners; what `direct` does not serve, Pingora does.
    fn start_with(
        running: Arc<CurrentRuntime>,
        listeners: Vec<(Listener, BoundListener)>,
        clients: &Clients,
        direct: Option<Arc<dyn DirectApp>>,
    ) -> Result<Serving, TlsError> {
        let (stage, receiver) = watch::channel(ShutdownStage::Serving);
        let (shutdown, at_end) = watch::channel(false);
        let conf = Arc::new(ServerConf {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            upstream_keepalive_pool_size: descriptors::max_idle_per_pool(),
            // Each try may go through all addresses.
            max_retries: MAX_TRIES * Attempts::MAX,
            ..ServerConf::default()
        });
        let proxy = http_proxy(&conf, Hooks::new(running.clone()));
        let metrics = running.metrics.clone();
        let server = Server { app: Arc::new(proxy), direct, metrics, stage: receiver, shutdown: at_end };
        let connections = Arc::new(Connections::new(server, running.memory(), ServerOptions::new(clients)));
        let listener_info = |listener: &Listener| {
            let tls = ArcSwapOption::new(tls_of(listener)?);
            let proxy_protocol = listener.proxy_protocol.then(ProxyProtocol::default);
            Ok(Arc::new(ListenerInfo { name: listener.name.as_str().into(), proxy_protocol, tls }))
        };
        let listener_infos =
            listeners.iter().map(|(listener, _)| listener_info(listener)).collect::<Result<Vec<_>, TlsError>>()?;
        running.metrics.set_connections_limit(clients.limits.connections);
        listeners.iter().for_each(|(listener, _)| report_certificate(&running, listener));
        let listeners: Vec<Arc<BoundListener>> = listeners.into_iter().map(|(_, bound)| Arc::new(bound)).collect();
        for (bound, door) in listeners.iter().zip(&listener_infos) {
            tokio::spawn(connections.clone().accept(bound.clone(), door.clone()));
        }
        Ok(Serving { running, connections, listener_infos, listeners: Mutex::new(listeners), stage, shutdown })
    }

    /// Uses new certificates, limits and timeouts for new connections. Changes nothing if one of the certificates
    /// cannot be used.
    pub fn renew(&self, listeners: &[Listener], clients: &Clients) -> Result<(), TlsError> {
        let named = |door: &Arc<ListenerInfo>| listeners.iter().find(|listener| *listener.name == *door.name);
        let pairs = self.listener_infos.iter().filter_map(|door| Some((door, named(door)?)));
        let renewed = pairs
            .map(|(door, listener)| Ok((door, listener, tls_of(listener)?)))
            .collect::<Result<Vec<_>, TlsError>>()?;
        for (door, listener, tls) in renewed {
            // An open listener does not switch between TLS and plaintext.
            if tls.is_some() == door.tls.load().is_some() {
                door.tls.store(tls);
                report_certificate(&self.running, listener);
            }
        }
        self.running.metrics.set_connections_limit(clients.limits.connections);
        self.connections.set_options(ServerOptions::new(clients));
        self.running.set_memory_limit(clients.limits.memory);
        Ok(())
    }

    /// The listeners, for a process that takes over from this one.
    pub fn listeners(&self) -> Vec<Arc<BoundListener>> {
        self.listeners.lock().clone()
    }

    /// Stops. Readiness fails at once, and clients are asked to reconnect elsewhere. After `drain_delay` it accepts no
    /// more connections and waits until no request is in flight, for `grace` at most. Returns how many requests were
    /// cut off.
    pub async fn stop(&self, drain_delay: Duration, grace: Duration) -> u64 {
        self.running.stop();
        let _ = self.stage.send(ShutdownStage::Draining);
        tokio::time::sleep(drain_delay).await;
        let _ = self.shutdown.send(true);
        let _ = self.stage.send(ShutdownStage::Closing);
        self.listeners.lock().clear();
        self.connections.clean_up().await;
        let (begun, metrics) = (Instant::now(), &self.running.metrics);
        // At least one pause: a connection that was accepted just now has not been counted yet.
        loop {
            tokio::time::sleep(IDLE_CHECK).await;
            let left = metrics.in_flight.get();
            let over = left <= 0 && (metrics.open_connections() <= 0 || begun.elapsed() >= IDLE_GRACE);
            if over || begun.elapsed() >= grace {
                return u64::try_from(left).unwrap_or(0);
            }
        }
    }
}

/// Sets the metric of a listener's certificates.
fn report_certificate(running: &CurrentRuntime, listener: &Listener) {
    let expiry = listener.tls.as_ref().and_then(|tls| certificate_expiry(&tls.certificates));
    running.metrics.set_certificate_expiry(&listener.name, expiry);
}

/// The TLS configuration of a listener; `None` for plaintext.
fn tls_of(listener: &Listener) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    listener.tls.as_ref().map(|tls| server_config(tls, &["h2", "http/1.1"])).transpose()
}
