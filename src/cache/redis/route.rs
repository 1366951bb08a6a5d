//! Routes keys to servers: a single server, the primary that sentinels name, or a cluster.

use super::node::Connect;
use super::server::{Address, LiveConnection, Options, Request, Server, ServerError};
use crate::cache::StoreOutage;
use crate::coherence::Millis;
use crate::coherence::reading::ConnectionId;
use crate::telemetry::StoreFailure;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const SLOTS: usize = 16_384;
/// The least interval between refreshes of the cluster's slots, and the interval of periodic ones.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(1);

pub(super) enum Route {
    /// All keys on one server.
    One(Arc<Server>),
    /// Each key on the server that owns its slot.
    Cluster(Arc<Cluster>),
}

/// The owner of a slot.
#[derive(Clone)]
struct SlotOwner {
    server: Arc<Server>,
    /// Counts changes of the owner.
    version: u32,
    /// Responses fetched before this time do not count: a mark may not have migrated with the slot.
    fence: Millis,
    /// When it took the slot over from another server.
    since: Option<Instant>,
}

pub(super) struct Cluster {
    pub seeds: Vec<(String, u16)>,
    servers: Mutex<HashMap<(String, u16), Arc<Server>>>,
    slots: ArcSwap<Vec<Option<SlotOwner>>>,
    pub connect: Connect,
    pub options: Options,
    update_lock: Mutex<()>,
    /// When the slots were last refreshed.
    refreshed: tokio::sync::Mutex<Option<Instant>>,
    outdated: Notify,
    began: Instant,
}

/// The slot of a key: CRC16 (XMODEM) of its hash tag, modulo the number of slots. Source: Redis cluster specification,
/// key distribution model and hash tags.
pub(super) fn slot(key: &str) -> usize {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let crc = hashed.bytes().fold(0_u16, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    });
    usize::from(crc) % SLOTS
}

impl Route {
    /// The connection that commands on this key would use now.
    pub fn connection_id(&self, key: &str) -> Option<ConnectionId> {
        match self {
            Route::One(server) => server.live().map(|live| connection_id(&live, 0, 0)),
            Route::Cluster(cluster) => {
                let owned = cluster.owner(slot(key))?;
                owned.server.live().map(|live| connection_id(&live, owned.version, owned.fence))
            }
        }
    }

    /// Why commands on this key cannot be executed; `None` if they can.
    pub fn outage(&self, key: &str) -> Option<StoreOutage> {
        match self {
            Route::One(server) => server.outage(),
            Route::Cluster(cluster) => match cluster.owner(slot(key)) {
                Some(owned) => owned.server.outage(),
                None => Some(cluster.no_owner()),
            },
        }
    }

    /// The server that owns this key, and since when if it took it over from another one.
    pub fn server(&self, key: &str) -> Option<(Arc<Server>, Option<Instant>)> {
        match self {
            Route::One(server) => Some((server.clone(), None)),
            Route::Cluster(cluster) => cluster.owner(slot(key)).map(|owned| (owned.server, owned.since)),
        }
    }

    /// Executes a command on this key. Returns the reply and the connection that it used.
    pub async fn execute(
        &self,
        key: &str,
        command: &Cmd,
        limit: Duration,
    ) -> Result<(Value, ConnectionId), StoreFailure> {
        // The attempts of a command share one deadline.
        let deadline = Instant::now() + limit;
        match self {
            Route::One(server) => match server.execute(&Request::One(command), limit).await {
                Ok((value, live)) => Ok((value, connection_id(&live, 0, 0))),
                Err(ServerError::NoScript) => Box::pin(execute_new(server, command, deadline)).await,
                Err(error) => Err(failure(error)),
            },
            // Boxed, so that the future of a command to a single server stays small.
            Route::Cluster(cluster) => {
                let remaining = || deadline.saturating_duration_since(Instant::now());
                let carried_out = Box::pin(cluster.execute(slot(key), command, &remaining));
                tokio::time::timeout(limit, carried_out).await.unwrap_or(Err(StoreFailure::Timeout))
            }
        }
    }

    /// Starts the tasks that keep the connections up.
    pub fn start(&self) {
        match self {
            Route::One(server) => drop(tokio::spawn(server.clone().keep_connected())),
            Route::Cluster(cluster) => drop(tokio::spawn(cluster.clone().keep_current())),
        }
    }
}

/// Executes a command with a script that the server does not know yet.
async fn execute_new(server: &Server, command: &Cmd, deadline: Instant) -> Result<(Value, ConnectionId), StoreFailure> {
    let remaining = || deadline.saturating_duration_since(Instant::now());
    server.load_scripts(remaining()).await.map_err(failure)?;
    let (value, live) = server.execute(&Request::One(command), remaining()).await.map_err(failure)?;
    Ok((value, connection_id(&live, 0, 0)))
}

fn failure(error: ServerError) -> StoreFailure {
    match error {
        ServerError::Failed(failure) => failure,
        ServerError::Moved(_) | ServerError::Ask(_) | ServerError::NoScript => StoreFailure::ServerError,
    }
}

/// The ID of a connection; in a cluster also of the period in which its server owns the slot.
fn connection_id(live: &LiveConnection, version: u32, fence: Millis) -> ConnectionId {
    ConnectionId { number: (live.number << 32) | u64::from(version), fence: live.fence.max(fence) }
}

impl Cluster {
    pub fn new(seeds: Vec<(String, u16)>, connect: Connect, options: Options) -> Cluster {
        Cluster {
            seeds,
            servers: Mutex::default(),
            slots: ArcSwap::from_pointee(vec![None; SLOTS]),
            connect,
            options,
            update_lock: Mutex::default(),
            refreshed: tokio::sync::Mutex::default(),
            outdated: Notify::new(),
            began: Instant::now(),
        }
    }

    fn owner(&self, slot: usize) -> Option<SlotOwner> {
        self.slots.load().get(slot).cloned().flatten()
    }

    /// The outage of a slot that no known server owns: the cluster has not been reached yet, or does not serve it.
    fn no_owner(&self) -> StoreOutage {
        let outages = self.servers.lock().values().filter_map(|server| server.outage()).collect::<Vec<_>>();
        let lasted = self.began.elapsed();
        let reason = outages.into_iter().max_by_key(|outage| outage.lasted).map(|outage| outage.reason);
        StoreOutage { lasted, reason: reason.unwrap_or_else(|| "no server owns the slot".to_owned()) }
    }

    /// The server at an address; connects to it if it is new.
    fn server(&self, host: &str, port: u16) -> Option<Arc<Server>> {
        let mut servers = self.servers.lock();
        if let Some(known) = servers.get(&(host.to_owned(), port)) {
            return Some(known.clone());
        }
        let address = Address::Fixed(Box::new((self.connect)(host, port)?));
        let server = Arc::new(Server::new(format!("{host}:{port}"), address, self.options.clone()));
        tokio::spawn(server.clone().keep_connected());
        servers.insert((host.to_owned(), port), server.clone());
        Some(server)
    }

    async fn execute(
        &self,
        slot: usize,
        command: &Cmd,
        remaining: &impl Fn() -> Duration,
    ) -> Result<(Value, ConnectionId), StoreFailure> {
        let request = &Request::One(command);
        let mut scripts_loaded = false;
        let mut moved = false;
        loop {
            let owned = self.owner(slot).ok_or(StoreFailure::Disconnected)?;
            let over = |live: &LiveConnection| connection_id(live, owned.version, owned.fence);
            match owned.server.execute(request, remaining()).await {
                Ok((value, live)) => return Ok((value, over(&live))),
                Err(ServerError::NoScript) if !scripts_loaded => {
                    scripts_loaded = true;
                    owned.server.load_scripts(remaining()).await.map_err(failure)?;
                }
                Err(ServerError::Moved(_)) if !moved => {
                    moved = true;
                    self.refresh_after(Instant::now()).await?;
                }
                Err(ServerError::Ask(Some((host, port)))) => {
                    // The key has migrated to that server, or exists nowhere.
                    let own = owned.server.name.rsplit_once(':').map_or("", |(own, _)| own);
                    let host = if host.is_empty() { own } else { host.as_str() };
                    let server = self.server(host, port).ok_or(StoreFailure::ServerError)?;
                    let response = match server.execute(&Request::Asking(command), remaining()).await {
                        Err(ServerError::NoScript) => {
                            server.load_scripts(remaining()).await.map_err(failure)?;
                            server.execute(&Request::Asking(command), remaining()).await
                        }
                        response => response,
                    };
                    let (value, live) = response.map_err(failure)?;
                    return Ok((value, connection_id(&live, owned.version, owned.fence)));
                }
                Err(error) => {
                    // The owner may be gone: refresh the slots.
                    if matches!(
                        error,
                        ServerError::Failed(StoreFailure::Disconnected | StoreFailure::Broken) | ServerError::Moved(_)
                    ) {
                        self.outdated.notify_one();
                    }
                    return Err(failure(error));
                }
            }
        }
    }

    /// Keeps the slots current, until the cluster is dropped.
    pub async fn keep_current(self: Arc<Self>) {
        while Arc::strong_count(&self) > 1 {
            let whole = self.refresh().await.is_ok() && self.slots.load().iter().all(Option::is_some);
            tokio::time::sleep(MIN_INTERVAL).await;
            if whole {
                let _ = tokio::time::timeout(MAX_INTERVAL, self.outdated.notified()).await;
            }
        }
    }

    /// Refreshes the slots, unless that has happened since `then`.
    async fn refresh_after(&self, then: Instant) -> Result<(), StoreFailure> {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|refreshed| refreshed >= then) {
            return Ok(());
        }
        let now = Instant::now();
        self.refresh().await?;
        *refreshed = Some(now);
        Ok(())
    }

    /// Queries the slots from the first server that responds.
    async fn refresh(&self) -> Result<(), StoreFailure> {
        let mut known: Vec<Arc<Server>> = self.servers.lock().values().cloned().collect();
        known.extend(self.seeds.iter().filter_map(|(host, port)| self.server(host, *port)));
        let command = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
        for server in known {
            let refreshed = server.execute(&Request::One(&command), self.options.timeouts.connect).await;
            let Ok((value, live)) = refreshed else { continue };
            // A server outside a cluster returns no slots.
            if let Some(ranges) = ranges(&value, &server.name).filter(|ranges| !ranges.is_empty()) {
                self.update_slots(&ranges, &live);
                return Ok(());
            }
        }
        Err(StoreFailure::Disconnected)
    }

    fn update_slots(&self, ranges: &[Range], observed: &LiveConnection) {
        let _one_by_one = self.update_lock.lock();
        let mut slots = Vec::clone(&self.slots.load());
        for range in ranges {
            let Some(server) = self.server(&range.host, range.port) else { continue };
            for owned in slots.iter_mut().take(range.last + 1).skip(range.first) {
                let version = match owned {
                    Some(owned) if Arc::ptr_eq(&owned.server, &server) => continue,
                    Some(owned) => owned.version.wrapping_add(1),
                    None => 0,
                };
                // A server that is not connected yet gets its fence with its connection.
                let fence = server.live().map_or(observed.fence_now(), |live| live.fence_now());
                let since = owned.is_some().then(Instant::now);
                *owned = Some(SlotOwner { server: server.clone(), version, fence, since });
            }
        }
        self.servers.lock().retain(|_, server| {
            let has = |owned: &SlotOwner| Arc::ptr_eq(&owned.server, server);
            slots.iter().flatten().any(has)
                || self.seeds.iter().any(|(host, port)| server.name == format!("{host}:{port}"))
        });
        self.slots.store(Arc::new(slots));
    }
}

/// Consecutive slots of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    first: usize,
    last: usize,
    pub host: String,
    pub port: u16,
}

/// Parses the reply of `CLUSTER SLOTS`: arrays of first slot, last slot, and servers, of which the first is the
/// primary. A server without a host is the one that was queried.
pub(super) fn ranges(value: &Value, refreshed: &str) -> Option<Vec<Range>> {
    let Value::Array(rows) = value else { return None };
    rows.iter().map(|row| range(row, refreshed)).collect()
}

fn range(row: &Value, refreshed: &str) -> Option<Range> {
    let Value::Array(parts) = row else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => usize::try_from(*number).ok().filter(|number| *number < SLOTS.max(1 << 16)),
        _ => None,
    };
    let (first, last) = (number(parts.first()?)?, number(parts.get(1)?)?);
    let Value::Array(node) = parts.get(2)? else { return None };
    let port = u16::try_from(number(node.get(1)?)?).ok()?;
    let host = match node.first()? {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => String::from_utf8(host.clone()).ok()?,
        _ => refreshed.rsplit_once(':')?.0.to_owned(),
    };
    Some(Range { first, last: last.min(SLOTS - 1), host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_the_specification() {
        assert_eq!(slot("123456789"), 12_739, "0x31C3, the check value of the specification");
        assert_eq!(slot("a{user1000}.following"), slot("{user1000}.followers"));
        assert_ne!(slot("foo{}{bar}"), slot("bar"), "an empty tag is none");
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"), "up to the first brace that closes");
    }

    #[test]
    fn slot_ranges_are_parsed() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let row = |node| Value::Array(vec![Value::Int(0), Value::Int(5460), node]);
        let rows =
            Value::Array(vec![row(node(text("10.0.0.1"), 6379)), row(node(text(""), 6380)), row(node(Value::Nil, 1))]);
        let expected = |host: &str, port| Range { first: 0, last: 5460, host: host.into(), port };
        let all = vec![expected("10.0.0.1", 6379), expected("me", 6380), expected("me", 1)];
        assert_eq!(ranges(&rows, "me:7000"), Some(all));
        assert_eq!(ranges(&Value::Okay, "me:7000"), None);
    }
}
