//! A server and the connection to it, which a background task keeps up. A command uses the current connection or fails
//! at once. After too many consecutive failures the connection is closed, and everything in flight on it fails.
//!
//! A command that times out may still be executed later. The connection discards its reply, since it pairs replies with
//! commands by order.

use super::node::{Node, Sentinels};
use super::outage::{Cause, Health, describe};
use super::scripts;
use crate::cache::StoreOutage;
use crate::coherence::Millis;
use crate::coherence::millis;
use crate::config::RedisTimeouts;
use crate::telemetry::{StoreFailure, StoreObserver};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Consecutive failures after which a connection is closed.
const MAX_FAILURES: u32 = 5;
/// Interval of heartbeats on an idle connection.
const HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Numbers the connections of the process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// The address of a server.
pub(super) enum Address {
    /// Fixed.
    Fixed(Box<Node>),
    /// Named by sentinels.
    Sentinels(Arc<Sentinels>),
}

/// Options of all connections.
#[derive(Clone)]
pub(super) struct Options {
    pub timeouts: RedisTimeouts,
    pub settle: Duration,
    pub max_in_flight: usize,
    /// The key of heartbeats.
    pub beat: String,
    pub listener: Arc<dyn StoreObserver>,
}

/// A usable connection.
pub(super) struct LiveConnection {
    connection: MultiplexedConnection,
    /// Unique number of the connection.
    pub number: u64,
    /// The server's time when the connection began, plus the settle time.
    pub fence: Millis,
    began: Instant,
    /// Whether rights of this server count.
    counts_rights: AtomicBool,
}

impl LiveConnection {
    /// The server's current time, plus the settle time.
    pub fn fence_now(&self) -> Millis {
        self.fence.saturating_add(millis(self.began.elapsed()))
    }

    /// The section `memory` of `INFO`. The documented rights do not include it.
    pub async fn memory(&self) -> RedisResult<String> {
        redis::cmd("INFO").arg("memory").query_async(&mut self.connection.clone()).await
    }
}

/// The primary that the sentinels name.
#[derive(Debug, PartialEq, Eq)]
struct Primary {
    address: String,
    /// When it took over from another one. It may know the mark of a server whose rights count, from when it was the
    /// primary before, and still lack the last rights.
    since: Option<Instant>,
}

impl Primary {
    /// The primary at this address, after `before`.
    fn at(address: String, before: Option<Primary>, now: Instant) -> Primary {
        match before {
            None => Primary { address, since: None },
            Some(before) if before.address == address => before,
            Some(_) => Primary { address, since: Some(now) },
        }
    }
}

pub(super) struct Server {
    /// The name in logs.
    pub name: String,
    address: Address,
    primary: Mutex<Option<Primary>>,
    options: Options,
    live: ArcSwapOption<LiveConnection>,
    health: Health,
    failures: AtomicU32,
    /// Whether the last connection was closed because of a server error.
    rejected: AtomicBool,
    wake: Notify,
}

/// The error of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServerError {
    /// The command failed.
    Failed(StoreFailure),
    /// `MOVED`: the key is on another server.
    Moved(Option<(String, u16)>),
    /// `ASK`: the key is migrating to another server.
    Ask(Option<(String, u16)>),
    /// `NOSCRIPT`: the server does not know the script.
    NoScript,
}

impl From<StoreFailure> for ServerError {
    fn from(failure: StoreFailure) -> ServerError {
        ServerError::Failed(failure)
    }
}

/// One command, one after `ASKING` (its key is migrating to this server), or several.
pub(super) enum Request<'a> {
    One(&'a Cmd),
    Asking(&'a Cmd),
    Pipeline(&'a Pipeline),
}

impl Server {
    pub fn new(name: String, address: Address, options: Options) -> Server {
        let (live, failures, wake) = (ArcSwapOption::empty(), AtomicU32::new(0), Notify::new());
        let health = Health::new();
        let (rejected, primary) = (AtomicBool::new(false), Mutex::default());
        Server { name, address, primary, options, live, health, failures, rejected, wake }
    }

    /// The current connection.
    pub fn live(&self) -> Option<Arc<LiveConnection>> {
        self.live.load_full()
    }

    /// Why the server cannot be used; `None` if it can.
    pub fn outage(&self) -> Option<StoreOutage> {
        self.health.outage(self.live.load().is_some())
    }

    /// Executes a command within `limit`. Returns the reply and the connection that it used.
    pub async fn execute(
        &self,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<(Value, Arc<LiveConnection>), ServerError> {
        let live = self.live().ok_or(StoreFailure::Disconnected)?;
        let mut connection = live.connection.clone();
        // Pinned in place: a future that is moved into another is stored twice.
        let response = pin!(async {
            match request {
                Request::One(command) => connection.send_packed_command(command).await,
                // Boxed, so that the future of a single command stays small.
                Request::Asking(command) => {
                    let mut announced = redis::pipe();
                    announced.cmd("ASKING").add_command(Cmd::clone(command));
                    first(Box::pin(connection.send_packed_commands(&announced, 1, 1)).await)
                }
                Request::Pipeline(all) => first(Box::pin(connection.send_packed_commands(all, 0, all.len())).await),
            }
        });
        let response = tokio::time::timeout(limit, response).await;
        let response = response.map_err(|_| self.failed(&live, StoreFailure::Timeout))?;
        match response.and_then(Value::extract_error) {
            Ok(value) => {
                self.failures.store(0, Ordering::Relaxed);
                Ok((value, live))
            }
            Err(error) => Err(self.classify(&live, &error)),
        }
    }

    fn classify(&self, live: &Arc<LiveConnection>, error: &RedisError) -> ServerError {
        let redirect = || error.redirect_node().and_then(|(node, _)| host_and_port(node));
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => ServerError::Moved(redirect()),
            ErrorKind::Server(ServerErrorKind::Ask) => ServerError::Ask(redirect()),
            ErrorKind::Server(ServerErrorKind::NoScript) => ServerError::NoScript,
            ErrorKind::Server(ServerErrorKind::TryAgain) => StoreFailure::Moving.into(),
            // The server rejects writes or has not loaded its data. Another server may have taken over, and others may
            // write without marks, so nothing fetched before a new connection may be served.
            ErrorKind::Server(_) | ErrorKind::Extension => {
                self.rejected.store(true, Ordering::Relaxed);
                self.disconnect(live, Cause::of(error));
                StoreFailure::ServerError.into()
            }
            _ if error.is_timeout() => self.failed(live, StoreFailure::Timeout),
            _ => {
                self.disconnect(live, Cause::Lost(describe(error)));
                StoreFailure::Broken.into()
            }
        }
    }

    fn failed(&self, live: &Arc<LiveConnection>, failure: StoreFailure) -> ServerError {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
            self.disconnect(live, Cause::Lost("too many commands timed out".to_owned()));
        }
        failure.into()
    }

    /// Closes a connection, unless it is closed already.
    fn disconnect(&self, live: &Arc<LiveConnection>, cause: Cause) {
        let current = self.live.load();
        if current.as_ref().is_some_and(|current| current.number == live.number) {
            let before = self.live.compare_and_swap(&current, None);
            if before.as_ref().is_some_and(|before| before.number == live.number) {
                self.options.listener.disconnected();
                self.health.failed(&self.name, cause);
            }
        }
        self.wake.notify_one();
    }

    /// Keeps the connection up, until the server is dropped.
    pub async fn keep_connected(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        while Arc::strong_count(&self) > 1 {
            if self.live.load().is_some() {
                if tokio::time::timeout(HEARTBEAT, self.wake.notified()).await.is_err() {
                    self.heartbeat().await;
                }
                continue;
            }
            if self.rejected.swap(false, Ordering::Relaxed) {
                tokio::time::sleep(MAX_PAUSE).await;
            }
            let connected = tokio::time::timeout(self.connect_limit(), self.connect_proven()).await;
            let cause = match connected {
                Ok(Ok(live)) => {
                    self.failures.store(0, Ordering::Relaxed);
                    self.options.listener.connected();
                    self.adopt(live);
                    pause = FIRST_PAUSE;
                    continue;
                }
                Ok(Err(error)) => Cause::of(&error),
                Err(_) => Cause::Unreachable("connection timed out".to_owned()),
            };
            self.options.listener.connect_failed(cause.refusal());
            self.health.failed(&self.name, cause);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        if self.live.swap(None).is_some() {
            self.options.listener.disconnected();
        }
    }

    /// Timeout of [`Server::connect`], which has several steps: sentinel, server, TLS, login.
    pub fn connect_limit(&self) -> Duration {
        self.options.timeouts.connect * 4
    }

    /// Uses a connection from now on.
    pub fn adopt(&self, live: LiveConnection) {
        self.live.store(Some(Arc::new(live)));
    }

    /// Checks a connection by a write: an idle one would not notice a failure. Success ends an outage.
    async fn heartbeat(&self) {
        let Some(live) = self.live() else { return };
        let limit = self.options.timeouts.connect;
        match tokio::time::timeout(limit, self.prove(&live)).await {
            Ok(Ok(())) => {
                self.failures.store(0, Ordering::Relaxed);
                self.health.usable(&self.name);
            }
            Ok(Err(error)) => {
                if self.classify(&live, &error) == ServerError::NoScript {
                    drop(self.load_scripts(limit).await);
                }
            }
            Err(_) => drop(self.failed(&live, StoreFailure::Timeout)),
        }
    }

    /// Writes as the steps do. A server may accept connections and reject every write.
    pub async fn prove(&self, live: &LiveConnection) -> RedisResult<()> {
        let mut connection = live.connection.clone();
        let beat = |keys: &[&str]| scripts::BEAT.run(keys, &[""; 0]);
        match beat(&[&self.options.beat]).query_async::<Value>(&mut connection).await {
            // Another server of the cluster owns that key.
            Err(error) if is_redirect(&error) => match beat(&[]).query_async::<Value>(&mut connection).await {
                // A replica of a cluster: it knows the slots, and redirects every step.
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) => Ok(()),
                proven => proven.map(drop),
            },
            proven => proven.map(drop),
        }
    }

    /// Connects to a server that has proven usable.
    async fn connect_proven(self: &Arc<Self>) -> RedisResult<LiveConnection> {
        let live = self.connect().await?;
        self.prove(&live).await?;
        Ok(live)
    }

    /// Connects, loads the scripts and reads the server's time.
    pub async fn connect(self: &Arc<Self>) -> RedisResult<LiveConnection> {
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let gone = Arc::downgrade(self);
        let sentinel_config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.timeouts.connect))
            .set_response_timeout(Some(self.options.timeouts.connect.max(self.options.timeouts.write)));
        let config = sentinel_config.clone().set_pipeline_buffer_size(self.options.max_in_flight).set_push_sender(
            move |push: redis::PushInfo| -> Result<(), std::convert::Infallible> {
                if push.kind == redis::PushKind::Disconnection
                    && let Some(server) = gone.upgrade()
                    && let Some(live) = server.live().filter(|live| live.number == number)
                {
                    server.disconnect(&live, Cause::Lost("the connection ended".to_owned()));
                }
                Ok(())
            },
        );
        let (mut connection, address) = match &self.address {
            Address::Fixed(node) => (node.connect(&config).await?, self.name.clone()),
            Address::Sentinels(sentinels) => sentinels.connect(&sentinel_config, &config).await?,
        };
        for script in scripts::ALL {
            let () = redis::cmd("SCRIPT").arg("LOAD").arg(script.text).query_async(&mut connection).await?;
        }
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        let fence = (seconds * 1000 + micros / 1000).saturating_add(millis(self.options.settle));
        let known = scripts::KNOWN.run(&[], &[""; 0]).query_async::<Value>(&mut connection).await;
        let (began, counts_rights) = (Instant::now(), AtomicBool::new(known.is_ok()));
        let mut primary = self.primary.lock();
        *primary = Some(Primary::at(address, primary.take(), began));
        Ok(LiveConnection { connection, number, fence, began, counts_rights })
    }

    /// How long until exclusive rights of this server count; zero if they do. A server that has restarted or taken over
    /// may have lost rights, and their writes may still be in flight: for as long as `after`, which is longer than any
    /// write, none counts. The same holds for keys that it serves only since `owned`: it may have been their replica.
    pub async fn rights_count_in(&self, owned: Option<Instant>, after: Duration) -> Duration {
        let Some(live) = self.live() else { return after };
        let since = self.primary.lock().as_ref().and_then(|primary| primary.since).max(owned);
        let left = since.map_or(Duration::ZERO, |since| after.saturating_sub(since.elapsed()));
        if !left.is_zero() || live.counts_rights.load(Ordering::Relaxed) {
            return left;
        }
        let left = after.saturating_sub(live.began.elapsed());
        if !left.is_zero() {
            return left;
        }
        // For connections of other replicas, and later ones. If it fails, they wait as this one did.
        let load = redis::cmd("SCRIPT").arg("LOAD").arg(scripts::KNOWN.text).to_owned();
        let loaded = self.execute(&Request::One(&load), self.options.timeouts.write).await.is_ok();
        live.counts_rights.store(loaded, Ordering::Relaxed);
        Duration::ZERO
    }

    /// Loads the scripts again.
    pub async fn load_scripts(&self, limit: Duration) -> Result<(), ServerError> {
        let mut load = redis::pipe();
        for script in scripts::ALL {
            load.cmd("SCRIPT").arg("LOAD").arg(script.text);
        }
        self.execute(&Request::Pipeline(&load), limit).await.map(drop)
    }
}

/// The first of several replies, or the first error among them.
fn first(responses: RedisResult<Vec<Value>>) -> RedisResult<Value> {
    let responses = responses?;
    let mut all = Vec::with_capacity(responses.len());
    for response in responses {
        all.push(response.extract_error()?);
    }
    Ok(all.into_iter().next().unwrap_or_default())
}

fn is_redirect(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask))
}

fn host_and_port(node: &str) -> Option<(String, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it knows the mark or not, and however often it is connected to.
    #[test]
    fn a_primary_has_taken_over_since_another_one_was_there() {
        let second = |seconds| Instant::now() + Duration::from_secs(seconds);
        let times = [second(0), second(1), second(2), second(3), second(4)];
        let mut primary = None;
        let found = ["a", "a", "b", "b", "a"].iter().zip(times).map(|(address, now)| {
            let next = Primary::at((*address).to_owned(), primary.take(), now);
            let since = next.since;
            primary = Some(next);
            since
        });
        assert_eq!(found.collect::<Vec<_>>(), [None, None, Some(times[2]), Some(times[2]), Some(times[4])]);
    }
}
