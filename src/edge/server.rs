//! What all connections share: the service that answers requests, the limits, and how far the process is on its way to
//! its end.

use super::client_timing::ClientTimeouts;
use crate::config::{ClientLimits, Clients};
use crate::metrics::Metrics;
use ipnet::IpNet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pingora's word for a kept connection without a timer: deadlines stand elsewhere.
pub(crate) const KEPT: u64 = 0;

/// How far a process is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It serves.
    Serving,
    /// It serves, and asks clients to go elsewhere.
    Draining,
    /// It takes no more connections and ends those that wait.
    Closing,
}

/// What the configuration says of connections.
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

/// What answers the requests of all connections.
pub(crate) struct Server<A> {
    /// Pingora's application.
    pub app: Arc<A>,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
    /// How far the process is on its way to its end.
    pub stage: watch::Receiver<Stage>,
    /// What Pingora takes for the end of the process.
    pub ending: watch::Receiver<bool>,
}

impl<A> Clone for Server<A> {
    fn clone(&self) -> Server<A> {
        Server {
            app: self.app.clone(),
            metrics: self.metrics.clone(),
            stage: self.stage.clone(),
            ending: self.ending.clone(),
        }
    }
}

/// Ends when the process is as far on its way to its end.
pub(super) async fn reached(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    // An error means that there is no process any more.
    drop(stage.wait_for(|stage| *stage >= wanted).await);
}
