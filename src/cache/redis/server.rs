//! A server and the connection to it, which a background task keeps up. A command uses the current connection or fails
//! at once. After too many consecutive failures the connection is closed, and everything in flight on it fails.
//!
//! A command that times out may still be executed later. The connection discards its reply, since it pairs replies with
//! commands by order.

use super::node::{Node, Sentinels};
use super::scripts;
use crate::coherence::Millis;
use crate::coherence::millis;
use crate::config::RedisTimeouts;
use crate::telemetry::{StoreFailure, StoreObserver};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
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
}

impl LiveConnection {
    /// The server's current time, plus the settle time.
    pub fn fence_now(&self) -> Millis {
        self.fence.saturating_add(millis(self.began.elapsed()))
    }
}

pub(super) struct Server {
    /// The name in logs.
    pub name: String,
    address: Address,
    options: Options,
    live: ArcSwapOption<LiveConnection>,
    /// When the last connection ended, or the first attempt to connect began.
    lost: Mutex<Instant>,
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
        let lost = Mutex::new(Instant::now());
        Server { name, address, options, live, lost, failures, rejected: AtomicBool::new(false), wake }
    }

    /// The current connection.
    pub fn live(&self) -> Option<Arc<LiveConnection>> {
        self.live.load_full()
    }

    /// How long there has been no connection; `None` if there is one.
    pub fn disconnected_for(&self) -> Option<Duration> {
        if self.live.load().is_some() { None } else { Some(self.lost.lock().elapsed()) }
    }

    /// Executes a command within `limit`. Returns the reply and the connection that it used.
    pub async fn execute(
        &self,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<(Value, Arc<LiveConnection>), ServerError> {
        let live = self.live().ok_or(StoreFailure::Disconnected)?;
        let mut connection = live.connection.clone();
        let response = tokio::time::timeout(limit, async {
            match request {
                Request::One(command) => connection.send_packed_command(command).await,
                Request::Asking(command) => {
                    let mut announced = redis::pipe();
                    announced.cmd("ASKING").add_command(Cmd::clone(command));
                    first(connection.send_packed_commands(&announced, 1, 1).await)
                }
                Request::Pipeline(all) => first(connection.send_packed_commands(all, 0, all.len()).await),
            }
        });
        let response = response.await.map_err(|_| self.failed(&live, StoreFailure::Timeout))?;
        match response.and_then(Value::extract_error) {
            Ok(value) => {
                self.failures.store(0, Ordering::Relaxed);
                Ok((value, live))
            }
            Err(error) => Err(self.classify(&live, &error)),
        }
    }

    fn classify(&self, live: &Arc<LiveConnection>, error: &RedisError) -> ServerError {
        use redis::ErrorKind;
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
                self.disconnect(live, &describe(error));
                StoreFailure::ServerError.into()
            }
            _ if error.is_timeout() => self.failed(live, StoreFailure::Timeout),
            _ => {
                self.disconnect(live, &describe(error));
                StoreFailure::Broken.into()
            }
        }
    }

    fn failed(&self, live: &Arc<LiveConnection>, failure: StoreFailure) -> ServerError {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
            self.disconnect(live, "too many commands timed out");
        }
        failure.into()
    }

    /// Closes a connection, unless it is closed already.
    fn disconnect(&self, live: &Arc<LiveConnection>, reason: &str) {
        let current = self.live.load();
        if current.as_ref().is_some_and(|current| current.number == live.number) {
            let before = self.live.compare_and_swap(&current, None);
            if before.as_ref().is_some_and(|before| before.number == live.number) {
                *self.lost.lock() = Instant::now();
                self.options.listener.disconnected();
                tracing::warn!(server = self.name, reason, "store disconnected");
            }
        }
        self.wake.notify_one();
    }

    /// Keeps the connection up, until the server is dropped.
    pub async fn keep_connected(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        let mut observed = false;
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
            let connected = tokio::time::timeout(self.connect_limit(), self.connect()).await;
            let error = match connected {
                Ok(Ok(live)) => {
                    self.failures.store(0, Ordering::Relaxed);
                    self.options.listener.connected();
                    tracing::info!(server = self.name, "store connected");
                    self.adopt(live);
                    (pause, observed) = (FIRST_PAUSE, false);
                    continue;
                }
                Ok(Err(error)) => describe(&error),
                Err(_) => "connection timed out".to_owned(),
            };
            if !observed {
                tracing::warn!(server = self.name, error, "cannot connect to the store; retrying");
                observed = true;
            }
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

    /// Checks an idle connection; otherwise a failure would go unnoticed.
    async fn heartbeat(&self) {
        let limit = self.options.timeouts.connect;
        for keys in [["beat"].as_slice(), &[]] {
            match self.execute(&Request::One(&scripts::BEAT.run(keys, &[""; 0])), limit).await {
                // Another server of the cluster owns that key, so this one has not shown yet whether it works.
                Err(ServerError::Moved(_) | ServerError::Ask(_)) => {}
                Err(ServerError::NoScript) => return drop(self.load_scripts(limit).await),
                Ok(_) | Err(ServerError::Failed(_)) => return,
            }
        }
    }

    /// Connects, loads the scripts and reads the server's time. Only then is the connection used.
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
                    server.disconnect(&live, "the connection ended");
                }
                Ok(())
            },
        );
        let mut connection = match &self.address {
            Address::Fixed(node) => node.connect(&config).await?,
            Address::Sentinels(sentinels) => sentinels.connect(&sentinel_config, &config).await?,
        };
        for script in scripts::ALL {
            let () = redis::cmd("SCRIPT").arg("LOAD").arg(script.text).query_async(&mut connection).await?;
        }
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        let fence = (seconds * 1000 + micros / 1000).saturating_add(millis(self.options.settle));
        Ok(LiveConnection { connection, number, fence, began: Instant::now() })
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

fn host_and_port(node: &str) -> Option<(String, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// Describes an error without the text of commands.
pub(super) fn describe(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) => format!("{:?}: {detail}", error.kind()),
        None => error.to_string(),
    }
}
