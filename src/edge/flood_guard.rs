//! Frames of HTTP/2 as they pass: what a client makes the gateway do without asking for anything.
//!
//! The library answers each PING and each SETTINGS frame, and takes any other frame, however many there are: what there
//! may be of them is counted in [`super::flood`], and what heads hold in [`super::heads`].

use super::flood_budget::FloodBudget;
use super::frame::{CONTINUATION, Cursor, DATA, END_HEADERS, FrameEvent, FrameHead, GOAWAY, HEAD, HEADERS, PREFACE};
use super::hpack_heads::Heads;
use super::resets::Resets;
use super::uploads::{OpenBodies, Uploads};
use super::windows::Windows;
use crate::telemetry::DisconnectReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The frames of a connection.
#[derive(Debug)]
pub(super) struct FloodGuard {
    inbound: Cursor,
    outbound: Cursor,
    /// How much of the client's preface is to come.
    preface: usize,
    flood: FloodBudget,
    heads: Heads,
    /// How many heads the gateway has rejected.
    rejected: Arc<AtomicU32>,
    /// Why the connection is to be cut off, where it is.
    verdict: Option<DisconnectReason>,
    /// Since when a head is being sent that is not whole.
    head_since: Option<Instant>,
    windows: Windows,
    uploads: Arc<Uploads>,
    resets: Resets,
}

impl FloodGuard {
    /// Those of a connection that begins with the client's preface, and whose heads may have so many fields; how many
    /// requests it has had, and how many of them were rejected for their heads, is counted elsewhere.
    pub fn new(
        now: Instant,
        fields: usize,
        (requests, rejected): (Arc<AtomicU32>, Arc<AtomicU32>),
        uploads: Arc<Uploads>,
    ) -> FloodGuard {
        FloodGuard {
            inbound: Cursor::default(),
            outbound: Cursor::default(),
            preface: PREFACE.len(),
            flood: FloodBudget::new(fields, now),
            heads: Heads::new(),
            rejected,
            verdict: None,
            head_since: None,
            windows: Windows::default(),
            uploads,
            resets: Resets::new(requests),
        }
    }

    /// What the client lets the gateway send.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Bytes came from the client. Says what is too much, where something is.
    pub fn received(&mut self, bytes: &[u8], now: Instant) -> Option<DisconnectReason> {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        let FloodGuard { inbound, flood, heads, head_since, verdict, windows, uploads, resets, .. } = self;
        flood.tick(now);
        *verdict = verdict.or_else(|| flood.rejected(self.rejected.load(Ordering::Relaxed)));
        let mut see = |seen, bodies: &mut OpenBodies| {
            windows.received(seen);
            let mut opens = false;
            let cut = match seen {
                FrameEvent::Frame(FrameHead { kind: kind @ (HEADERS | CONTINUATION), flags, stream, length }) => {
                    *head_since = if flags & END_HEADERS == 0 { head_since.or(Some(now)) } else { None };
                    opens = heads.frame(kind, flags, stream, length);
                    if opens {
                        resets.opened(stream);
                    }
                    flood.received(seen, opens)
                }
                FrameEvent::Block(part) => {
                    heads.payload(part);
                    if heads.is_malformed() { Some(DisconnectReason::Malformed) } else { flood.head(heads.count()) }
                }
                _ => flood.received(seen, false),
            };
            bodies.received(seen, opens, now);
            *verdict = verdict.or(cut);
        };
        uploads.pass(|bodies| inbound.pass(bytes.get(preface..).unwrap_or_default(), |seen| see(seen, bodies)));
        self.windows.settle();
        self.verdict
    }

    /// Bytes go to the client. Says how much of what waited for it they are.
    pub fn sent(&mut self, bytes: &[u8], now: Instant) -> usize {
        let FloodGuard { outbound, flood, verdict, windows, uploads, resets, .. } = self;
        let mut taken = 0;
        let mut see = |seen, bodies: &mut OpenBodies| {
            windows.sent(seen);
            resets.sent(seen);
            bodies.sent(seen, now);
            if let FrameEvent::Frame(FrameHead { kind: DATA, length, .. }) = seen {
                taken += length;
            }
            *verdict = verdict.or(flood.sent(seen));
        };
        uploads.pass(|bodies| outbound.pass(bytes, |seen| see(seen, bodies)));
        taken
    }

    /// Streams that were reset before they became requests, with the codes of their resets, since this was last called.
    pub fn resets(&mut self) -> Vec<(u32, u32)> {
        self.resets.take()
    }

    /// Why the connection is to be cut off, where it is.
    pub fn verdict(&self) -> Option<DisconnectReason> {
        self.verdict
    }

    /// Since when a head is being sent that is not whole.
    pub fn head_since(&self) -> Option<Instant> {
        self.head_since
    }

    /// The frame that tells the client why its connection ends; none where another frame is being sent.
    pub fn goaway(&self, cut: DisconnectReason) -> Option<[u8; HEAD + 8]> {
        const PROTOCOL_ERROR: u8 = 1;
        const ENHANCE_YOUR_CALM: u8 = 11;
        let code = if cut == DisconnectReason::Malformed { PROTOCOL_ERROR } else { ENHANCE_YOUR_CALM };
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
        frame.resize(HEAD + payload, 0);
        frame
    }

    fn connection(now: Instant) -> FloodGuard {
        let mut frames = FloodGuard::new(now, 100, Default::default(), Arc::default());
        assert_eq!(frames.received(PREFACE, now), None);
        frames
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let now = Instant::now();
        let whole: Vec<u8> =
            (0..101).flat_map(|at| [frame(PING, 0, 8), frame(PING, ACK, 8), frame(9, 4, at % 20)].concat()).collect();
        let whole: Vec<u8> = [whole, frame(PING, 0, 8)].concat();
        for size in 1..30 {
            let mut frames = FloodGuard::new(now, 10_000, Default::default(), Arc::default());
            frames.received(PREFACE, now);
            let verdicts: Vec<Option<DisconnectReason>> =
                whole.chunks(size).map(|part| frames.received(part, now)).collect();
            let first = verdicts.iter().position(Option::is_some).unwrap();
            // Behind one hundred of them: the padding of the last ones is what is left.
            assert!(first * size > whole.len() - 120 - 2 * size, "{size}: {first}");
            assert!(
                verdicts
                    .iter()
                    .flatten()
                    .all(|cut| matches!(cut, DisconnectReason::Pings | DisconnectReason::UnknownFrames)),
                "{size}"
            );
        }
    }

    #[test]
    fn payloads_are_read_however_the_bytes_are_cut() {
        let frames = [
            [&[0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1][..], &7_u32.to_be_bytes()].concat(),
            [&[0, 0, 12, SETTINGS, 0, 0, 0, 0, 0][..], &[0, 4, 0, 0, 0, 9, 0, 1, 0, 0, 0, 8]].concat(),
            [&[0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 3][..], &5_u32.to_be_bytes()].concat(),
            [&[0, 0, 6, DATA, PADDED, 0, 0, 0, 1][..], &[2, 1, 1, 1, 0, 0]].concat(),
        ]
        .concat();
        for size in 1..20 {
            let (mut cursor, mut all) = (Cursor::default(), Vec::new());
            for part in frames.chunks(size) {
                cursor.pass(part, |seen| match seen {
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
            assert_eq!(all, expected.map(|seen| format!("{seen:?}")), "{size}");
        }
    }

    /// What a client of the library's own says, with its tables and its codes: requests with these many headers, each
    /// with trailers.
    async fn spoken(requests: u32) -> Vec<u8> {
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

    /// The frames in these bytes, as far as they are whole.
    fn split(mut rest: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        while let [a, b, c, ..] = rest {
            let Some((frame, behind)) = rest.split_at_checked(HEAD + u32::from_be_bytes([0, *a, *b, *c]) as usize)
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
        let bytes = spoken(REQUESTS).await;
        for size in [1, 3, 64, bytes.len()] {
            let mut frames = FloodGuard::new(now, 100, Default::default(), Arc::default());
            let mut counts = Vec::new();
            frames.received(PREFACE, now);
            for frame in split(&bytes[PREFACE.len()..]) {
                frame.chunks(size).for_each(|part| assert_eq!(frames.received(part, now), None));
                if [HEADERS, CONTINUATION].contains(&frame[3]) && frame[4] & END_HEADERS != 0 {
                    counts.push(frames.heads.count());
                }
            }
            // In which order they come is the library's.
            counts.sort_unstable();
            let mut expected: Vec<usize> = (0..REQUESTS as usize).flat_map(|at| [5 + at % 40, 2]).collect();
            expected.sort_unstable();
            assert_eq!(counts, expected, "{size}");
            assert!(!frames.heads.is_malformed());
        }
    }

    proptest! {
        /// Whatever comes, in whatever pieces, is counted alike.
        #[test]
        fn pieces_change_nothing(bytes: Vec<u8>, kinds: Vec<(u8, u8, Vec<u8>)>, size in 1..40_usize) {
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
            prop_assert_eq!(one.heads.count(), other.heads.count());
            prop_assert_eq!(one.heads.is_malformed(), other.heads.is_malformed());
        }
    }

    #[test]
    fn heads_that_were_rejected_are_counted_and_a_reason_stays() {
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
        assert_eq!(frames.head_since(), Some(now));
        frames.received(&frame(CONTINUATION, END_HEADERS, 5), now);
        assert_eq!(frames.head_since(), None);
        assert_eq!(frames.goaway(DisconnectReason::Pings).unwrap()[16], 11);
        assert_eq!(frames.goaway(DisconnectReason::Malformed).unwrap()[16], 1);
        frames.sent(&frame(DATA, 0, 5)[..HEAD + 2], now);
        assert!(frames.goaway(DisconnectReason::Pings).is_none());
        frames.sent(&[0; 3], now);
        assert!(frames.goaway(DisconnectReason::Pings).is_some());
    }
}
