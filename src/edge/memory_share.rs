//! What a connection holds of the process' memory, and who gives up what when there is too little.
//!
//! A client that does not read makes the gateway hold what it has asked for. When memory runs short, those who hold
//! most and take least are cut off first; a client that reads is not, however much it asks for.

mod held;

pub(crate) use held::{Body, RequestPermit, UnreadBytes};

use crate::memory::{Held, Level, Memory, Sweep};
use crate::telemetry::{MemoryKind, Shed};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What a request costs that is served, in bytes, whatever it is: measured at 17 to 28 KiB; and one that waits to be
/// served.
const REQUEST: usize = 24 << 10;
const QUEUED: usize = 4 << 10;
/// What a connection costs that waits, in bytes, by whether it has TLS and HTTP/2: see the test of memory.
const PLAIN: usize = 8 << 10;
const HTTP2: usize = 16 << 10;
const TLS: usize = 8 << 10;
/// What a stream of HTTP/2 costs in the library beside its request, and what its place costs to the end of the
/// connection.
const STREAM: usize = 1 << 10;
const PLACE: usize = 1 << 10;
/// How much of a body or a response goes on even where memory is short, so that each request that was taken on gets to
/// its end.
const RESERVED: usize = 64 << 10;
/// How much responses that wait may hold on a connection whose client does not read, before it gets no further streams.
const WAITING: usize = 16 << 20;
/// How many streams of HTTP/2 a connection is served at once before its client has taken any response to its end. Each
/// that it takes is one more.
const FIRST: usize = 8;
/// How often connections are looked at while memory is short, and how often the process is measured.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is asked whether memory should go back to the system.
const SWEEP: Duration = Duration::from_secs(1);
/// A client is slow that would need so many looks, or more, for what waits for it.
const SLOW: usize = 50;
/// After so many looks in a row over which it was slow a client is given up, and where memory is full. What it takes
/// comes in bursts.
const LOOKS: usize = 20;
const FULL_LOOKS: usize = 3;
/// How long a client that takes nothing is not stuck yet.
const STUCK: Duration = Duration::from_secs(1);

/// All connections.
#[derive(Debug)]
pub(super) struct MemoryShares {
    memory: Arc<Memory>,
    open: Mutex<HashMap<u64, Weak<MemoryShare>>>,
    next: AtomicU64,
    begun: Instant,
}

/// What one connection holds.
#[derive(Debug)]
pub(crate) struct MemoryShare {
    shares: Arc<MemoryShares>,
    id: u64,
    connection: Mutex<Held>,
    /// The most streams that were open at once.
    places: AtomicUsize,
    /// How many requests are served.
    serving: AtomicUsize,
    /// How much waits for the client to read it.
    waiting: AtomicUsize,
    /// How much the client has taken since the last look.
    taken: AtomicUsize,
    /// When it last took something, or began to take nothing, in milliseconds since the first connection.
    moved: AtomicU64,
    /// Whether the client takes nothing of what is there.
    blocked: AtomicBool,
    /// How many responses the client has taken to their end: of HTTP/2.
    finished: AtomicUsize,
    slow: Mutex<Slow>,
    given_up: AtomicBool,
    end: Notify,
    /// Who waits for a client of HTTP/1.
    writer: Mutex<Option<Waker>>,
}

/// For how many looks in a row a client was slow, and what it took over them.
#[derive(Debug, Default)]
struct Slow {
    looks: usize,
    taken: usize,
}

/// There is too little memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryShort;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum RequestAdmission {
    /// It is served.
    Now(RequestPermit),
    /// It is served when it is its turn.
    Later,
    /// It is not served.
    Never,
}

impl MemoryShares {
    pub fn new(memory: Arc<Memory>) -> Arc<MemoryShares> {
        Arc::new(MemoryShares { memory, open: Mutex::default(), next: AtomicU64::new(0), begun: Instant::now() })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A connection that was opened just now.
    pub fn open(self: &Arc<MemoryShares>, tls: bool) -> Arc<MemoryShare> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = PLAIN + if tls { TLS } else { 0 };
        let share = Arc::new(MemoryShare {
            shares: self.clone(),
            id,
            connection: Mutex::new(Held::new(&self.memory, MemoryKind::Connections, bytes)),
            places: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            moved: AtomicU64::new(self.now()),
            blocked: AtomicBool::new(false),
            finished: AtomicUsize::new(0),
            slow: Mutex::default(),
            given_up: AtomicBool::new(false),
            end: Notify::new(),
            writer: Mutex::default(),
        });
        self.open.lock().insert(id, Arc::downgrade(&share));
        share
    }

    /// Whether memory is so short that no connection is taken on.
    pub fn is_over(&self) -> bool {
        self.memory.level() == Level::Over
    }

    /// Watches over the memory of the process to its end.
    pub async fn watch(self: Arc<MemoryShares>) {
        let mut sweep = Sweep::default();
        let mut swept = Instant::now();
        loop {
            tokio::select! {
                () = self.memory.pressed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            self.memory.measure();
            sweep.held(self.memory.held());
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                sweep.turn(self.memory.held(), self.memory.counted_level());
            }
            if self.memory.level() > Level::Calm {
                self.look();
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Gives up the clients that hold most and take least, until enough of them are.
    fn look(&self) {
        let all: Vec<Arc<MemoryShare>> = self.open.lock().values().filter_map(Weak::upgrade).collect();
        let mut slow: Vec<(usize, Arc<MemoryShare>)> =
            all.into_iter().filter_map(|share| Some((share.look()?, share))).collect();
        slow.sort_by_key(|(waiting, _)| std::cmp::Reverse(*waiting));
        let mut excess = self.memory.excess();
        for (waiting, share) in slow {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(waiting);
            share.give_up();
        }
    }
}

impl MemoryShare {
    /// The connection speaks HTTP/2.
    pub fn speaks_http2(&self) {
        self.keeps(0, HTTP2);
    }

    /// Something on the connection takes another number of bytes than before.
    pub fn keeps(&self, before: usize, now: usize) {
        let mut held = self.connection.lock();
        let bytes = held.bytes() + now;
        held.set(bytes.saturating_sub(before));
    }

    /// So many streams are open.
    pub fn streams(&self, open: usize) {
        let before = self.places.load(Ordering::Relaxed);
        if open > before {
            self.places.store(open, Ordering::Relaxed);
            self.keeps(0, (open - before) * PLACE);
        }
    }

    /// Takes a request on, where there is memory for it. Each connection gets one in any case, and who does not read
    /// gets no more. So that a client shows first whether it reads, a connection begins with few; those that wait get
    /// their turn when others end, or little by little: `turns` says how often it was looked for them.
    pub fn admit(self: &Arc<MemoryShare>, turns: u32) -> RequestAdmission {
        let blocked = self.blocked.load(Ordering::Relaxed);
        let serving = self.serving.load(Ordering::Relaxed);
        let first = serving == 0;
        let most = self.finished.load(Ordering::Relaxed).saturating_add(FIRST);
        match self.shares.memory.level() {
            _ if self.is_given_up() => RequestAdmission::Never,
            Level::Over => RequestAdmission::Never,
            Level::Calm | Level::Pressed | Level::Full if first => RequestAdmission::Now(self.admitted()),
            Level::Full => RequestAdmission::Never,
            _ if blocked && self.waiting.load(Ordering::Relaxed) >= WAITING => RequestAdmission::Never,
            Level::Pressed if blocked && self.is_stuck() => RequestAdmission::Never,
            Level::Calm | Level::Pressed if serving >= most << turns.min(16) => RequestAdmission::Later,
            Level::Calm | Level::Pressed => RequestAdmission::Now(self.admitted()),
        }
    }

    /// Whether the client has taken nothing for a while of what is there.
    fn is_stuck(&self) -> bool {
        let since = self.shares.now().saturating_sub(self.moved.load(Ordering::Relaxed));
        u128::from(since) >= STUCK.as_millis()
    }

    fn admitted(self: &Arc<MemoryShare>) -> RequestPermit {
        self.serving.fetch_add(1, Ordering::Relaxed);
        RequestPermit { share: self.clone(), _held: Held::new(&self.shares.memory, MemoryKind::Requests, REQUEST) }
    }

    /// What a request holds that waits to be served, until this is dropped.
    pub fn queued(&self) -> Held {
        Held::new(&self.shares.memory, MemoryKind::Requests, QUEUED)
    }

    /// What a response holds from now on, until this is dropped.
    pub fn response(self: &Arc<MemoryShare>) -> UnreadBytes {
        UnreadBytes { share: self.clone(), held: Held::new(&self.shares.memory, MemoryKind::Responses, 0) }
    }

    /// What the body of a request holds from now on, until this is dropped.
    pub fn body(&self) -> Body {
        Body(Held::new(&self.shares.memory, MemoryKind::RequestBodies, 0))
    }

    /// Something was given up to save memory.
    pub fn shed(&self, what: Shed) {
        self.shares.memory.shed(what);
    }

    /// The client took so many bytes of what waited for it.
    pub fn took(&self, bytes: usize) {
        if bytes > 0 {
            self.taken.fetch_add(bytes, Ordering::Relaxed);
            self.moved.store(self.shares.now(), Ordering::Relaxed);
        }
    }

    /// Says whether the client takes nothing of what is there.
    pub fn is_blocked(&self, blocked: bool) {
        // Most often nothing has changed.
        if self.blocked.load(Ordering::Relaxed) != blocked {
            self.moved.store(self.shares.now(), Ordering::Relaxed);
            self.blocked.store(blocked, Ordering::Relaxed);
        }
    }

    /// Whether the client takes nothing of what is there.
    pub fn blocks(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Says how many responses the client has taken to their end.
    pub fn finished(&self, finished: usize) {
        self.finished.store(finished, Ordering::Relaxed);
    }

    /// Wakes this task when the client is given up.
    pub fn wakes(&self, waker: &Waker) {
        let mut writer = self.writer.lock();
        if !writer.as_ref().is_some_and(|before| before.will_wake(waker)) {
            *writer = Some(waker.clone());
        }
    }

    /// Whether the client is given up.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Ends when the client is given up.
    pub async fn given_up(&self) {
        while !self.is_given_up() {
            self.end.notified().await;
        }
    }

    fn give_up(&self) {
        if !self.given_up.swap(true, Ordering::Relaxed) {
            self.shed(Shed::Connection);
            self.end.notify_one();
            self.writer.lock().take().into_iter().for_each(Waker::wake);
        }
    }

    /// How much would be held no more without the connection, where its client has been slow for long enough, or nobody
    /// needs it while memory is full.
    fn look(&self) -> Option<usize> {
        let (waiting, taken) = (self.waiting.load(Ordering::Relaxed), self.taken.swap(0, Ordering::Relaxed));
        let full = self.shares.memory.level() >= Level::Full;
        let held = self.connection.lock().bytes();
        let mut slow = self.slow.lock();
        let (looks, taken) = (slow.looks + 1, slow.taken + taken);
        let is_slow =
            self.blocked.load(Ordering::Relaxed) && taken.saturating_mul(SLOW) < waiting.saturating_mul(looks);
        // Of HTTP/2: one of HTTP/1 holds next to nothing then.
        let is_idle = full && waiting == 0 && self.serving.load(Ordering::Relaxed) == 0 && held > PLAIN + TLS;
        *slow = if is_slow || is_idle { Slow { looks, taken } } else { Slow::default() };
        (slow.looks >= if full { FULL_LOOKS } else { LOOKS }).then_some(waiting + held)
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
