//! Connections that show whether the servers can be used, for `sessiongate check --online`.

use super::connect::{self, SetupError};
use super::route::{Cluster, Route, ranges};
use super::scripts;
use super::server::{Address, Request, Server, ServerError, describe};
use crate::config::Redis;
use crate::telemetry::{StoreFailure, StoreObserver, StoreOperation};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most servers of a cluster that are tried.
const MAX_SERVERS: usize = 1000;

/// How a server did.
#[derive(Debug)]
pub struct ServerTrial {
    /// Its name: host and port, or the name of the service at the sentinels.
    pub server: String,
    /// Connecting, with TLS, login and the scripts of the gateway; how long it took.
    pub connect: (Duration, Result<(), String>),
    /// A script in one round trip; `None` without a connection.
    pub round_trip: Option<(Duration, Result<(), String>)>,
}

/// Connects to each server as the store does: the only one, the primary that sentinels name, or all of a cluster.
///
/// # Errors
///
/// If the files for TLS cannot be used.
pub async fn try_servers(config: &Redis) -> Result<Vec<ServerTrial>, SetupError> {
    match connect::route(config, Arc::new(Unobserved))? {
        Route::One(server) => Ok(vec![try_server(&server).await]),
        Route::Cluster(cluster) => Ok(try_cluster(&cluster).await),
    }
}

/// Tries the configured nodes of a cluster, and then those that they know.
async fn try_cluster(cluster: &Cluster) -> Vec<ServerTrial> {
    let unstarted = |(host, port): &(String, u16)| {
        let address = Address::Fixed(Box::new((cluster.connect)(host, *port)?));
        Some(Arc::new(Server::new(format!("{host}:{port}"), address, cluster.options.clone())))
    };
    let seeds: Vec<Arc<Server>> = cluster.seeds.iter().filter_map(unstarted).collect();
    let mut trials = join_all(seeds.iter().map(try_server)).await;
    let mut others = None;
    for server in seeds.iter().filter(|server| server.live().is_some()) {
        let command = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
        let reply = server.execute(&Request::One(&command), server.connect_limit()).await;
        if let Some(ranges) = reply.ok().and_then(|(value, _)| ranges(&value, &server.name)) {
            others = Some(ranges.into_iter().map(|range| (range.host, range.port)).collect::<Vec<_>>());
            break;
        }
    }
    let Some(mut others) = others else {
        return trials;
    };
    others.sort();
    others.dedup();
    others.retain(|(host, port)| !trials.iter().any(|trial| trial.server == format!("{host}:{port}")));
    let others: Vec<Arc<Server>> = others.iter().take(MAX_SERVERS).filter_map(unstarted).collect();
    trials.extend(join_all(others.iter().map(try_server)).await);
    trials
}

async fn try_server(server: &Arc<Server>) -> ServerTrial {
    let began = Instant::now();
    let connected = tokio::time::timeout(server.connect_limit(), server.connect()).await;
    let connected = match connected {
        Ok(Ok(live)) => {
            server.adopt(live);
            Ok(())
        }
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("timed out after {} ms", server.connect_limit().as_millis())),
    };
    let connect = (began.elapsed(), connected);
    let mut round_trip = None;
    if connect.1.is_ok() {
        let began = Instant::now();
        let done = run_script(server).await;
        round_trip = Some((began.elapsed(), done.map_err(|failure| failure.to_string())));
    }
    ServerTrial { server: server.name.clone(), connect, round_trip }
}

/// Runs the script of heartbeats.
async fn run_script(server: &Server) -> Result<(), StoreFailure> {
    let limit = server.connect_limit();
    for keys in [["beat"].as_slice(), &[]] {
        match server.execute(&Request::One(&scripts::BEAT.run(keys, &[""; 0])), limit).await {
            // Another server of the cluster owns that key.
            Err(ServerError::Moved(_) | ServerError::Ask(_)) => {}
            Err(ServerError::Failed(failure)) => return Err(failure),
            Err(ServerError::NoScript) => return Err(StoreFailure::ServerError),
            Ok(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Nothing is counted.
struct Unobserved;

impl StoreObserver for Unobserved {
    fn step(&self, _: StoreOperation, _: Duration, _: Option<StoreFailure>) {}
    fn connected(&self) {}
    fn disconnected(&self) {}
    fn read(&self, _: usize) {}
    fn written(&self, _: usize) {}
}
