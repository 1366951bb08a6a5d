//! What a client of HTTP/2 lets the gateway send: the windows of its streams, read off the frames that pass.
//!
//! The library does not tell which responses wait for their client. A response that has begun, on a stream whose window
//! is used up, does: nobody else can end that wait.

use super::frame::{
    DATA, END_STREAM, FrameEvent, FrameHead, GOAWAY, HEADERS, INITIAL_WINDOW, INITIAL_WINDOW_SIZE, RST_STREAM,
};
use std::collections::BTreeMap;

/// How many streams are remembered: those that may be open at once are fewer, others end at once.
const MOST: usize = 10_240;

/// A stream whose response is not over.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// How much may be sent on it.
    window: i64,
    /// Whether its response has begun.
    responds: bool,
}

/// The windows of a connection.
#[derive(Debug)]
pub(super) struct Windows {
    streams: BTreeMap<u32, Stream>,
    /// The last stream that the client has opened.
    last: u32,
    initial: i64,
    /// What the client wants `initial` to be.
    wanted: i64,
    /// Whether the gateway has said that it ends the connection.
    leaving: bool,
    connection: i64,
    /// How many streams respond, and how many of them have no window.
    responding: usize,
    starved: usize,
    /// How many responses the client has taken to their end.
    finished: usize,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            streams: BTreeMap::new(),
            last: 0,
            initial: INITIAL_WINDOW,
            wanted: INITIAL_WINDOW,
            leaving: false,
            connection: INITIAL_WINDOW,
            responding: 0,
            starved: 0,
            finished: 0,
        }
    }
}

impl Windows {
    /// How many streams are open: their responses are not over.
    pub fn open(&self) -> usize {
        self.streams.len()
    }

    /// Whether a response waits for its client.
    pub fn is_blocked(&self) -> bool {
        self.starved > 0 || self.responding > 0 && self.connection <= 0
    }

    /// How many responses the client has taken to their end.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Something came from the client.
    pub fn received(&mut self, seen: FrameEvent) {
        match seen {
            FrameEvent::Frame(FrameHead { kind: HEADERS, stream, .. }) if stream > self.last => {
                self.last = stream;
                self.settle();
                if self.streams.len() < MOST && !self.leaving {
                    self.streams.insert(stream, Stream { window: self.initial, responds: false });
                }
            }
            FrameEvent::Frame(FrameHead { kind: RST_STREAM, stream, .. }) => self.end(stream),
            FrameEvent::Frame(_) | FrameEvent::Reset(_) | FrameEvent::Padding(..) | FrameEvent::Block(_) => {}
            FrameEvent::Setting(INITIAL_WINDOW_SIZE, size) => self.wanted = i64::from(size),
            FrameEvent::Setting(..) => {}
            FrameEvent::Increment(0, increment) => self.connection += i64::from(increment),
            FrameEvent::Increment(stream, increment) => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.widen(i64::from(increment), &mut self.starved);
                }
            }
        }
    }

    /// Takes up the size of windows that the client has set last: each change goes over all streams, and one frame may
    /// have many.
    pub fn settle(&mut self) {
        let change = self.wanted - self.initial;
        if change != 0 {
            self.initial = self.wanted;
            let Windows { streams, starved, .. } = self;
            streams.values_mut().for_each(|stream| stream.widen(change, starved));
        }
    }

    /// Something goes to the client.
    pub fn sent(&mut self, seen: FrameEvent) {
        let FrameEvent::Frame(FrameHead { kind, flags, stream: id, length }) = seen else {
            return;
        };
        match kind {
            HEADERS => {
                if let Some(stream) = self.streams.get_mut(&id)
                    && !std::mem::replace(&mut stream.responds, true)
                {
                    self.responding += 1;
                    self.starved += usize::from(stream.window <= 0);
                }
            }
            DATA => {
                let length = i64::try_from(length).unwrap_or_default();
                self.connection -= length;
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.widen(-length, &mut self.starved);
                }
            }
            RST_STREAM => self.end(id),
            // The library looks at no stream that is opened behind it, and tells nobody.
            GOAWAY => self.leaving = true,
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.finished = self.finished.saturating_add(1);
            self.end(id);
        }
    }

    fn end(&mut self, stream: u32) {
        if let Some(stream) = self.streams.remove(&stream) {
            self.responding -= usize::from(stream.responds);
            self.starved -= usize::from(stream.is_starved());
        }
    }
}

impl Stream {
    fn is_starved(&self) -> bool {
        self.responds && self.window <= 0
    }

    fn widen(&mut self, change: i64, starved: &mut usize) {
        *starved -= usize::from(self.is_starved());
        self.window += change;
        *starved += usize::from(self.is_starved());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, flags: u8, stream: u32, length: usize) -> FrameEvent<'static> {
        FrameEvent::Frame(FrameHead { kind, flags, stream, length })
    }

    fn asked(windows: &mut Windows, stream: u32) {
        windows.received(head(HEADERS, END_STREAM, stream, 10));
    }

    #[test]
    fn a_response_is_blocked_when_the_window_of_its_stream_is_used_up() {
        let mut windows = Windows::default();
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 100));
        asked(&mut windows, 1);
        windows.sent(head(HEADERS, 0, 1, 20));
        assert!(!windows.is_blocked());
        windows.sent(head(DATA, 0, 1, 100));
        assert!(windows.is_blocked());
        windows.received(FrameEvent::Increment(1, 1));
        assert!(!windows.is_blocked());
        windows.sent(head(DATA, END_STREAM, 1, 1));
        assert!(!windows.is_blocked());
        assert_eq!(windows.open(), 0);
    }

    #[test]
    fn without_any_window_a_response_is_blocked_from_its_head_on() {
        let mut windows = Windows::default();
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 0));
        asked(&mut windows, 1);
        assert!(!windows.is_blocked(), "the provider is waited for");
        windows.sent(head(HEADERS, 0, 1, 20));
        assert!(windows.is_blocked());
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 10));
        windows.settle();
        assert!(!windows.is_blocked(), "settings change the windows of open streams");
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 0));
        windows.settle();
        assert!(windows.is_blocked());
        windows.received(head(RST_STREAM, 0, 1, 4));
        assert!(!windows.is_blocked());
    }

    #[test]
    fn all_responses_are_blocked_when_the_window_of_the_connection_is_used_up() {
        let mut windows = Windows::default();
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 1 << 30));
        asked(&mut windows, 1);
        windows.sent(head(HEADERS, 0, 1, 20));
        windows.sent(head(DATA, 0, 1, 65_535));
        assert!(windows.is_blocked());
        windows.received(FrameEvent::Increment(0, 65_535));
        assert!(!windows.is_blocked());
        windows.sent(head(DATA, END_STREAM, 1, 65_535));
        assert!(!windows.is_blocked(), "nobody waits");
        asked(&mut windows, 3);
        windows.sent(head(HEADERS, END_STREAM, 3, 20));
        assert!(!windows.is_blocked(), "a response without a body needs no window");
        assert_eq!(windows.open(), 0);
    }

    #[test]
    fn streams_that_were_reset_or_never_opened_change_nothing() {
        let mut windows = Windows::default();
        windows.sent(head(RST_STREAM, 0, 7, 4));
        windows.received(FrameEvent::Increment(9, 5));
        windows.sent(head(HEADERS, 0, 9, 5));
        asked(&mut windows, 1);
        asked(&mut windows, 1);
        assert_eq!(windows.open(), 1, "trailers open nothing");
        windows.received(head(RST_STREAM, 0, 1, 4));
        windows.received(head(RST_STREAM, 0, 1, 4));
        assert_eq!((windows.open(), windows.responding, windows.starved), (0, 0, 0));
    }

    #[test]
    fn streams_behind_the_end_of_the_connection_are_nobodys() {
        let mut windows = Windows::default();
        asked(&mut windows, 1);
        windows.sent(head(GOAWAY, 0, 0, 8));
        (3..10_003).step_by(2).for_each(|stream| asked(&mut windows, stream));
        assert_eq!(windows.open(), 1);
    }

    #[test]
    fn the_last_of_many_settings_counts() {
        let mut windows = Windows::default();
        asked(&mut windows, 1);
        windows.sent(head(HEADERS, 0, 1, 20));
        (0..2_730).for_each(|size| windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, size)));
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 0));
        assert!(!windows.is_blocked(), "one frame changes windows once");
        windows.settle();
        assert!(windows.is_blocked());
    }
}
