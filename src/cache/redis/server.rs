//! One server, and the connection to it: kept up by a task of its own, so that nobody waits for it. A command finds a
//! connection or fails at once; after too many failures in a row the connection is given up, and with it whatever was
//! still under way on it.
//!
//! A command that is given up may be carried out all the same, and later. Its response is dropped by the connection,
//! which pairs responses with commands by their order: nobody else can get it.

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

/// After how many failures in a row a connection is given up.
const MAX_FAILURES: u32 = 5;
/// How often an idle connection is tried.
const HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Numbers connections, in all of the process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// How a server is found.
pub(super) enum Address {
    /// It is always the same.
    Fixed(Box<Node>),
    /// Sentinels say which it is now, each by itself.
    Sentinels(Arc<Sentinels>),
}

/// What all connections have in common.
#[derive(Clone)]
pub(super) struct Options {
    pub timeouts: RedisTimeouts,
    pub settle: Duration,
    pub max_in_flight: usize,
    pub listener: Arc<dyn StoreObserver>,
}

/// A connection that works.
pub(super) struct LiveConnection {
    connection: MultiplexedConnection,
    /// Another connection has another number.
    pub number: u64,
    /// The server's time when the connection began, and the time to settle on top.
    pub fence: Millis,
    began: Instant,
}

impl LiveConnection {
    /// What the server's time is by now, with the time to settle on top.
    pub fn fence_now(&self) -> Millis {
        self.fence.saturating_add(millis(self.began.elapsed()))
    }
}

/// A server.
pub(super) struct Server {
    /// Its name in the log.
    pub name: String,
    address: Address,
    options: Options,
    live: ArcSwapOption<LiveConnection>,
    /// When the last connection ended, or the first one began to be made.
    lost: Mutex<Instant>,
    failures: AtomicU32,
    /// Whether the last connection was given up because the server rejected.
    rejected: AtomicBool,
    wake: Notify,
}

/// What a server says instead of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServerError {
    /// Nothing came of it.
    Failed(StoreFailure),
    /// The key is on another server.
    Moved(Option<(String, u16)>),
    /// The key is on its way to another server.
    Ask(Option<(String, u16)>),
    /// It does not know the script.
    NoScript,
}

impl From<StoreFailure> for ServerError {
    fn from(failure: StoreFailure) -> ServerError {
        ServerError::Failed(failure)
    }
}

/// One command, or one that is announced: that its key is on its way here.
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

    /// The connection that there is now.
    pub fn live(&self) -> Option<Arc<LiveConnection>> {
        self.live.load_full()
    }

    /// How long there has been no connection; none where there is one.
    pub fn disconnected_for(&self) -> Option<Duration> {
        if self.live.load().is_some() { None } else { Some(self.lost.lock().elapsed()) }
    }

    /// Carries a command out, within `limit`; the connection that it went over comes with the response.
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
            // It takes no writes, or has not its data. Others may write without their marks by now, so nothing that was
            // fetched before it works again may be served; and another server may have taken over.
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
            self.disconnect(live, "too many commands got no answer in time");
        }
        failure.into()
    }

    /// Gives a connection up, unless that has happened.
    fn disconnect(&self, live: &Arc<LiveConnection>, reason: &str) {
        let current = self.live.load();
        if current.as_ref().is_some_and(|current| current.number == live.number) {
            let before = self.live.compare_and_swap(&current, None);
            if before.as_ref().is_some_and(|before| before.number == live.number) {
                *self.lost.lock() = Instant::now();
                self.options.listener.disconnected();
                tracing::warn!(server = self.name, reason, "the store is disconnected");
            }
        }
        self.wake.notify_one();
    }

    /// Keeps the connection up for as long as anybody else holds the server.
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
            // There may be several steps to it: the sentinel, the server, TLS, the login.
            let limit = self.options.timeouts.connect * 4;
            let connected = tokio::time::timeout(limit, self.connect()).await;
            let error = match connected {
                Ok(Ok(live)) => {
                    self.failures.store(0, Ordering::Relaxed);
                    self.options.listener.connected();
                    tracing::info!(server = self.name, "the store is connected");
                    self.live.store(Some(Arc::new(live)));
                    (pause, observed) = (FIRST_PAUSE, false);
                    continue;
                }
                Ok(Err(error)) => describe(&error),
                Err(_) => "no connection in time".to_owned(),
            };
            if !observed {
                tracing::warn!(server = self.name, error, "the store cannot be connected; trying again");
                observed = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        if self.live.swap(None).is_some() {
            self.options.listener.disconnected();
        }
    }

    /// Finds out whether the server still works. Where nobody asks anything, nobody else would.
    async fn heartbeat(&self) {
        let limit = self.options.timeouts.connect;
        for keys in [["beat"].as_slice(), &[]] {
            match self.execute(&Request::One(&scripts::BEAT.run(keys, &[""; 0])), limit).await {
                // Another server of the cluster has that key, and this one has not said yet whether it works.
                Err(ServerError::Moved(_) | ServerError::Ask(_)) => {}
                Err(ServerError::NoScript) => return drop(self.load_scripts(limit).await),
                Ok(_) | Err(ServerError::Failed(_)) => return,
            }
        }
    }

    /// Connects, loads the scripts, and asks for the time: only then commands go this way.
    async fn connect(self: &Arc<Self>) -> RedisResult<LiveConnection> {
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

    /// Teaches the server the scripts again.
    pub async fn load_scripts(&self, limit: Duration) -> Result<(), ServerError> {
        let mut load = redis::pipe();
        for script in scripts::ALL {
            load.cmd("SCRIPT").arg("LOAD").arg(script.text);
        }
        self.execute(&Request::Pipeline(&load), limit).await.map(drop)
    }
}

/// The first of several answers; an error among them stands for all.
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

/// What an error says, without the text of commands.
fn describe(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) => format!("{:?}: {detail}", error.kind()),
        None => error.to_string(),
    }
}
