//! Watches the frames of an HTTP/2 connection and disconnects clients that cause work without making requests.
//!
//! The library answers every PING and SETTINGS frame and accepts any number of other frames. [`super::flood_budget`]
//! limits them; [`super::hpack_heads`] counts the fields of heads.

use super::flood_budget::FloodBudget;
use super::frame::{
    CONTINUATION, DATA, END_HEADERS, FRAME_HEAD_LENGTH, FrameEvent, FrameHead, FrameParser, GOAWAY, HEADERS, PREFACE,
};
use super::hpack_heads::FieldCounter;
use super::resets::RejectedStreams;
use super::uploads::{OpenBodies, Uploads};
use super::windows::Windows;
use crate::telemetry::DisconnectReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The flood guard of a connection.
#[derive(Debug)]
pub(super) struct FloodGuard {
    inbound: FrameParser,
    outbound: FrameParser,
    /// Bytes of the client's preface that have not arrived.
    preface: usize,
    budget: FloodBudget,
    fields: FieldCounter,
    /// Heads that the gateway has rejected.
    rejected: Arc<AtomicU32>,
    /// Why to disconnect the client, if there is a reason.
    disconnect_reason: Option<DisconnectReason>,
    /// Arrival of the first frame of a head that is incomplete.
    head_started: Option<Instant>,
    windows: Windows,
    uploads: Arc<Uploads>,
    resets: RejectedStreams,
}

impl FloodGuard {
    /// For a connection that begins with the client's preface. `fields` limits the fields of a head. The counters are
    /// the connection's requests and its rejected heads.
    pub fn new(
        now: Instant,
        fields: usize,
        (requests, rejected): (Arc<AtomicU32>, Arc<AtomicU32>),
        uploads: Arc<Uploads>,
    ) -> FloodGuard {
        FloodGuard {
            inbound: FrameParser::default(),
            outbound: FrameParser::default(),
            preface: PREFACE.len(),
            budget: FloodBudget::new(fields, now),
            fields: FieldCounter::new(),
            rejected,
            disconnect_reason: None,
            head_started: None,
            windows: Windows::default(),
            uploads,
            resets: RejectedStreams::new(requests),
        }
    }

    /// The client's flow-control windows.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Inspects bytes from the client. Returns the disconnect reason if there is one.
    pub fn received(&mut self, bytes: &[u8], now: Instant) -> Option<DisconnectReason> {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        let FloodGuard { inbound, budget, fields, head_started, disconnect_reason, windows, uploads, resets, .. } =
            self;
        budget.tick(now);
        *disconnect_reason = disconnect_reason.or_else(|| budget.rejected(self.rejected.load(Ordering::Relaxed)));
        let mut see = |event, bodies: &mut OpenBodies| {
            windows.received(event);
            let mut opens = false;
            let reason = match event {
                FrameEvent::Frame(FrameHead { kind: kind @ (HEADERS | CONTINUATION), flags, stream, length }) => {
                    *head_started = if flags & END_HEADERS == 0 { head_started.or(Some(now)) } else { None };
                    opens = fields.frame(kind, flags, stream, length);
                    if opens {
                        resets.opened(stream);
                    }
                    budget.received(event, opens)
                }
                FrameEvent::Block(part) => {
                    fields.payload(part);
                    if fields.is_malformed() { Some(DisconnectReason::Malformed) } else { budget.head(fields.count()) }
                }
                _ => budget.received(event, false),
            };
            bodies.received(event, opens, now);
            *disconnect_reason = disconnect_reason.or(reason);
        };
        uploads
            .with_bodies(|bodies| inbound.parse(bytes.get(preface..).unwrap_or_default(), |event| see(event, bodies)));
        self.windows.apply_settings();
        self.disconnect_reason
    }

    /// Inspects bytes sent to the client. Returns how many of them are response data.
    pub fn sent(&mut self, bytes: &[u8], now: Instant) -> usize {
        let FloodGuard { outbound, budget, disconnect_reason, windows, uploads, resets, .. } = self;
        let mut taken = 0;
        let mut see = |event, bodies: &mut OpenBodies| {
            windows.sent(event);
            resets.sent(event);
            bodies.sent(event, now);
            if let FrameEvent::Frame(FrameHead { kind: DATA, length, .. }) = event {
                taken += length;
            }
            *disconnect_reason = disconnect_reason.or(budget.sent(event));
        };
        uploads.with_bodies(|bodies| outbound.parse(bytes, |event| see(event, bodies)));
        taken
    }

    /// Takes the streams, with reset codes, that were reset before they became requests.
    pub fn take_resets(&mut self) -> Vec<(u32, u32)> {
        self.resets.take()
    }

    /// Why to disconnect the client, if there is a reason.
    pub fn disconnect_reason(&self) -> Option<DisconnectReason> {
        self.disconnect_reason
    }

    /// Arrival of the first frame of a head that is incomplete.
    pub fn head_started(&self) -> Option<Instant> {
        self.head_started
    }

    /// The GOAWAY frame with the reason; `None` while another frame is being sent.
    pub fn goaway(&self, reason: DisconnectReason) -> Option<[u8; FRAME_HEAD_LENGTH + 8]> {
        const PROTOCOL_ERROR: u8 = 1;
        const ENHANCE_YOUR_CALM: u8 = 11;
        let code = if reason == DisconnectReason::Malformed { PROTOCOL_ERROR } else { ENHANCE_YOUR_CALM };
        let frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, code];
        self.outbound.is_between_frames().then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::frame::{ACK, PADDED, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE};
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload).unwrap(), kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEAD_LENGTH + payload, 0);
        frame
    }

    fn connection(now: Instant) -> FloodGuard {
        let mut frames = FloodGuard::new(now, 100, Default::default(), Arc::default());
        assert_eq!(frames.received(PREFACE, now), None);
        frames
    }

    #[test]
    fn frames_are_found_in_any_fragmentation() {
        let now = Instant::now();
        let whole: Vec<u8> =
            (0..101).flat_map(|at| [frame(PING, 0, 8), frame(PING, ACK, 8), frame(9, 4, at % 20)].concat()).collect();
        let whole: Vec<u8> = [whole, frame(PING, 0, 8)].concat();
        for size in 1..30 {
            let mut frames = FloodGuard::new(now, 10_000, Default::default(), Arc::default());
            frames.received(PREFACE, now);
            let reasons: Vec<Option<DisconnectReason>> =
                whole.chunks(size).map(|part| frames.received(part, now)).collect();
            let first = reasons.iter().position(Option::is_some).unwrap();
            // After one hundred of each: only the padding of the last ones is left.
            assert!(first * size > whole.len() - 120 - 2 * size, "{size}: {first}");
            assert!(
                reasons
                    .iter()
                    .flatten()
                    .all(|reason| matches!(reason, DisconnectReason::Pings | DisconnectReason::UnknownFrames)),
                "{size}"
            );
        }
    }

    #[test]
    fn payloads_are_read_in_any_fragmentation() {
        let frames = [
            [&[0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1][..], &7_u32.to_be_bytes()].concat(),
            [&[0, 0, 12, SETTINGS, 0, 0, 0, 0, 0][..], &[0, 4, 0, 0, 0, 9, 0, 1, 0, 0, 0, 8]].concat(),
            [&[0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 3][..], &5_u32.to_be_bytes()].concat(),
            [&[0, 0, 6, DATA, PADDED, 0, 0, 0, 1][..], &[2, 1, 1, 1, 0, 0]].concat(),
        ]
        .concat();
        for size in 1..20 {
            let (mut cursor, mut all) = (FrameParser::default(), Vec::new());
            for part in frames.chunks(size) {
                cursor.parse(part, |event| match event {
                    FrameEvent::Frame(_) => {}
                    other => all.push(format!("{other:?}")),
                });
            }
            let padded = FrameHead { kind: DATA, flags: PADDED, stream: 1, length: 6 };
            let expected = [
                FrameEvent::Reset(7),
                FrameEvent::Setting(4, 9),
                FrameEvent::Setting(1, 8),
                FrameEvent::Increment(3, 5),
                FrameEvent::Padding(padded, 2),
            ];
            assert_eq!(all, expected.map(|event| format!("{event:?}")), "{size}");
        }
    }

    /// What the library's client sends, with its dynamic table and Huffman coding: requests with varying numbers of
    /// headers, each with trailers.
    async fn written_by_library(requests: u32) -> Vec<u8> {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) = h2::client::handshake(client).await.unwrap();
        let driven = tokio::spawn(connection);
        let mut open = Vec::new();
        for at in 0..requests {
            let mut request =
                http::Request::post(format!("http://a.example/path/{at}")).header("x-turn", at.to_string());
            for more in 0..at % 40 {
                request = request.header(format!("x-{}", more % 7), format!("{}\u{e9}", "Va ".repeat(more as usize)));
            }
            let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", at.to_string().parse().unwrap());
            trailers.insert("x-0", "Va".parse().unwrap());
            body.send_trailers(trailers).unwrap();
            open.push((response, body));
        }
        let mut bytes = Vec::new();
        let ended = |bytes: &[u8]| {
            let is_end = |frame: &&&[u8]| frame[3] == HEADERS && frame[4] & 1 != 0;
            split(bytes.get(PREFACE.len()..).unwrap_or_default()).iter().filter(is_end).count()
        };
        while ended(&bytes) < requests as usize {
            assert!(server.read_buf(&mut bytes).await.unwrap() > 0);
        }
        drop(open);
        driven.abort();
        bytes
    }

    /// The complete frames in these bytes.
    fn split(mut rest: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        while let [a, b, c, ..] = rest {
            let Some((frame, behind)) =
                rest.split_at_checked(FRAME_HEAD_LENGTH + u32::from_be_bytes([0, *a, *b, *c]) as usize)
            else {
                break;
            };
            all.push(frame);
            rest = behind;
        }
        all
    }

    #[tokio::test]
    async fn heads_of_another_implementation_are_counted() {
        const REQUESTS: u32 = 90;
        let now = Instant::now();
        let bytes = written_by_library(REQUESTS).await;
        for size in [1, 3, 64, bytes.len()] {
            let mut frames = FloodGuard::new(now, 100, Default::default(), Arc::default());
            let mut counts = Vec::new();
            frames.received(PREFACE, now);
            for frame in split(&bytes[PREFACE.len()..]) {
                frame.chunks(size).for_each(|part| assert_eq!(frames.received(part, now), None));
                if [HEADERS, CONTINUATION].contains(&frame[3]) && frame[4] & END_HEADERS != 0 {
                    counts.push(frames.fields.count());
                }
            }
            // The library chooses their order.
            counts.sort_unstable();
            let mut expected: Vec<usize> = (0..REQUESTS as usize).flat_map(|at| [5 + at % 40, 2]).collect();
            expected.sort_unstable();
            assert_eq!(counts, expected, "{size}");
            assert!(!frames.fields.is_malformed());
        }
    }

    proptest! {
        /// Any input is counted alike in any pieces.
        #[test]
        fn fragmentation_does_not_change_the_result(bytes: Vec<u8>, kinds: Vec<(u8, u8, Vec<u8>)>, size in 1..40_usize) {
            let now = Instant::now();
            let frame = |(kind, flags, payload): &(u8, u8, Vec<u8>)| {
                let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
                [&length[1..], &[kind % 12, *flags, 0, 0, 0, kind & 3], payload].concat()
            };
            let whole = [kinds.iter().flat_map(frame).collect(), bytes].concat();
            let (mut one, mut other) = (connection(now), connection(now));
            let first = one.received(&whole, now);
            let parts: Vec<Option<DisconnectReason>> = whole.chunks(size).map(|part| other.received(part, now)).collect();
            prop_assert_eq!(first.is_some(), parts.iter().any(Option::is_some));
            prop_assert_eq!(one.fields.count(), other.fields.count());
            prop_assert_eq!(one.fields.is_malformed(), other.fields.is_malformed());
        }
    }

    #[test]
    fn rejected_heads_are_counted_and_the_first_reason_stays() {
        let now = Instant::now();
        let rejected = Arc::new(AtomicU32::new(0));
        let mut frames = FloodGuard::new(now, 100, (Arc::default(), rejected.clone()), Arc::default());
        frames.received(PREFACE, now);
        rejected.store(33, Ordering::Relaxed);
        assert_eq!(frames.received(&frame(PING, 0, 8), now), None);
        rejected.store(34, Ordering::Relaxed);
        assert_eq!(frames.received(&frame(PING, 0, 8), now), Some(DisconnectReason::RejectedHeads));
        assert_eq!(frames.received(&[], now), Some(DisconnectReason::RejectedHeads));
    }

    #[test]
    fn a_head_is_open_until_its_last_frame_and_goaway_waits_for_the_end_of_a_frame() {
        let now = Instant::now();
        let mut frames = connection(now);
        frames.received(&frame(HEADERS, 0, 5), now);
        assert_eq!(frames.head_started(), Some(now));
        frames.received(&frame(CONTINUATION, END_HEADERS, 5), now);
        assert_eq!(frames.head_started(), None);
        assert_eq!(frames.goaway(DisconnectReason::Pings).unwrap()[16], 11);
        assert_eq!(frames.goaway(DisconnectReason::Malformed).unwrap()[16], 1);
        frames.sent(&frame(DATA, 0, 5)[..FRAME_HEAD_LENGTH + 2], now);
        assert!(frames.goaway(DisconnectReason::Pings).is_none());
        frames.sent(&[0; 3], now);
        assert!(frames.goaway(DisconnectReason::Pings).is_some());
    }
}
