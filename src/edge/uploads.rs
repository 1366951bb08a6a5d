//! Detects HTTP/2 request bodies that arrive below the minimum rate, from the connection's frames.
//!
//! Only the time during which the gateway lets the client send counts: if the provider does not read, the flow-control
//! window is exhausted, and the client is not to blame.

use super::frame::{DATA, END_STREAM, FrameEvent, FrameHead, HEADERS, INITIAL_WINDOW, INITIAL_WINDOW_SIZE, RST_STREAM};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Waiting time for the client after which the rate is checked.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Below this many bytes a window counts as exhausted: some clients send no smaller parts. The library returns windows
/// by halves, so what was read leaves more than this.
const MIN_WINDOW: i64 = 1 << 10;
/// The most bodies that are tracked; fewer may be in progress at once.
const MAX_BODIES: usize = 10_240;

/// The request bodies in progress on a connection, shared by the connection and its requests.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<OpenBodies>);

/// The same, locked.
#[derive(Debug)]
pub(super) struct OpenBodies {
    open: BTreeMap<u32, IncomingBody>,
    initial: i64,
    connection: i64,
    /// The minimum rate, in bytes per second.
    rate: u64,
}

/// A body in progress.
#[derive(Debug)]
struct IncomingBody {
    window: i64,
    /// Bytes received, in total and since the last check.
    received: u64,
    recent: u64,
    /// How long the client was waited for since the last check, up to `since`.
    waited: Duration,
    since: Instant,
    is_slow: bool,
}

impl Default for OpenBodies {
    fn default() -> OpenBodies {
        OpenBodies { open: BTreeMap::new(), initial: INITIAL_WINDOW, connection: INITIAL_WINDOW, rate: 0 }
    }
}

impl Uploads {
    /// Sets the minimum rate of each body, in bytes per second.
    pub fn set_rate(&self, rate: usize) {
        self.0.lock().rate = rate as u64;
    }

    /// Gives access to the bodies for a series of frames.
    pub fn with_bodies<T>(&self, frames: impl FnOnce(&mut OpenBodies) -> T) -> T {
        frames(&mut self.0.lock())
    }

    /// Whether the body of which `read` bytes, all that arrived, have been read is too slow. Requests do not know the
    /// number of their stream, so bodies are matched by this count.
    pub fn is_slow(&self, read: u64, now: Instant) -> bool {
        let mut bodies = self.0.lock();
        let (open, rate) = (bodies.connection >= MIN_WINDOW, bodies.rate);
        for body in bodies.open.values_mut() {
            body.advance(open, rate, now);
            // A slow body that resumes stays slow until the minimum of a whole interval has arrived: one byte is not
            // enough.
            body.is_slow &= body.recent < rate.saturating_mul(CHECK_INTERVAL.as_secs());
        }
        // If one of these is fast enough, it may be the one in question.
        let mut same = bodies.open.values().filter(|body| body.received == read).peekable();
        same.peek().is_some() && same.all(|body| body.is_slow)
    }

    /// Whether an unfinished body has been read as far as it has arrived, at `read` bytes.
    pub fn is_all_read(&self, read: u64) -> bool {
        self.0.lock().open.values().any(|body| body.received == read)
    }
}

impl OpenBodies {
    /// A frame arrived from the client; `opens`: it opens a stream.
    pub fn received(&mut self, event: FrameEvent, opens: bool, now: Instant) {
        match event {
            FrameEvent::Frame(FrameHead { kind: HEADERS, flags, stream, .. }) => {
                if flags & END_STREAM != 0 {
                    self.open.remove(&stream);
                } else if opens && self.open.len() < MAX_BODIES {
                    self.open.insert(stream, IncomingBody::new(self.initial, now));
                }
            }
            FrameEvent::Frame(FrameHead { kind: DATA, flags, stream, length }) => {
                let length = i64::try_from(length).unwrap_or_default();
                self.move_connection(-length, now);
                let (open, rate) = (self.connection >= MIN_WINDOW, self.rate);
                if let Some(body) = self.open.get_mut(&stream) {
                    body.advance(open, rate, now);
                    body.window -= length;
                    body.received += length.unsigned_abs();
                    body.recent += length.unsigned_abs();
                }
                if flags & END_STREAM != 0 {
                    self.open.remove(&stream);
                }
            }
            FrameEvent::Padding(FrameHead { stream, .. }, padding) => {
                if let Some(body) = self.open.get_mut(&stream) {
                    body.received = body.received.saturating_sub(padding as u64 + 1);
                    body.recent = body.recent.saturating_sub(padding as u64 + 1);
                }
            }
            FrameEvent::Frame(FrameHead { kind: RST_STREAM, stream, .. }) => drop(self.open.remove(&stream)),
            FrameEvent::Frame(_)
            | FrameEvent::Setting(..)
            | FrameEvent::Increment(..)
            | FrameEvent::Reset(_)
            | FrameEvent::Block(_) => {}
        }
    }

    /// A frame is sent to the client.
    pub fn sent(&mut self, event: FrameEvent, now: Instant) {
        match event {
            FrameEvent::Increment(0, increment) => self.move_connection(i64::from(increment), now),
            FrameEvent::Increment(stream, increment) => {
                let (open, rate) = (self.connection >= MIN_WINDOW, self.rate);
                if let Some(body) = self.open.get_mut(&stream) {
                    body.advance(open, rate, now);
                    body.window += i64::from(increment);
                }
            }
            FrameEvent::Setting(INITIAL_WINDOW_SIZE, size) => {
                let change = i64::from(size) - self.initial;
                self.initial += change;
                self.open.values_mut().for_each(|body| body.window += change);
            }
            FrameEvent::Frame(FrameHead { kind: RST_STREAM, stream, .. }) => drop(self.open.remove(&stream)),
            FrameEvent::Frame(_)
            | FrameEvent::Setting(..)
            | FrameEvent::Reset(_)
            | FrameEvent::Padding(..)
            | FrameEvent::Block(_) => {}
        }
    }

    /// Changes the connection's window. If it becomes exhausted, or open again, that applies to all bodies from now on.
    fn move_connection(&mut self, change: i64, now: Instant) {
        let (before, rate) = (self.connection >= MIN_WINDOW, self.rate);
        self.connection += change;
        if before != (self.connection >= MIN_WINDOW) {
            self.open.values_mut().for_each(|body| body.advance(before, rate, now));
        }
    }
}

impl IncomingBody {
    fn new(window: i64, now: Instant) -> IncomingBody {
        IncomingBody { window, received: 0, recent: 0, waited: Duration::ZERO, since: now, is_slow: false }
    }

    /// Accounts for the time until now, if the windows were open, and checks the rate after each interval.
    fn advance(&mut self, open: bool, rate: u64, now: Instant) {
        if open && self.window >= MIN_WINDOW {
            self.waited += now.saturating_duration_since(self.since);
        }
        self.since = now;
        if self.waited >= CHECK_INTERVAL {
            self.is_slow = self.recent < rate.saturating_mul(self.waited.as_secs());
            self.waited = Duration::ZERO;
            self.recent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 100;
    const WINDOW: u32 = 64 << 10;

    /// A connection with a clock.
    struct Connection {
        uploads: Uploads,
        now: Instant,
    }

    impl Connection {
        fn new() -> Connection {
            let connection = Connection { uploads: Uploads::default(), now: Instant::now() };
            connection.uploads.set_rate(RATE as usize);
            connection.sent(FrameEvent::Setting(INITIAL_WINDOW_SIZE, WINDOW));
            connection.sent(FrameEvent::Increment(0, 1 << 20));
            connection
        }

        fn sent(&self, event: FrameEvent) {
            self.uploads.with_bodies(|bodies| bodies.sent(event, self.now));
        }

        fn frame(&self, kind: u8, flags: u8, stream: u32, length: usize) {
            let head = FrameHead { kind, flags, stream, length };
            self.uploads.with_bodies(|bodies| bodies.received(FrameEvent::Frame(head), kind == HEADERS, self.now));
        }

        fn open(&self, stream: u32) {
            self.frame(HEADERS, 0, stream, 10);
        }

        fn advance(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn is_slow(&self, read: u64) -> bool {
            self.uploads.is_slow(read, self.now)
        }
    }

    #[test]
    fn missing_body_is_slow() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.advance(9);
        assert!(!connection.is_slow(0));
        connection.advance(1);
        assert!(connection.is_slow(0));
        assert!(!connection.is_slow(1), "another has read more");
        connection.frame(DATA, 0, 1, 1000);
        connection.advance(10);
        assert!(!connection.is_slow(1000), "enough came meanwhile");
        connection.advance(10);
        assert!(connection.is_slow(1000));
        connection.frame(DATA, END_STREAM, 1, 0);
        assert!(!connection.is_slow(1000), "it is whole");
    }

    #[test]
    fn a_body_may_be_read_as_far_as_it_has_come() {
        let connection = Connection::new();
        assert!(!connection.uploads.is_all_read(0), "there is none");
        connection.open(1);
        connection.frame(DATA, 0, 1, 1000);
        assert!(!connection.uploads.is_all_read(0) && connection.uploads.is_all_read(1000));
        connection.frame(DATA, END_STREAM, 1, 0);
        assert!(!connection.uploads.is_all_read(1000), "it is whole");
    }

    #[test]
    fn steady_body_is_not_slow() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.frame(DATA, 0, 1, 2000);
        connection.advance(10);
        assert!(!connection.is_slow(2000));
        connection.advance(10);
        connection.open(3);
        connection.frame(DATA, 0, 3, 2000);
        assert!(!connection.is_slow(2000), "it may be the other one");
        connection.frame(DATA, 0, 3, 1);
        assert!(connection.is_slow(2000) && !connection.is_slow(2001));
    }

    #[test]
    fn resumed_body_is_not_slow() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.advance(10);
        assert!(connection.is_slow(0));
        connection.frame(DATA, 0, 1, 1);
        assert!(connection.is_slow(1), "a byte is not enough");
        connection.frame(DATA, 0, 1, 999);
        assert!(!connection.is_slow(1000));
    }

    #[test]
    fn body_blocked_by_its_window_is_not_slow() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.frame(DATA, 0, 1, WINDOW as usize);
        connection.advance(3600);
        assert!(!connection.is_slow(u64::from(WINDOW)) && !connection.is_slow(0));
        connection.sent(FrameEvent::Increment(1, WINDOW));
        assert!(!connection.is_slow(u64::from(WINDOW)));
        connection.advance(9);
        assert!(!connection.is_slow(u64::from(WINDOW)), "it has all the time that any body has");
        connection.advance(1);
        connection.is_slow(0);
        connection.advance(10);
        assert!(connection.is_slow(u64::from(WINDOW)));
    }

    #[test]
    fn connection_window_blocks_all_bodies() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.open(3);
        connection.frame(DATA, 0, 3, (1 << 20) + 65_535);
        connection.advance(3600);
        assert!(!connection.is_slow(0));
        connection.sent(FrameEvent::Increment(0, 1 << 20));
        connection.advance(10);
        assert!(connection.is_slow(0));
    }

    #[test]
    fn padding_does_not_count_as_body() {
        let mut connection = Connection::new();
        connection.open(1);
        for _ in 0..20 {
            connection.frame(DATA, 8, 1, 256);
            let head = FrameHead { kind: DATA, flags: 8, stream: 1, length: 256 };
            connection
                .uploads
                .with_bodies(|bodies| bodies.received(FrameEvent::Padding(head, 254), false, connection.now));
            connection.advance(1);
        }
        assert!(connection.is_slow(20));
    }

    #[test]
    fn ended_streams_are_forgotten() {
        let mut connection = Connection::new();
        let reset = |stream| FrameHead { kind: RST_STREAM, flags: 0, stream, length: 4 };
        connection.open(1);
        connection.frame(RST_STREAM, 0, 1, 4);
        connection.open(3);
        connection.sent(FrameEvent::Frame(reset(3)));
        connection.open(5);
        connection.frame(HEADERS, END_STREAM, 5, 10);
        connection.frame(HEADERS, END_STREAM, 7, 10);
        connection.advance(60);
        assert!(!connection.is_slow(0));
        assert!(connection.uploads.0.lock().open.is_empty());
    }
}
