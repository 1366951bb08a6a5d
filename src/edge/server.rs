//! What all connections share: the service that serves requests, the limits, the stage of the shutdown.

use super::client_timing::ClientTimeouts;
use super::direct::DirectApp;
use crate::config::{ClientLimits, Clients};
use crate::metrics::Metrics;
use ipnet::IpNet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pingora's value for keeping a connection without a timer; `edge` enforces the timeouts.
pub(crate) const NO_KEEPALIVE_TIMEOUT: u64 = 0;

/// The stages of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ShutdownStage {
    /// Serving.
    Serving,
    /// Serving, while clients are asked to reconnect elsewhere.
    Draining,
    /// No more connections are accepted, and idle ones are closed.
    Closing,
}

/// The connection options of the configuration.
#[derive(Debug)]
pub(crate) struct ServerOptions {
    pub timeouts: ClientTimeouts,
    pub limits: ClientLimits,
    pub max_age: Duration,
    pub trusted: Vec<IpNet>,
}

impl ServerOptions {
    pub fn new(clients: &Clients) -> ServerOptions {
        ServerOptions {
            timeouts: ClientTimeouts::new(clients),
            limits: clients.limits,
            max_age: clients.max_age,
            trusted: clients.trusted_peers.clone(),
        }
    }
}

/// Serves the requests of all connections.
pub(crate) struct Server<A> {
    pub app: Arc<A>,
    /// Serves some requests of HTTP/1 without Pingora.
    pub direct: Option<Arc<dyn DirectApp>>,
    pub metrics: Arc<Metrics>,
    /// The stage of the shutdown.
    pub stage: watch::Receiver<ShutdownStage>,
    /// Pingora's signal for the shutdown.
    pub shutdown: watch::Receiver<bool>,
}

impl<A> Clone for Server<A> {
    fn clone(&self) -> Server<A> {
        Server {
            app: self.app.clone(),
            direct: self.direct.clone(),
            metrics: self.metrics.clone(),
            stage: self.stage.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// Completes when the shutdown has reached this stage.
pub(super) async fn wait_for_stage(stage: &mut watch::Receiver<ShutdownStage>, wanted: ShutdownStage) {
    // An error means that the sender is gone: the process ends.
    drop(stage.wait_for(|stage| *stage >= wanted).await);
}
