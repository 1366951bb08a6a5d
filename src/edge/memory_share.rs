//! What each connection uses of the memory budget, and whose connections are shed when memory is short.
//!
//! A client that does not read makes the gateway hold its responses. When memory is short, the clients that hold most
//! and read least are disconnected first. A client that reads is not, however much it requests.

mod held;

pub(crate) use held::{BodyBytes, RequestDecision, RequestPermit, UnreadBytes};

use crate::memory::{Level, Memory, Reservation, Sweep};
use crate::telemetry::{MemoryKind, Shed};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Bytes that an idle connection costs: base, HTTP/2, TLS. The memory test checks them.
const CONNECTION_COST: usize = 8 << 10;
const HTTP2_COST: usize = 16 << 10;
const TLS_COST: usize = 8 << 10;
/// Bytes that the slot of an HTTP/2 stream costs until the connection ends.
const STREAM_SLOT_COST: usize = 1 << 10;
/// Interval of the memory checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Interval of the checks whether to return memory to the system.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// A client is slow if it needs this many check intervals or more to read what is unread.
const SLOW_CHECKS: usize = 50;
/// Consecutive slow checks before a client is shed, normally and when memory is full. Clients read in bursts.
const CHECKS_BEFORE_SHEDDING: usize = 20;
const CHECKS_WHEN_FULL: usize = 3;
/// A blocked client counts as stuck after this long without progress.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// The memory shares of all connections.
#[derive(Debug)]
pub(super) struct MemoryShares {
    memory: Arc<Memory>,
    open: Mutex<HashMap<u64, Weak<MemoryShare>>>,
    next: AtomicU64,
    begun: Instant,
}

/// The memory share of one connection.
#[derive(Debug)]
pub(crate) struct MemoryShare {
    shares: Arc<MemoryShares>,
    id: u64,
    connection: Mutex<Reservation>,
    /// The most streams that were open at once.
    peak_streams: AtomicUsize,
    /// Requests in progress.
    in_progress: AtomicUsize,
    /// Response bytes that the client has not read.
    unread: AtomicUsize,
    /// Bytes that the client has read since the last check.
    read: AtomicUsize,
    /// When it last read, or began to block: milliseconds since the process began to accept connections.
    last_progress: AtomicU64,
    /// Whether there is something that the client does not read.
    blocked: AtomicBool,
    /// Responses that the client has read to the end; HTTP/2 only.
    completed: AtomicUsize,
    slow: Mutex<Slow>,
    given_up: AtomicBool,
    end: Notify,
    /// The task that writes to the client; HTTP/1 only.
    writer: Mutex<Option<Waker>>,
}

/// Consecutive checks at which the client was slow or idle, and the bytes that it read over them.
#[derive(Debug, Default)]
struct Slow {
    checks: usize,
    read: usize,
}

/// Memory is too short for more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

impl MemoryShares {
    pub fn new(memory: Arc<Memory>) -> Arc<MemoryShares> {
        Arc::new(MemoryShares { memory, open: Mutex::default(), next: AtomicU64::new(0), begun: Instant::now() })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The share of a connection that was accepted just now.
    pub fn open(self: &Arc<MemoryShares>, tls: bool) -> Arc<MemoryShare> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = CONNECTION_COST + if tls { TLS_COST } else { 0 };
        let share = Arc::new(MemoryShare {
            shares: self.clone(),
            id,
            connection: Mutex::new(Reservation::new(&self.memory, MemoryKind::Connections, bytes)),
            peak_streams: AtomicUsize::new(0),
            in_progress: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            last_progress: AtomicU64::new(self.now()),
            blocked: AtomicBool::new(false),
            completed: AtomicUsize::new(0),
            slow: Mutex::default(),
            given_up: AtomicBool::new(false),
            end: Notify::new(),
            writer: Mutex::default(),
        });
        self.open.lock().insert(id, Arc::downgrade(&share));
        share
    }

    /// Whether memory is so short that new connections are closed.
    pub fn is_over(&self) -> bool {
        self.memory.level() == Level::Exceeded
    }

    /// Checks memory until the process ends.
    pub async fn watch(self: Arc<MemoryShares>) {
        let mut sweep = Sweep::default();
        let mut swept = Instant::now();
        loop {
            tokio::select! {
                () = self.memory.wait_for_pressure() => {}
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            self.memory.measure();
            sweep.observe(self.memory.reserved());
            if swept.elapsed() >= SWEEP_INTERVAL {
                swept = Instant::now();
                sweep.tick(self.memory.reserved(), self.memory.counted_level());
            }
            if self.memory.level() > Level::Normal {
                self.shed_slowest();
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        }
    }

    /// Sheds slow clients, largest first, until memory is back to normal.
    fn shed_slowest(&self) {
        let all: Vec<Arc<MemoryShare>> = self.open.lock().values().filter_map(Weak::upgrade).collect();
        let mut slow: Vec<(usize, Arc<MemoryShare>)> =
            all.into_iter().filter_map(|share| Some((share.shed_candidate()?, share))).collect();
        slow.sort_by_key(|(unread, _)| std::cmp::Reverse(*unread));
        let mut excess = self.memory.excess();
        for (unread, share) in slow {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(unread);
            share.shed_client();
        }
    }
}

impl MemoryShare {
    /// Accounts for HTTP/2.
    pub fn start_http2(&self) {
        self.replace_bytes(0, HTTP2_COST);
    }

    /// Replaces `before` bytes of the connection by `now` bytes.
    pub fn replace_bytes(&self, before: usize, now: usize) {
        let mut held = self.connection.lock();
        let bytes = held.bytes() + now;
        held.set(bytes.saturating_sub(before));
    }

    /// Sets the number of open streams.
    pub fn set_open_streams(&self, open: usize) {
        let before = self.peak_streams.load(Ordering::Relaxed);
        if open > before {
            self.peak_streams.store(open, Ordering::Relaxed);
            self.replace_bytes(0, (open - before) * STREAM_SLOT_COST);
        }
    }

    /// Whether the client has not read for a while although there is something to read.
    fn is_stuck(&self) -> bool {
        let since = self.shares.now().saturating_sub(self.last_progress.load(Ordering::Relaxed));
        u128::from(since) >= STUCK_AFTER.as_millis()
    }

    /// Counts something that was shed.
    pub fn count_shed(&self, what: Shed) {
        self.shares.memory.count_shed(what);
    }

    /// The client read this many bytes.
    pub fn client_read(&self, bytes: usize) {
        if bytes > 0 {
            self.read.fetch_add(bytes, Ordering::Relaxed);
            self.last_progress.store(self.shares.now(), Ordering::Relaxed);
        }
    }

    /// Sets whether there is something that the client does not read.
    pub fn set_blocked(&self, blocked: bool) {
        // Usually it has not changed.
        if self.blocked.load(Ordering::Relaxed) != blocked {
            self.last_progress.store(self.shares.now(), Ordering::Relaxed);
            self.blocked.store(blocked, Ordering::Relaxed);
        }
    }

    /// Whether there is something that the client does not read.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Sets how many responses the client has read to the end.
    pub fn set_completed(&self, completed: usize) {
        self.completed.store(completed, Ordering::Relaxed);
    }

    /// Wakes this task when the client is shed.
    pub fn wake_when_shed(&self, waker: &Waker) {
        let mut writer = self.writer.lock();
        if !writer.as_ref().is_some_and(|before| before.will_wake(waker)) {
            *writer = Some(waker.clone());
        }
    }

    /// Whether the client is shed.
    pub fn is_shed(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Completes when the client is shed.
    pub async fn wait_until_shed(&self) {
        while !self.is_shed() {
            self.end.notified().await;
        }
    }

    fn shed_client(&self) {
        if !self.given_up.swap(true, Ordering::Relaxed) {
            self.count_shed(Shed::Connection);
            self.end.notify_one();
            self.writer.lock().take().into_iter().for_each(Waker::wake);
        }
    }

    /// What shedding this connection would free, in bytes. `None` unless its client has been slow long enough, or it is
    /// idle while memory is full.
    fn shed_candidate(&self) -> Option<usize> {
        let (unread, read) = (self.unread.load(Ordering::Relaxed), self.read.swap(0, Ordering::Relaxed));
        let full = self.shares.memory.level() >= Level::Full;
        let held = self.connection.lock().bytes();
        let mut slow = self.slow.lock();
        let (checks, read) = (slow.checks + 1, slow.read + read);
        let is_slow =
            self.blocked.load(Ordering::Relaxed) && read.saturating_mul(SLOW_CHECKS) < unread.saturating_mul(checks);
        // HTTP/2 only: an idle HTTP/1 connection holds next to nothing.
        let is_idle =
            full && unread == 0 && self.in_progress.load(Ordering::Relaxed) == 0 && held > CONNECTION_COST + TLS_COST;
        *slow = if is_slow || is_idle { Slow { checks, read } } else { Slow::default() };
        (slow.checks >= if full { CHECKS_WHEN_FULL } else { CHECKS_BEFORE_SHEDDING }).then_some(unread + held)
    }

    fn level(&self) -> Level {
        self.shares.memory.level()
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.shares.open.lock().remove(&self.id);
    }
}
