//! Tracks an HTTP/2 client's flow-control windows, from the connection's frames.
//!
//! The library does not report which responses wait for the client. A response that has begun on a stream without
//! window does: only the client can end that wait.

use super::frame::{
    DATA, END_STREAM, FrameEvent, FrameHead, GOAWAY, HEADERS, INITIAL_WINDOW, INITIAL_WINDOW_SIZE, RST_STREAM,
};
use std::collections::BTreeMap;

/// The most streams that are tracked. Fewer may be open at once; others end immediately.
const MAX_STREAMS: usize = 10_240;

/// A stream whose response has not ended.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Bytes that may be sent on it.
    window: i64,
    response_started: bool,
}

/// The flow-control windows of a connection.
#[derive(Debug)]
pub(super) struct Windows {
    streams: BTreeMap<u32, Stream>,
    /// The last stream that the client opened.
    last: u32,
    initial: i64,
    /// The initial window that the client set last, if it was not applied yet.
    next_initial: i64,
    /// Whether the gateway has sent GOAWAY.
    goaway_sent: bool,
    connection: i64,
    /// Streams whose response has begun, and how many of them have no window.
    responding: usize,
    starved: usize,
    /// Responses that were sent to their end.
    completed: usize,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            streams: BTreeMap::new(),
            last: 0,
            initial: INITIAL_WINDOW,
            next_initial: INITIAL_WINDOW,
            goaway_sent: false,
            connection: INITIAL_WINDOW,
            responding: 0,
            starved: 0,
            completed: 0,
        }
    }
}

impl Windows {
    /// Streams whose responses have not ended.
    pub fn open(&self) -> usize {
        self.streams.len()
    }

    /// Whether a response waits for the client.
    pub fn is_blocked(&self) -> bool {
        self.starved > 0 || self.responding > 0 && self.connection <= 0
    }

    /// Responses that were sent to their end.
    pub fn completed(&self) -> usize {
        self.completed
    }

    /// A frame arrived from the client.
    pub fn received(&mut self, event: FrameEvent) {
        match event {
            FrameEvent::Frame(FrameHead { kind: HEADERS, stream, .. }) if stream > self.last => {
                self.last = stream;
                self.apply_settings();
                if self.streams.len() < MAX_STREAMS && !self.goaway_sent {
                    self.streams.insert(stream, Stream { window: self.initial, response_started: false });
                }
            }
            FrameEvent::Frame(FrameHead { kind: RST_STREAM, stream, .. }) => self.end(stream),
            FrameEvent::Frame(_) | FrameEvent::Reset(_) | FrameEvent::Padding(..) | FrameEvent::Block(_) => {}
            FrameEvent::Setting(INITIAL_WINDOW_SIZE, size) => self.next_initial = i64::from(size),
            FrameEvent::Setting(..) => {}
            FrameEvent::Increment(0, increment) => self.connection += i64::from(increment),
            FrameEvent::Increment(stream, increment) => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.change_window(i64::from(increment), &mut self.starved);
                }
            }
        }
    }

    /// Applies the initial window that the client set last. A change touches all streams, and one frame may contain
    /// many changes.
    pub fn apply_settings(&mut self) {
        let change = self.next_initial - self.initial;
        if change != 0 {
            self.initial = self.next_initial;
            let Windows { streams, starved, .. } = self;
            streams.values_mut().for_each(|stream| stream.change_window(change, starved));
        }
    }

    /// A frame is sent to the client.
    pub fn sent(&mut self, event: FrameEvent) {
        let FrameEvent::Frame(FrameHead { kind, flags, stream: id, length }) = event else {
            return;
        };
        match kind {
            HEADERS => {
                if let Some(stream) = self.streams.get_mut(&id)
                    && !std::mem::replace(&mut stream.response_started, true)
                {
                    self.responding += 1;
                    self.starved += usize::from(stream.window <= 0);
                }
            }
            DATA => {
                let length = i64::try_from(length).unwrap_or_default();
                self.connection -= length;
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.change_window(-length, &mut self.starved);
                }
            }
            RST_STREAM => self.end(id),
            // The library silently ignores streams that are opened after it.
            GOAWAY => self.goaway_sent = true,
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.completed = self.completed.saturating_add(1);
            self.end(id);
        }
    }

    fn end(&mut self, stream: u32) {
        if let Some(stream) = self.streams.remove(&stream) {
            self.responding -= usize::from(stream.response_started);
            self.starved -= usize::from(stream.is_starved());
        }
    }
}

impl Stream {
    fn is_starved(&self) -> bool {
        self.response_started && self.window <= 0
    }

    fn change_window(&mut self, change: i64, starved: &mut usize) {
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

    fn request(windows: &mut Windows, stream: u32) {
        windows.received(head(HEADERS, END_STREAM, stream, 10));
    }

    #[test]
    fn response_is_blocked_by_its_stream_window() {
        let mut windows = Windows::default();
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 100));
        request(&mut windows, 1);
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
    fn response_without_a_window_is_blocked_after_its_head() {
        let mut windows = Windows::default();
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 0));
        request(&mut windows, 1);
        assert!(!windows.is_blocked(), "the provider is waited for");
        windows.sent(head(HEADERS, 0, 1, 20));
        assert!(windows.is_blocked());
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 10));
        windows.apply_settings();
        assert!(!windows.is_blocked(), "settings change the windows of open streams");
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 0));
        windows.apply_settings();
        assert!(windows.is_blocked());
        windows.received(head(RST_STREAM, 0, 1, 4));
        assert!(!windows.is_blocked());
    }

    #[test]
    fn connection_window_blocks_all_responses() {
        let mut windows = Windows::default();
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 1 << 30));
        request(&mut windows, 1);
        windows.sent(head(HEADERS, 0, 1, 20));
        windows.sent(head(DATA, 0, 1, 65_535));
        assert!(windows.is_blocked());
        windows.received(FrameEvent::Increment(0, 65_535));
        assert!(!windows.is_blocked());
        windows.sent(head(DATA, END_STREAM, 1, 65_535));
        assert!(!windows.is_blocked(), "nobody waits");
        request(&mut windows, 3);
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
        request(&mut windows, 1);
        request(&mut windows, 1);
        assert_eq!(windows.open(), 1, "trailers open nothing");
        windows.received(head(RST_STREAM, 0, 1, 4));
        windows.received(head(RST_STREAM, 0, 1, 4));
        assert_eq!((windows.open(), windows.responding, windows.starved), (0, 0, 0));
    }

    #[test]
    fn streams_after_goaway_are_ignored() {
        let mut windows = Windows::default();
        request(&mut windows, 1);
        windows.sent(head(GOAWAY, 0, 0, 8));
        (3..10_003).step_by(2).for_each(|stream| request(&mut windows, stream));
        assert_eq!(windows.open(), 1);
    }

    #[test]
    fn the_last_of_many_settings_counts() {
        let mut windows = Windows::default();
        request(&mut windows, 1);
        windows.sent(head(HEADERS, 0, 1, 20));
        (0..2_730).for_each(|size| windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, size)));
        windows.received(FrameEvent::Setting(INITIAL_WINDOW_SIZE, 0));
        assert!(!windows.is_blocked(), "one frame changes windows once");
        windows.apply_settings();
        assert!(windows.is_blocked());
    }
}
