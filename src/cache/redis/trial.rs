//! Connections that show whether the servers can be used, for `sessiongate check --online`.

use super::connect::{self, SetupError};
use super::outage::Cause;
use super::route::{Cluster, Route, ranges};
use super::server::{Address, Request, Server};
use crate::config::Redis;
use crate::telemetry::{StoreFailure, StoreObserver, StoreOperation, StoreRefusal};
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
    /// A write, as the gateway writes; `None` without a connection.
    pub round_trip: Option<(Duration, Result<Evicts, String>)>,
}

/// What a server evicts when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evicts {
    /// Nothing: it rejects writes.
    Nothing,
    /// Keys; or its memory has no limit, or the user may not run `INFO`.
    KeysOrUnknown,
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
        Ok(Err(error)) => Err(Cause::of(&error).text()),
        Err(_) => Err(format!("timed out after {} ms", server.connect_limit().as_millis())),
    };
    let connect = (began.elapsed(), connected);
    let mut round_trip = None;
    if connect.1.is_ok() {
        let began = Instant::now();
        let done = write(server).await;
        round_trip = Some((began.elapsed(), done));
    }
    ServerTrial { server: server.name.clone(), connect, round_trip }
}

/// Writes as the gateway does.
async fn write(server: &Server) -> Result<Evicts, String> {
    let Some(live) = server.live() else { return Err("the connection ended".to_owned()) };
    match tokio::time::timeout(server.connect_limit(), server.prove(&live)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(Cause::of(&error).text()),
        Err(_) => return Err(format!("timed out after {} ms", server.connect_limit().as_millis())),
    }
    let memory = tokio::time::timeout(server.connect_limit(), live.memory()).await;
    Ok(memory.ok().and_then(Result::ok).map_or(Evicts::KeysOrUnknown, |memory| evicts(&memory)))
}

/// What the section `memory` of `INFO` says.
fn evicts(memory: &str) -> Evicts {
    let has = |line: &str| memory.lines().any(|other| other == line);
    if has("maxmemory_policy:noeviction") && !has("maxmemory:0") { Evicts::Nothing } else { Evicts::KeysOrUnknown }
}

/// Nothing is counted.
struct Unobserved;

impl StoreObserver for Unobserved {
    fn step(&self, _: StoreOperation, _: Duration, _: Option<StoreFailure>) {}
    fn connected(&self) {}
    fn disconnected(&self) {}
    fn connect_failed(&self, _: StoreRefusal) {}
    fn read(&self, _: usize) {}
    fn written(&self, _: usize) {}
}
