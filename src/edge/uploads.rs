//! Bodies that a client of HTTP/2 sends: whether it sends them too slowly, read off the frames that pass.
//!
//! Only the time counts during which the gateway lets the client send: a body whose provider takes nothing stands
//! still, and its client can do nothing about it.

use super::frame::{DATA, END_STREAM, FrameEvent, FrameHead, HEADERS, INITIAL_WINDOW, INITIAL_WINDOW_SIZE, RST_STREAM};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For how long the client may be waited for before it is looked how much has come meanwhile.
pub(super) const CHECK: Duration = Duration::from_secs(10);
/// Below this a window counts as used up: some clients send no smaller parts. The library gives windows back by halves,
/// so that what was read leaves more than this.
const LEAST: i64 = 1 << 10;
/// How many bodies are looked at: those that may come at once are fewer.
const MOST: usize = 10_240;

/// The bodies that are coming on a connection. Shared by the connection and the requests that are on it.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<OpenBodies>);

/// The same, for what goes over the connection.
#[derive(Debug)]
pub(super) struct OpenBodies {
    coming: BTreeMap<u32, Body>,
    initial: i64,
    connection: i64,
    /// How many bytes have to come in a second.
    rate: u64,
}

/// A body that is coming.
#[derive(Debug)]
struct Body {
    window: i64,
    /// How much has come, and how much of it since the last look.
    came: u64,
    recent: u64,
    /// How long the client was waited for since the last look, up to `since`.
    waited: Duration,
    since: Instant,
    is_slow: bool,
}

impl Default for OpenBodies {
    fn default() -> OpenBodies {
        OpenBodies { coming: BTreeMap::new(), initial: INITIAL_WINDOW, connection: INITIAL_WINDOW, rate: 0 }
    }
}

impl Uploads {
    /// Sets how many bytes of each body have to come in a second.
    pub fn set_rate(&self, rate: usize) {
        self.0.lock().rate = rate as u64;
    }

    /// Goes over frames.
    pub fn pass<T>(&self, frames: impl FnOnce(&mut OpenBodies) -> T) -> T {
        frames(&mut self.0.lock())
    }

    /// Whether a body comes too slowly of which the gateway has read so much, and so all that has come: requests are
    /// not told by the numbers of their streams.
    pub fn are_slow(&self, read: u64, now: Instant) -> bool {
        let mut bodies = self.0.lock();
        let (open, rate) = (bodies.connection >= LEAST, bodies.rate);
        for body in bodies.coming.values_mut() {
            body.wait(open, rate, now);
            // One that goes on is slow until as much has come as has to in a whole wait: a byte would not be enough.
            body.is_slow &= body.recent < rate.saturating_mul(CHECK.as_secs());
        }
        // Where one of these comes as it should, it may be the one that is asked about.
        let mut same = bodies.coming.values().filter(|body| body.came == read).peekable();
        same.peek().is_some() && same.all(|body| body.is_slow)
    }

    /// Whether all that has come of a body was read, of which the gateway has read so much, and more of it is to come.
    pub fn are_read(&self, read: u64) -> bool {
        self.0.lock().coming.values().any(|body| body.came == read)
    }
}

impl OpenBodies {
    /// Something came from the client; `opens` where a stream begins with it.
    pub fn received(&mut self, seen: FrameEvent, opens: bool, now: Instant) {
        match seen {
            FrameEvent::Frame(FrameHead { kind: HEADERS, flags, stream, .. }) => {
                if flags & END_STREAM != 0 {
                    self.coming.remove(&stream);
                } else if opens && self.coming.len() < MOST {
                    self.coming.insert(stream, Body::new(self.initial, now));
                }
            }
            FrameEvent::Frame(FrameHead { kind: DATA, flags, stream, length }) => {
                let length = i64::try_from(length).unwrap_or_default();
                self.move_connection(-length, now);
                let (open, rate) = (self.connection >= LEAST, self.rate);
                if let Some(body) = self.coming.get_mut(&stream) {
                    body.wait(open, rate, now);
                    body.window -= length;
                    body.came += length.unsigned_abs();
                    body.recent += length.unsigned_abs();
                }
                if flags & END_STREAM != 0 {
                    self.coming.remove(&stream);
                }
            }
            FrameEvent::Padding(FrameHead { stream, .. }, padding) => {
                if let Some(body) = self.coming.get_mut(&stream) {
                    body.came = body.came.saturating_sub(padding as u64 + 1);
                    body.recent = body.recent.saturating_sub(padding as u64 + 1);
                }
            }
            FrameEvent::Frame(FrameHead { kind: RST_STREAM, stream, .. }) => drop(self.coming.remove(&stream)),
            FrameEvent::Frame(_)
            | FrameEvent::Setting(..)
            | FrameEvent::Increment(..)
            | FrameEvent::Reset(_)
            | FrameEvent::Block(_) => {}
        }
    }

    /// Something goes to the client.
    pub fn sent(&mut self, seen: FrameEvent, now: Instant) {
        match seen {
            FrameEvent::Increment(0, increment) => self.move_connection(i64::from(increment), now),
            FrameEvent::Increment(stream, increment) => {
                let (open, rate) = (self.connection >= LEAST, self.rate);
                if let Some(body) = self.coming.get_mut(&stream) {
                    body.wait(open, rate, now);
                    body.window += i64::from(increment);
                }
            }
            FrameEvent::Setting(INITIAL_WINDOW_SIZE, size) => {
                let change = i64::from(size) - self.initial;
                self.initial += change;
                self.coming.values_mut().for_each(|body| body.window += change);
            }
            FrameEvent::Frame(FrameHead { kind: RST_STREAM, stream, .. }) => drop(self.coming.remove(&stream)),
            FrameEvent::Frame(_)
            | FrameEvent::Setting(..)
            | FrameEvent::Reset(_)
            | FrameEvent::Padding(..)
            | FrameEvent::Block(_) => {}
        }
    }

    /// The connection's window changes: where it is used up, or is so no more, that counts for all bodies from now on.
    fn move_connection(&mut self, change: i64, now: Instant) {
        let (before, rate) = (self.connection >= LEAST, self.rate);
        self.connection += change;
        if before != (self.connection >= LEAST) {
            self.coming.values_mut().for_each(|body| body.wait(before, rate, now));
        }
    }
}

impl Body {
    fn new(window: i64, now: Instant) -> Body {
        Body { window, came: 0, recent: 0, waited: Duration::ZERO, since: now, is_slow: false }
    }

    /// The client was waited for until now, where its windows were open, and looks whether enough came.
    fn wait(&mut self, open: bool, rate: u64, now: Instant) {
        if open && self.window >= LEAST {
            self.waited += now.saturating_duration_since(self.since);
        }
        self.since = now;
        if self.waited >= CHECK {
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

    /// A connection on which time goes by.
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

        fn sent(&self, seen: FrameEvent) {
            self.uploads.pass(|bodies| bodies.sent(seen, self.now));
        }

        fn frame(&self, kind: u8, flags: u8, stream: u32, length: usize) {
            let head = FrameHead { kind, flags, stream, length };
            self.uploads.pass(|bodies| bodies.received(FrameEvent::Frame(head), kind == HEADERS, self.now));
        }

        fn open(&self, stream: u32) {
            self.frame(HEADERS, 0, stream, 10);
        }

        fn wait(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn is_slow(&self, read: u64) -> bool {
            self.uploads.are_slow(read, self.now)
        }
    }

    #[test]
    fn a_body_that_does_not_come_is_slow() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.wait(9);
        assert!(!connection.is_slow(0));
        connection.wait(1);
        assert!(connection.is_slow(0));
        assert!(!connection.is_slow(1), "another has read more");
        connection.frame(DATA, 0, 1, 1000);
        connection.wait(10);
        assert!(!connection.is_slow(1000), "enough came meanwhile");
        connection.wait(10);
        assert!(connection.is_slow(1000));
        connection.frame(DATA, END_STREAM, 1, 0);
        assert!(!connection.is_slow(1000), "it is whole");
    }

    #[test]
    fn a_body_may_be_read_as_far_as_it_has_come() {
        let connection = Connection::new();
        assert!(!connection.uploads.are_read(0), "there is none");
        connection.open(1);
        connection.frame(DATA, 0, 1, 1000);
        assert!(!connection.uploads.are_read(0) && connection.uploads.are_read(1000));
        connection.frame(DATA, END_STREAM, 1, 0);
        assert!(!connection.uploads.are_read(1000), "it is whole");
    }

    #[test]
    fn a_body_that_behaves_is_not_taken_for_a_slow_one() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.frame(DATA, 0, 1, 2000);
        connection.wait(10);
        assert!(!connection.is_slow(2000));
        connection.wait(10);
        connection.open(3);
        connection.frame(DATA, 0, 3, 2000);
        assert!(!connection.is_slow(2000), "it may be the other one");
        connection.frame(DATA, 0, 3, 1);
        assert!(connection.is_slow(2000) && !connection.is_slow(2001));
    }

    #[test]
    fn a_slow_body_that_goes_on_is_slow_no_more() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.wait(10);
        assert!(connection.is_slow(0));
        connection.frame(DATA, 0, 1, 1);
        assert!(connection.is_slow(1), "a byte is not enough");
        connection.frame(DATA, 0, 1, 999);
        assert!(!connection.is_slow(1000));
    }

    #[test]
    fn a_body_whose_window_is_used_up_is_not_slow_however_long() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.frame(DATA, 0, 1, WINDOW as usize);
        connection.wait(3600);
        assert!(!connection.is_slow(u64::from(WINDOW)) && !connection.is_slow(0));
        connection.sent(FrameEvent::Increment(1, WINDOW));
        assert!(!connection.is_slow(u64::from(WINDOW)));
        connection.wait(9);
        assert!(!connection.is_slow(u64::from(WINDOW)), "it has all the time that any body has");
        connection.wait(1);
        connection.is_slow(0);
        connection.wait(10);
        assert!(connection.is_slow(u64::from(WINDOW)));
    }

    #[test]
    fn the_window_of_the_connection_holds_back_all_bodies() {
        let mut connection = Connection::new();
        connection.open(1);
        connection.open(3);
        connection.frame(DATA, 0, 3, (1 << 20) + 65_535);
        connection.wait(3600);
        assert!(!connection.is_slow(0));
        connection.sent(FrameEvent::Increment(0, 1 << 20));
        connection.wait(10);
        assert!(connection.is_slow(0));
    }

    #[test]
    fn padding_is_no_part_of_a_body() {
        let mut connection = Connection::new();
        connection.open(1);
        for _ in 0..20 {
            connection.frame(DATA, 8, 1, 256);
            let head = FrameHead { kind: DATA, flags: 8, stream: 1, length: 256 };
            connection.uploads.pass(|bodies| bodies.received(FrameEvent::Padding(head, 254), false, connection.now));
            connection.wait(1);
        }
        assert!(connection.is_slow(20));
    }

    #[test]
    fn streams_that_are_over_are_forgotten() {
        let mut connection = Connection::new();
        let reset = |stream| FrameHead { kind: RST_STREAM, flags: 0, stream, length: 4 };
        connection.open(1);
        connection.frame(RST_STREAM, 0, 1, 4);
        connection.open(3);
        connection.sent(FrameEvent::Frame(reset(3)));
        connection.open(5);
        connection.frame(HEADERS, END_STREAM, 5, 10);
        connection.frame(HEADERS, END_STREAM, 7, 10);
        connection.wait(60);
        assert!(!connection.is_slow(0));
        assert!(connection.uploads.0.lock().coming.is_empty());
    }
}
