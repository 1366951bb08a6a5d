//! What a client makes the gateway do without getting anything for it, frame by frame.
//!
//! Each kind of frame is counted against what makes it legitimate, never against time alone: a client may send
//! WINDOW_UPDATE for DATA that it got, PING for DATA in either direction (which is how clients of gRPC measure the
//! way), PRIORITY and unknown frames for streams that it opens, and it may take back as many requests as were answered.
//! A download of any size earns what it needs. What is free besides comes back slowly, so that a quiet connection may
//! be kept alive for ever.

use super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameEvent, FrameHead, HEADERS, PADDED, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::telemetry::DisconnectReason;
use std::time::{Duration, Instant};

/// How many of each kind are free; one of them comes back in each second.
const FREE: u32 = 100;
/// How much a client may save up for taking requests back.
const SAVED: u32 = 1000;
/// What a stream allows of frames that belong to streams.
const OF_STREAM: u32 = 4;
/// What DATA allows of WINDOW_UPDATE: one for the stream and one for the connection, and more where it is large and
/// comes in parts.
const OF_DATA: u32 = 2;
const PART: usize = 256;
/// How many bytes a frame of DATA should have: of smaller ones it counts what they lack, larger ones make up for it,
/// and so do DATA and heads in the other direction, as conversations and calls have them. This much is free, and this
/// much of it comes back in each second.
const SMALL: usize = 32;
const LACKS: u32 = 300 * SMALL as u32;
const LACKS_AGAIN: u32 = 50 * SMALL as u32;
/// So many fields too many count as one head that was rejected.
const FIELDS: usize = 25;
/// What a head costs that was rejected: its response gives one back.
const REJECTED: u32 = 3;

/// Codes of resets that say that the client did nothing wrong.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// How many frames of a kind there may be.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// How much of it comes back by itself.
    free: u32,
    cut: DisconnectReason,
}

impl Allowance {
    fn new(cut: DisconnectReason) -> Allowance {
        Allowance::of(FREE, cut)
    }

    fn of(free: u32, cut: DisconnectReason) -> Allowance {
        Allowance { left: free, free, cut }
    }

    fn earn(&mut self, more: u32) {
        self.left = self.left.saturating_add(more);
    }

    /// Takes some of it. Says why the connection is cut off where there is not enough.
    fn spend(&mut self, cost: u32) -> Option<DisconnectReason> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                None
            }
            None => Some(self.cut),
        }
    }

    /// Time went by.
    fn recover(&mut self, more: u32) {
        self.left = self.left.max(self.left.saturating_add(more).min(self.free));
    }
}

/// What a connection may still do.
#[derive(Debug)]
pub(super) struct FloodBudget {
    since: Instant,
    pings: Allowance,
    settings: Allowance,
    priorities: Allowance,
    unknown: Allowance,
    windows: Allowance,
    resets: Allowance,
    empty: Allowance,
    /// What frames of DATA may lack, in bytes.
    small: Allowance,
    /// Requests that end without a response.
    unanswered: Allowance,
    heads: Allowance,
    /// The most fields of a head.
    fields: usize,
    /// What the head that is coming has cost.
    charged: u32,
    /// How many heads were rejected.
    rejected: u32,
}

impl FloodBudget {
    /// A connection whose heads may have so many fields.
    pub fn new(fields: usize, now: Instant) -> FloodBudget {
        FloodBudget {
            since: now,
            pings: Allowance::new(DisconnectReason::Pings),
            settings: Allowance::new(DisconnectReason::Settings),
            priorities: Allowance::new(DisconnectReason::Priorities),
            unknown: Allowance::new(DisconnectReason::UnknownFrames),
            windows: Allowance::new(DisconnectReason::WindowUpdates),
            resets: Allowance::new(DisconnectReason::Resets),
            empty: Allowance::new(DisconnectReason::EmptyFrames),
            small: Allowance::of(LACKS, DisconnectReason::EmptyFrames),
            unanswered: Allowance::new(DisconnectReason::Resets),
            heads: Allowance::new(DisconnectReason::RejectedHeads),
            fields,
            charged: 0,
            rejected: 0,
        }
    }

    /// Lets come back what does so with time.
    pub fn tick(&mut self, now: Instant) {
        let gone = now.duration_since(self.since).as_secs();
        if gone == 0 {
            return;
        }
        self.since += Duration::from_secs(gone);
        let gone = u32::try_from(gone).unwrap_or(u32::MAX);
        self.small.recover(gone.saturating_mul(LACKS_AGAIN));
        for allowance in [
            &mut self.pings,
            &mut self.settings,
            &mut self.priorities,
            &mut self.unknown,
            &mut self.windows,
            &mut self.resets,
            &mut self.empty,
            &mut self.unanswered,
            &mut self.heads,
        ] {
            allowance.recover(gone);
        }
    }

    /// A frame comes from the client; `opens` where a stream begins with it. Says why it is one too many, where it is.
    pub fn received(&mut self, seen: FrameEvent, opens: bool) -> Option<DisconnectReason> {
        let FrameHead { kind, flags, length, .. } = match seen {
            FrameEvent::Frame(head) => head,
            FrameEvent::Padding(head, padding) => {
                return self.data(head.length.saturating_sub(padding + 1), head.flags);
            }
            FrameEvent::Setting(..) | FrameEvent::Increment(..) | FrameEvent::Reset(_) | FrameEvent::Block(_) => {
                return None;
            }
        };
        match kind {
            DATA if flags & PADDED != 0 => None,
            DATA => self.data(length, flags),
            HEADERS => {
                self.charged = 0;
                self.pings.earn(1);
                if opens {
                    self.settings.earn(1);
                    self.resets.earn(1);
                    self.empty.earn(OF_STREAM);
                    self.priorities.earn(OF_STREAM);
                    self.unknown.earn(OF_STREAM);
                    self.windows.earn(OF_STREAM);
                }
                None
            }
            CONTINUATION if length == 0 && flags & END_HEADERS == 0 => self.empty.spend(1),
            CONTINUATION => None,
            PING if flags & ACK == 0 => self.pings.spend(1),
            SETTINGS if flags & ACK == 0 => self.settings.spend(1),
            PRIORITY => self.priorities.spend(1),
            RST_STREAM => self.resets.spend(1).or_else(|| self.unanswered.spend(1)),
            WINDOW_UPDATE => self.windows.spend(1),
            // Acknowledgements are few, since the gateway asks for few, and so are the rest that the library takes.
            _ => self.unknown.spend(1),
        }
    }

    /// DATA with so many bytes of a body.
    fn data(&mut self, length: usize, flags: u8) -> Option<DisconnectReason> {
        self.pings.earn(1);
        let lacks = u32::try_from(SMALL.saturating_sub(length)).unwrap_or_default();
        match length {
            // Each stream ends once.
            _ if flags & END_STREAM != 0 => None,
            0 => self.empty.spend(1),
            _ if lacks > 0 => self.small.spend(lacks),
            _ => {
                self.small.recover(u32::try_from(length - SMALL).unwrap_or(u32::MAX));
                None
            }
        }
    }

    /// The head that is coming has so many fields so far.
    pub fn head(&mut self, count: usize) -> Option<DisconnectReason> {
        let cost = u32::try_from(count.saturating_sub(self.fields) / FIELDS).unwrap_or(u32::MAX);
        let more = cost.saturating_sub(self.charged);
        self.charged = self.charged.max(cost);
        self.heads.spend(more)
    }

    /// So many heads were rejected since the connection began.
    pub fn rejected(&mut self, count: u32) -> Option<DisconnectReason> {
        let more = count.saturating_sub(self.rejected);
        self.rejected = count;
        self.heads.spend(more.saturating_mul(REJECTED))
    }

    /// A frame goes to the client. Says why it was one too many, where it was the client's fault.
    pub fn sent(&mut self, seen: FrameEvent) -> Option<DisconnectReason> {
        match seen {
            FrameEvent::Frame(FrameHead { kind: DATA, length, .. }) => {
                self.pings.earn(1);
                self.small.earn(SMALL as u32);
                let parts = u32::try_from(length / PART).unwrap_or(u32::MAX);
                self.windows.earn(parts.saturating_add(OF_DATA));
                None
            }
            FrameEvent::Frame(FrameHead { kind: HEADERS, .. }) => {
                self.pings.earn(1);
                // Answers without a body are answers, too.
                self.small.earn(SMALL as u32);
                self.windows.earn(OF_DATA);
                self.unanswered.left = self.unanswered.left.saturating_add(1).min(SAVED);
                self.heads.recover(1);
                None
            }
            FrameEvent::Reset(NO_ERROR | INTERNAL_ERROR | CANCEL) => None,
            FrameEvent::Reset(_) => self.unanswered.spend(1),
            FrameEvent::Frame(_)
            | FrameEvent::Padding(..)
            | FrameEvent::Setting(..)
            | FrameEvent::Increment(..)
            | FrameEvent::Block(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> FrameEvent<'static> {
        FrameEvent::Frame(FrameHead { kind, flags, stream: 1, length })
    }

    fn flood() -> FloodBudget {
        FloodBudget::new(100, Instant::now())
    }

    /// After how many frames of a kind a connection is cut off that does nothing else.
    fn lasts(flood: &mut FloodBudget, frame: FrameEvent, cut: DisconnectReason) -> u32 {
        for sent in 0..100_000 {
            if let Some(found) = flood.received(frame, false) {
                assert_eq!(found, cut);
                return sent;
            }
        }
        panic!("{frame:?} is never too much");
    }

    const KINDS: [(u8, u8, usize, DisconnectReason); 11] = [
        (PING, 0, 8, DisconnectReason::Pings),
        (PING, ACK, 8, DisconnectReason::UnknownFrames),
        (SETTINGS, 0, 6, DisconnectReason::Settings),
        (SETTINGS, ACK, 0, DisconnectReason::UnknownFrames),
        (PRIORITY, 0, 5, DisconnectReason::Priorities),
        (WINDOW_UPDATE, 0, 4, DisconnectReason::WindowUpdates),
        (RST_STREAM, 0, 4, DisconnectReason::Resets),
        (7, 0, 8, DisconnectReason::UnknownFrames),
        (0x10, 0, 9, DisconnectReason::UnknownFrames),
        (0xfa, 0, 0, DisconnectReason::UnknownFrames),
        (CONTINUATION, 0, 0, DisconnectReason::EmptyFrames),
    ];

    #[test]
    fn a_hundred_of_each_kind_are_free_and_one_more_is_too_much() {
        for (kind, flags, length, cut) in KINDS {
            assert_eq!(lasts(&mut flood(), frame(kind, flags, length), cut), FREE, "{kind}");
        }
        assert_eq!(lasts(&mut flood(), frame(DATA, 0, 0), DisconnectReason::EmptyFrames), FREE);
        let padded = FrameHead { kind: DATA, flags: PADDED, stream: 1, length: 8 };
        assert_eq!(lasts(&mut flood(), FrameEvent::Padding(padded, 7), DisconnectReason::EmptyFrames), FREE);
    }

    #[test]
    fn time_gives_back_what_is_free_and_no_more() {
        for (kind, flags, length, cut) in KINDS {
            let now = Instant::now();
            let mut flood = FloodBudget::new(100, now);
            flood.tick(now + Duration::from_secs(3600));
            assert_eq!(lasts(&mut flood, frame(kind, flags, length), cut), FREE, "{kind}: nothing is saved up");
            flood.tick(now + Duration::from_secs(3600 + 7));
            assert_eq!(lasts(&mut flood, frame(kind, flags, length), cut), 7, "{kind}");
        }
        // Kept alive for a day.
        let now = Instant::now();
        let mut flood = FloodBudget::new(100, now);
        for second in 0..86_400 {
            flood.tick(now + Duration::from_secs(second));
            assert_eq!(flood.received(frame(PING, 0, 8), false), None);
        }
    }

    #[test]
    fn a_flood_of_small_parts_of_a_body_is_too_much() {
        for (length, most) in [(1, 309), (15, 564), (31, 9600)] {
            let small = frame(DATA, 0, length);
            assert_eq!(lasts(&mut flood(), small, DisconnectReason::EmptyFrames), most, "{length}");
            // Nothing is saved up, neither by large frames nor over time.
            let now = Instant::now();
            let mut saving = FloodBudget::new(100, now);
            (0..1000).for_each(|_| assert_eq!(saving.received(frame(DATA, 0, 16_384), false), None));
            saving.tick(now + Duration::from_secs(3600));
            assert_eq!(lasts(&mut saving, small, DisconnectReason::EmptyFrames), most, "{length}");
        }
        let padded = FrameHead { kind: DATA, flags: PADDED, stream: 1, length: 200 };
        assert_eq!(
            lasts(&mut flood(), FrameEvent::Padding(padded, 198), DisconnectReason::EmptyFrames),
            309,
            "padding is nothing"
        );
    }

    #[test]
    fn small_parts_are_earned_by_large_ones_and_by_what_is_answered() {
        let small = frame(DATA, 0, 5);
        // Bodies of any size, which some clients cut into a small part and a large one.
        let mut upload = flood();
        for _ in 0..100_000 {
            assert_eq!(upload.received(small, false), None);
            assert_eq!(upload.received(frame(DATA, 0, 64), false), None);
        }
        // A conversation of small messages, one for one.
        let mut conversation = flood();
        for _ in 0..100_000 {
            assert_eq!(conversation.received(small, false), None);
            assert_eq!(conversation.sent(frame(DATA, 0, 5)), None);
        }
        // Calls whose small message is not the end of the stream, answered with a head alone.
        let mut calls = flood();
        for turn in 0..100_000 {
            calls.received(frame(HEADERS, END_HEADERS, 20), true);
            assert_eq!(calls.received(small, false), None, "{turn}");
            assert_eq!(calls.received(frame(DATA, END_STREAM, 0), false), None);
            assert_eq!(calls.sent(frame(HEADERS, END_HEADERS | END_STREAM, 20)), None);
        }
        // One whose other side says nothing, and that is slow.
        let now = Instant::now();
        let mut slow = FloodBudget::new(100, now);
        for turn in 0..100_000 {
            slow.tick(now + Duration::from_millis(turn * 20));
            assert_eq!(slow.received(small, false), None, "{turn}");
        }
        // Bodies that are one byte each.
        let mut many = flood();
        for _ in 0..10_000 {
            many.received(frame(HEADERS, END_HEADERS, 20), true);
            assert_eq!(many.received(frame(DATA, END_STREAM, 1), false), None);
        }
    }

    /// Whatever windows a client has, and however often it says so, its downloads go on.
    #[test]
    fn a_download_earns_its_window_updates() {
        let update = frame(WINDOW_UPDATE, 0, 4);
        for (size, updates) in [(16_384, 2), (16_384, 60), (1024, 4), (100, 2), (1, 2)] {
            let mut flood = flood();
            for _ in 0..70_000 {
                assert_eq!(flood.sent(frame(DATA, 0, size)), None);
                for _ in 0..updates {
                    assert_eq!(flood.received(update, false), None, "{size}: {updates}");
                }
            }
        }
        // All of them at the end.
        let mut flood = flood();
        (0..70_000).for_each(|_| assert_eq!(flood.sent(frame(DATA, 0, 16_384)), None));
        assert!((0..140_000).all(|_| flood.received(update, false).is_none()));
    }

    /// Clients of gRPC send a PING for DATA that came, in either direction, and some for their own.
    #[test]
    fn a_stream_earns_its_pings() {
        let mut flood = flood();
        for _ in 0..10_000 {
            flood.sent(frame(DATA, 0, 10));
            assert_eq!(flood.received(frame(PING, 0, 8), false), None);
            assert_eq!(flood.received(frame(DATA, 0, 10), false), None);
            assert_eq!(flood.received(frame(PING, 0, 8), false), None);
        }
    }

    #[test]
    fn a_stream_earns_what_belongs_to_streams() {
        let mut flood = flood();
        for _ in 0..10_000 {
            flood.received(frame(HEADERS, END_HEADERS, 20), true);
            flood.sent(frame(HEADERS, END_HEADERS, 20));
            for kind in [PRIORITY, 0x10, WINDOW_UPDATE] {
                assert!((0..4).all(|_| flood.received(frame(kind, 0, 5), false).is_none()), "{kind}");
            }
            assert_eq!(
                flood.received(frame(RST_STREAM, 0, 4), false),
                None,
                "a stream may be ended when it was answered"
            );
        }
        // Trailers open none.
        for _ in 0..1000 {
            flood.received(frame(HEADERS, END_HEADERS, 20), false);
        }
        assert_eq!(lasts(&mut flood, frame(PRIORITY, 0, 5), DisconnectReason::Priorities), FREE);
    }

    #[test]
    fn requests_without_a_response_are_counted_against_those_with_one() {
        let reset = |flood: &mut FloodBudget| {
            flood
                .received(frame(HEADERS, END_HEADERS, 20), true)
                .or_else(|| flood.received(frame(RST_STREAM, 0, 4), false))
        };
        let mut fresh = flood();
        assert_eq!(
            (0..1000).find_map(|at| reset(&mut fresh).map(|cut| (at, cut))),
            Some((100, DisconnectReason::Resets))
        );
        // The gateway may have to reset them itself.
        let mut faulty = flood();
        let sent = (0..1000).find_map(|at| faulty.sent(FrameEvent::Reset(1)).map(|cut| (at, cut)));
        assert_eq!(sent, Some((100, DisconnectReason::Resets)));
        let mut broken = flood();
        for code in [NO_ERROR, INTERNAL_ERROR, CANCEL] {
            assert!(
                (0..1000).all(|_| broken.sent(FrameEvent::Reset(code)).is_none()),
                "not the client's fault: {code}"
            );
        }
        let mut good = flood();
        (0..5000).for_each(|_| assert_eq!(good.sent(frame(HEADERS, END_HEADERS, 20)), None));
        assert_eq!(
            (0..5000).find_map(|at| reset(&mut good).map(|cut| (at, cut))),
            Some((1000, DisconnectReason::Resets))
        );
    }

    #[test]
    fn heads_that_are_too_large_are_counted_by_their_size() {
        let mut flood = flood();
        let mut head = |count: usize| {
            flood.received(frame(HEADERS, END_HEADERS, 20), true);
            // However it comes.
            (1..=count).find_map(|count| flood.head(count))
        };
        assert!((0..1000).all(|_| head(100).is_none()), "as many as there may be");
        assert_eq!(head(2599), None);
        assert_eq!(head(150), Some(DisconnectReason::RejectedHeads));
        let mut flood = super::tests::flood();
        flood.received(frame(HEADERS, 0, 20), true);
        assert_eq!(flood.head(3000), Some(DisconnectReason::RejectedHeads), "before it is whole");
        // Answers give some back.
        let mut flood = super::tests::flood();
        assert_eq!(
            (1..100).find_map(|count| flood.rejected(count).map(|cut| (count, cut))),
            Some((34, DisconnectReason::RejectedHeads))
        );
        let mut flood = super::tests::flood();
        for count in 1..100 {
            assert_eq!(flood.rejected(count), None);
            (0..3).for_each(|_| assert_eq!(flood.sent(frame(HEADERS, END_HEADERS, 20)), None));
        }
    }
}
