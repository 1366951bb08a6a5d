//! Frames of HTTP/2 as they pass: what a client makes the gateway do without asking for anything.
//!
//! The library answers each PING and each SETTINGS frame, and takes any PRIORITY frame, however many there are. Nobody needs many
//! of them beside requests: clients of gRPC send a PING for bytes that came, to measure the way.

use crate::gateway::Cut;
use std::time::{Duration, Instant};

/// How a client begins to speak HTTP/2 (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes before a frame's payload: its length in 24 bits, its type, its flags, its stream.
const HEAD: usize = 9;
/// Over how long frames are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How many PING, SETTINGS and PRIORITY frames each there may be in a window, beside one for each frame of a request or an answer.
const FREE: u32 = 100;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
/// Of PING and SETTINGS.
const ACK: u8 = 1;
/// Of HEADERS and CONTINUATION.
const END_HEADERS: u8 = 4;

/// Where one direction of a connection stands.
#[derive(Debug, Default)]
struct Cursor {
    head: [u8; HEAD],
    filled: usize,
    /// How much of the payload is to come.
    left: usize,
}

impl Cursor {
    /// Goes over bytes, and shows the type and the flags of each frame whose payload begins in them.
    fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(u8, u8)) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = (HEAD - self.filled).min(bytes.len());
            let (taken, rest) = bytes.split_at(wanted);
            self.head.iter_mut().skip(self.filled).zip(taken).for_each(|(to, from)| *to = *from);
            self.filled += wanted;
            bytes = rest;
            if self.filled == HEAD {
                let [a, b, c, kind, flags, ..] = self.head;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.filled = 0;
                seen(kind, flags);
            }
        }
    }

    fn is_between_frames(&self) -> bool {
        self.left == 0 && self.filled == 0
    }
}

/// The frames of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    inbound: Cursor,
    outbound: Cursor,
    /// How much of the client's preface is to come.
    preface: usize,
    counts: Counts,
    since: Instant,
    /// Since when a head is being sent that is not whole.
    head_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    useful: u32,
    pings: u32,
    settings: u32,
    priorities: u32,
}

impl Counts {
    fn verdict(&self) -> Option<Cut> {
        let allowed = FREE.saturating_add(self.useful);
        if self.pings > allowed {
            Some(Cut::Pings)
        } else if self.settings > allowed {
            Some(Cut::Settings)
        } else if self.priorities > allowed {
            Some(Cut::Priorities)
        } else {
            None
        }
    }
}

impl Frames {
    /// Those of a connection that begins with the client's preface.
    pub fn new(now: Instant) -> Frames {
        Frames {
            inbound: Cursor::default(),
            outbound: Cursor::default(),
            preface: PREFACE.len(),
            counts: Counts::default(),
            since: now,
            head_since: None,
        }
    }

    /// Bytes came from the client. Says what is too much, where something is.
    pub fn received(&mut self, bytes: &[u8], now: Instant) -> Option<Cut> {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        if now.duration_since(self.since) >= WINDOW {
            self.counts = Counts::default();
            self.since = now;
        }
        let (counts, head_since) = (&mut self.counts, &mut self.head_since);
        self.inbound.pass(bytes.get(preface..).unwrap_or_default(), |kind, flags| match kind {
            PING if flags & ACK == 0 => counts.pings += 1,
            SETTINGS if flags & ACK == 0 => counts.settings += 1,
            PRIORITY => counts.priorities += 1,
            HEADERS | CONTINUATION => {
                counts.useful += u32::from(kind == HEADERS);
                *head_since = if flags & END_HEADERS == 0 { head_since.or(Some(now)) } else { None };
            }
            DATA => counts.useful += 1,
            _ => {}
        });
        self.counts.verdict()
    }

    /// Bytes go to the client.
    pub fn sent(&mut self, bytes: &[u8]) {
        let counts = &mut self.counts;
        self.outbound.pass(bytes, |kind, _| counts.useful += u32::from(kind == DATA || kind == HEADERS));
    }

    /// Since when a head is being sent that is not whole.
    pub fn head_since(&self) -> Option<Instant> {
        self.head_since
    }

    /// The frame that tells the client to come back more calmly; none where another frame is being sent.
    pub fn goaway(&self) -> Option<[u8; HEAD + 8]> {
        const GOAWAY: u8 = 7;
        const ENHANCE_YOUR_CALM: u8 = 11;
        let frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, ENHANCE_YOUR_CALM];
        self.outbound.is_between_frames().then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload).unwrap(), kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + payload, 0);
        frame
    }

    fn connection(now: Instant) -> Frames {
        let mut frames = Frames::new(now);
        assert_eq!(frames.received(PREFACE, now), None);
        frames
    }

    #[test]
    fn a_hundred_control_frames_are_free_and_one_more_is_too_much() {
        for (kind, cut) in [(PING, Cut::Pings), (SETTINGS, Cut::Settings), (PRIORITY, Cut::Priorities)] {
            let now = Instant::now();
            let mut frames = connection(now);
            for _ in 0..FREE {
                assert_eq!(frames.received(&frame(kind, 0, 8), now), None);
            }
            assert_eq!(frames.received(&frame(kind, 0, 8), now), Some(cut));
        }
    }

    #[test]
    fn requests_and_answers_allow_more_and_windows_end() {
        let now = Instant::now();
        let mut frames = connection(now);
        frames.sent(&frame(HEADERS, END_HEADERS, 20));
        frames.sent(&frame(DATA, 1, 100));
        assert_eq!(frames.received(&frame(HEADERS, END_HEADERS, 3), now), None);
        for _ in 0..FREE + 3 {
            assert_eq!(frames.received(&frame(PING, 0, 8), now), None);
        }
        assert_eq!(frames.received(&frame(PING, ACK, 8), now), None, "answers to our own are not counted");
        assert_eq!(frames.received(&frame(PING, 0, 8), now), Some(Cut::Pings));
        assert_eq!(frames.received(&frame(PING, 0, 8), now + WINDOW), None);
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let now = Instant::now();
        let whole: Vec<u8> =
            (0..FREE + 1).flat_map(|at| [frame(PING, 0, 8), frame(8, 0, at as usize % 20)].concat()).collect();
        for size in 1..30 {
            let mut frames = connection(now);
            let verdicts: Vec<Option<Cut>> = whole.chunks(size).map(|part| frames.received(part, now)).collect();
            assert!(verdicts.contains(&Some(Cut::Pings)), "{size}");
            assert!(verdicts.iter().flatten().count() <= 60 / size + 1, "{size}: only at the end");
        }
    }

    #[test]
    fn a_head_is_open_until_its_last_frame_and_goaway_waits_for_the_end_of_a_frame() {
        let now = Instant::now();
        let mut frames = connection(now);
        frames.received(&frame(HEADERS, 0, 5), now);
        assert_eq!(frames.head_since(), Some(now));
        frames.received(&frame(CONTINUATION, END_HEADERS, 5), now);
        assert_eq!(frames.head_since(), None);
        assert!(frames.goaway().is_some());
        frames.sent(&frame(DATA, 0, 5)[..HEAD + 2]);
        assert!(frames.goaway().is_none());
        frames.sent(&[0; 3]);
        assert!(frames.goaway().is_some());
    }
}
