//! The budget of HTTP/2 frames that cost the gateway work without being part of a useful request.
//!
//! Each kind of frame is counted against what makes it legitimate, never against time alone. A client may send
//! WINDOW_UPDATE for DATA that it received, PING for DATA in either direction (gRPC clients measure the bandwidth so),
//! PRIORITY and unknown frames for streams that it opens, and may cancel as many requests as it got responses. So a
//! download of any size earns what it needs. A free allowance on top recovers slowly, so that a quiet connection can be
//! kept alive indefinitely.

use super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameEvent, FrameHead, HEADERS, PADDED, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::telemetry::DisconnectReason;
use std::time::{Duration, Instant};

/// Free frames of each kind; one recovers per second.
const FREE_FRAMES: u32 = 100;
/// The most cancelled requests that a client can save up.
const MAX_UNANSWERED: u32 = 1000;
/// Stream-related frames that each new stream earns.
const PER_STREAM: u32 = 4;
/// WINDOW_UPDATE frames that each DATA frame earns: one for the stream and one for the connection, and one more per
/// `BYTES_PER_UPDATE` bytes.
const UPDATES_PER_DATA: u32 = 2;
const BYTES_PER_UPDATE: usize = 256;
/// The size below which a DATA frame counts as small. What it lacks is charged as shortfall; larger frames, and DATA
/// and heads in the other direction, give it back, as in conversations and calls. `FREE_SHORTFALL` bytes are free, and
/// `SHORTFALL_PER_SECOND` of them recover per second.
const SMALL_DATA: usize = 32;
const FREE_SHORTFALL: u32 = 300 * SMALL_DATA as u32;
const SHORTFALL_PER_SECOND: u32 = 50 * SMALL_DATA as u32;
/// This many excess fields cost one unit of the allowance for rejected heads.
const FIELDS_PER_REJECTION: usize = 25;
/// Units that a rejected head costs; its response gives one back.
const REJECTION_COST: u32 = 3;

/// Reset codes that do not blame the client.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// How many frames of a kind are left.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// Up to how much recovers with time.
    free: u32,
    reason: DisconnectReason,
}

impl Allowance {
    fn new(reason: DisconnectReason) -> Allowance {
        Allowance::of(FREE_FRAMES, reason)
    }

    fn of(free: u32, reason: DisconnectReason) -> Allowance {
        Allowance { left: free, free, reason }
    }

    fn earn(&mut self, more: u32) {
        self.left = self.left.saturating_add(more);
    }

    /// Spends some of it. Returns the disconnect reason if too little is left.
    fn spend(&mut self, cost: u32) -> Option<DisconnectReason> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                None
            }
            None => Some(self.reason),
        }
    }

    /// Recovers with time, up to the free allowance.
    fn recover(&mut self, more: u32) {
        self.left = self.left.max(self.left.saturating_add(more).min(self.free));
    }
}

/// The frame budget of a connection.
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
    /// Shortfall of small DATA frames, in bytes.
    small: Allowance,
    /// Requests that end without a response.
    unanswered: Allowance,
    heads: Allowance,
    /// The field limit of a head.
    fields: usize,
    /// What the current head has cost so far.
    charged: u32,
    /// Rejected heads charged so far.
    rejected: u32,
}

impl FloodBudget {
    /// For a new connection. `fields` limits the fields of a head.
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
            small: Allowance::of(FREE_SHORTFALL, DisconnectReason::EmptyFrames),
            unanswered: Allowance::new(DisconnectReason::Resets),
            heads: Allowance::new(DisconnectReason::RejectedHeads),
            fields,
            charged: 0,
            rejected: 0,
        }
    }

    /// Recovers the allowances for the time that has passed.
    pub fn tick(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.since).as_secs();
        if elapsed == 0 {
            return;
        }
        self.since += Duration::from_secs(elapsed);
        let elapsed = u32::try_from(elapsed).unwrap_or(u32::MAX);
        self.small.recover(elapsed.saturating_mul(SHORTFALL_PER_SECOND));
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
            allowance.recover(elapsed);
        }
    }

    /// Charges a frame from the client; `opens`: it opens a stream. Returns the disconnect reason if the budget is
    /// exhausted.
    pub fn received(&mut self, event: FrameEvent, opens: bool) -> Option<DisconnectReason> {
        let FrameHead { kind, flags, length, .. } = match event {
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
                    self.empty.earn(PER_STREAM);
                    self.priorities.earn(PER_STREAM);
                    self.unknown.earn(PER_STREAM);
                    self.windows.earn(PER_STREAM);
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
            // The gateway asks for few acknowledgements; all other kinds are rare too.
            _ => self.unknown.spend(1),
        }
    }

    /// Charges a DATA frame with this many bytes of body.
    fn data(&mut self, length: usize, flags: u8) -> Option<DisconnectReason> {
        self.pings.earn(1);
        let shortfall = u32::try_from(SMALL_DATA.saturating_sub(length)).unwrap_or_default();
        match length {
            // A stream ends only once.
            _ if flags & END_STREAM != 0 => None,
            0 => self.empty.spend(1),
            _ if shortfall > 0 => self.small.spend(shortfall),
            _ => {
                self.small.recover(u32::try_from(length - SMALL_DATA).unwrap_or(u32::MAX));
                None
            }
        }
    }

    /// Charges the current head, which has `count` fields so far.
    pub fn head(&mut self, count: usize) -> Option<DisconnectReason> {
        let cost = u32::try_from(count.saturating_sub(self.fields) / FIELDS_PER_REJECTION).unwrap_or(u32::MAX);
        let more = cost.saturating_sub(self.charged);
        self.charged = self.charged.max(cost);
        self.heads.spend(more)
    }

    /// Charges rejected heads; `count` is their total on the connection.
    pub fn rejected(&mut self, count: u32) -> Option<DisconnectReason> {
        let more = count.saturating_sub(self.rejected);
        self.rejected = count;
        self.heads.spend(more.saturating_mul(REJECTION_COST))
    }

    /// Credits a frame sent to the client. Returns the disconnect reason if it is a reset that exceeds the budget.
    pub fn sent(&mut self, event: FrameEvent) -> Option<DisconnectReason> {
        match event {
            FrameEvent::Frame(FrameHead { kind: DATA, length, .. }) => {
                self.pings.earn(1);
                self.small.earn(SMALL_DATA as u32);
                let parts = u32::try_from(length / BYTES_PER_UPDATE).unwrap_or(u32::MAX);
                self.windows.earn(parts.saturating_add(UPDATES_PER_DATA));
                None
            }
            FrameEvent::Frame(FrameHead { kind: HEADERS, .. }) => {
                self.pings.earn(1);
                // Responses without a body count too.
                self.small.earn(SMALL_DATA as u32);
                self.windows.earn(UPDATES_PER_DATA);
                self.unanswered.left = self.unanswered.left.saturating_add(1).min(MAX_UNANSWERED);
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

    /// After how many frames of a kind the connection is disconnected.
    fn frames_until_disconnect(flood: &mut FloodBudget, frame: FrameEvent, reason: DisconnectReason) -> u32 {
        for sent in 0..100_000 {
            if let Some(found) = flood.received(frame, false) {
                assert_eq!(found, reason);
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
    fn hundred_frames_of_each_kind_are_allowed() {
        for (kind, flags, length, reason) in KINDS {
            assert_eq!(
                frames_until_disconnect(&mut flood(), frame(kind, flags, length), reason),
                FREE_FRAMES,
                "{kind}"
            );
        }
        assert_eq!(
            frames_until_disconnect(&mut flood(), frame(DATA, 0, 0), DisconnectReason::EmptyFrames),
            FREE_FRAMES
        );
        let padded = FrameHead { kind: DATA, flags: PADDED, stream: 1, length: 8 };
        assert_eq!(
            frames_until_disconnect(&mut flood(), FrameEvent::Padding(padded, 7), DisconnectReason::EmptyFrames),
            FREE_FRAMES
        );
    }

    #[test]
    fn budget_refills_over_time_up_to_its_limit() {
        for (kind, flags, length, reason) in KINDS {
            let now = Instant::now();
            let mut flood = FloodBudget::new(100, now);
            flood.tick(now + Duration::from_secs(3600));
            assert_eq!(
                frames_until_disconnect(&mut flood, frame(kind, flags, length), reason),
                FREE_FRAMES,
                "{kind}: nothing is saved up"
            );
            flood.tick(now + Duration::from_secs(3600 + 7));
            assert_eq!(frames_until_disconnect(&mut flood, frame(kind, flags, length), reason), 7, "{kind}");
        }
        // Keepalive for a day.
        let now = Instant::now();
        let mut flood = FloodBudget::new(100, now);
        for second in 0..86_400 {
            flood.tick(now + Duration::from_secs(second));
            assert_eq!(flood.received(frame(PING, 0, 8), false), None);
        }
    }

    #[test]
    fn small_data_frames_are_limited() {
        for (length, most) in [(1, 309), (15, 564), (31, 9600)] {
            let small = frame(DATA, 0, length);
            assert_eq!(frames_until_disconnect(&mut flood(), small, DisconnectReason::EmptyFrames), most, "{length}");
            // Neither large frames nor time save anything up.
            let now = Instant::now();
            let mut saving = FloodBudget::new(100, now);
            (0..1000).for_each(|_| assert_eq!(saving.received(frame(DATA, 0, 16_384), false), None));
            saving.tick(now + Duration::from_secs(3600));
            assert_eq!(frames_until_disconnect(&mut saving, small, DisconnectReason::EmptyFrames), most, "{length}");
        }
        let padded = FrameHead { kind: DATA, flags: PADDED, stream: 1, length: 200 };
        assert_eq!(
            frames_until_disconnect(&mut flood(), FrameEvent::Padding(padded, 198), DisconnectReason::EmptyFrames),
            309,
            "padding is nothing"
        );
    }

    #[test]
    fn large_frames_and_responses_allow_small_frames() {
        let small = frame(DATA, 0, 5);
        // Bodies of any size; some clients split them into a small and a large part.
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
        // Calls whose small message does not end the stream, answered by headers alone.
        let mut calls = flood();
        for turn in 0..100_000 {
            calls.received(frame(HEADERS, END_HEADERS, 20), true);
            assert_eq!(calls.received(small, false), None, "{turn}");
            assert_eq!(calls.received(frame(DATA, END_STREAM, 0), false), None);
            assert_eq!(calls.sent(frame(HEADERS, END_HEADERS | END_STREAM, 20)), None);
        }
        // A slow upload without any response data.
        let now = Instant::now();
        let mut slow = FloodBudget::new(100, now);
        for turn in 0..100_000 {
            slow.tick(now + Duration::from_millis(turn * 20));
            assert_eq!(slow.received(small, false), None, "{turn}");
        }
        // Bodies of one byte each.
        let mut many = flood();
        for _ in 0..10_000 {
            many.received(frame(HEADERS, END_HEADERS, 20), true);
            assert_eq!(many.received(frame(DATA, END_STREAM, 1), false), None);
        }
    }

    /// Downloads continue whatever the client's window size and update frequency.
    #[test]
    fn downloads_allow_window_updates() {
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
        // All updates at the end.
        let mut flood = flood();
        (0..70_000).for_each(|_| assert_eq!(flood.sent(frame(DATA, 0, 16_384)), None));
        assert!((0..140_000).all(|_| flood.received(update, false).is_none()));
    }

    /// gRPC clients send a PING for DATA in either direction, and some of their own.
    #[test]
    fn streams_allow_pings() {
        let mut flood = flood();
        for _ in 0..10_000 {
            flood.sent(frame(DATA, 0, 10));
            assert_eq!(flood.received(frame(PING, 0, 8), false), None);
            assert_eq!(flood.received(frame(DATA, 0, 10), false), None);
            assert_eq!(flood.received(frame(PING, 0, 8), false), None);
        }
    }

    #[test]
    fn streams_allow_their_control_frames() {
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
        // Trailers open no stream.
        for _ in 0..1000 {
            flood.received(frame(HEADERS, END_HEADERS, 20), false);
        }
        assert_eq!(
            frames_until_disconnect(&mut flood, frame(PRIORITY, 0, 5), DisconnectReason::Priorities),
            FREE_FRAMES
        );
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
            (0..1000).find_map(|at| reset(&mut fresh).map(|reason| (at, reason))),
            Some((100, DisconnectReason::Resets))
        );
        // The gateway resets them itself.
        let mut faulty = flood();
        let sent = (0..1000).find_map(|at| faulty.sent(FrameEvent::Reset(1)).map(|reason| (at, reason)));
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
            (0..5000).find_map(|at| reset(&mut good).map(|reason| (at, reason))),
            Some((1000, DisconnectReason::Resets))
        );
    }

    #[test]
    fn heads_that_are_too_large_are_counted_by_their_size() {
        let mut flood = flood();
        let mut head = |count: usize| {
            flood.received(frame(HEADERS, END_HEADERS, 20), true);
            // In any number of parts.
            (1..=count).find_map(|count| flood.head(count))
        };
        assert!((0..1000).all(|_| head(100).is_none()), "as many as there may be");
        assert_eq!(head(2599), None);
        assert_eq!(head(150), Some(DisconnectReason::RejectedHeads));
        let mut flood = super::tests::flood();
        flood.received(frame(HEADERS, 0, 20), true);
        assert_eq!(flood.head(3000), Some(DisconnectReason::RejectedHeads), "before it is whole");
        // Responses give some back.
        let mut flood = super::tests::flood();
        assert_eq!(
            (1..100).find_map(|count| flood.rejected(count).map(|reason| (count, reason))),
            Some((34, DisconnectReason::RejectedHeads))
        );
        let mut flood = super::tests::flood();
        for count in 1..100 {
            assert_eq!(flood.rejected(count), None);
            (0..3).for_each(|_| assert_eq!(flood.sent(frame(HEADERS, END_HEADERS, 20)), None));
        }
    }
}
