//! Detects HTTP/2 streams that are reset before they become requests, because their heads are malformed or there are
//! too many. The library resets them without reporting it, so they are detected in the frames that it sends.

use super::frame::{FrameEvent, FrameHead, HEADERS, RST_STREAM};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The most streams that are tracked. Fewer may be open at once; others end immediately.
const MAX_STREAMS: usize = 10_240;

/// The streams of a connection that are not requests yet.
#[derive(Debug)]
pub(super) struct RejectedStreams {
    /// Streams that the client has opened, oldest first.
    opened: VecDeque<u32>,
    /// The connection's requests, and how many of them were removed from `opened`. Requests arrive in the order of
    /// their streams, after the resets of malformed ones.
    requests: Arc<AtomicU32>,
    requests_seen: u32,
    /// The stream whose reset is being sent, if it is not a request yet.
    stream: Option<u32>,
    /// Reset streams with their codes, since the last [`RejectedStreams::take`].
    found: Vec<(u32, u32)>,
}

impl RejectedStreams {
    /// For a connection with this request counter.
    pub fn new(requests: Arc<AtomicU32>) -> RejectedStreams {
        RejectedStreams { opened: VecDeque::new(), requests, requests_seen: 0, stream: None, found: Vec::new() }
    }

    /// The client opened a stream.
    pub fn opened(&mut self, stream: u32) {
        self.skip_requests();
        if self.opened.len() < MAX_STREAMS {
            self.opened.push_back(stream);
        }
    }

    /// A frame is sent to the client.
    pub fn sent(&mut self, event: FrameEvent) {
        match event {
            FrameEvent::Frame(FrameHead { kind: kind @ (HEADERS | RST_STREAM), stream, .. }) => {
                self.skip_requests();
                let at = self.opened.iter().position(|opened| *opened == stream);
                // A response shows that the stream was a request.
                let opened = at.and_then(|at| self.opened.remove(at));
                self.stream = opened.filter(|_| kind == RST_STREAM);
            }
            FrameEvent::Reset(code) => self.found.extend(self.stream.take().map(|stream| (stream, code))),
            FrameEvent::Frame(_)
            | FrameEvent::Setting(..)
            | FrameEvent::Increment(..)
            | FrameEvent::Padding(..)
            | FrameEvent::Block(_) => {}
        }
    }

    /// Takes the streams that were reset, with their codes.
    pub fn take(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.found)
    }

    fn skip_requests(&mut self) {
        let requests = self.requests.load(Ordering::Relaxed);
        let new = requests.wrapping_sub(self.requests_seen);
        self.requests_seen = requests;
        let new = usize::try_from(new).unwrap_or(usize::MAX).min(self.opened.len());
        self.opened.drain(..new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, stream: u32) -> FrameEvent<'static> {
        FrameEvent::Frame(FrameHead { kind, flags: 0, stream, length: 4 })
    }

    fn reset(resets: &mut RejectedStreams, stream: u32) -> Vec<(u32, u32)> {
        resets.sent(head(RST_STREAM, stream));
        resets.sent(FrameEvent::Reset(1));
        resets.take()
    }

    #[test]
    fn streams_that_became_requests_are_not_found() {
        let requests = Arc::new(AtomicU32::new(0));
        let mut resets = RejectedStreams::new(requests.clone());
        [1, 3, 5, 7].into_iter().for_each(|stream| resets.opened(stream));
        // The first and third are malformed; the library resets them before it yields any request.
        assert_eq!(reset(&mut resets, 1), [(1, 1)]);
        assert_eq!(reset(&mut resets, 5), [(5, 1)]);
        requests.fetch_add(2, Ordering::Relaxed);
        assert_eq!(reset(&mut resets, 3), []);
        assert_eq!(reset(&mut resets, 7), []);
        resets.opened(9);
        assert_eq!(reset(&mut resets, 9), [(9, 1)]);
        assert_eq!(reset(&mut resets, 9), [], "once");
        assert_eq!(reset(&mut resets, 11), [], "it was never opened");
    }

    #[test]
    fn streams_with_a_response_are_not_found() {
        let mut resets = RejectedStreams::new(Arc::default());
        resets.opened(1);
        resets.sent(head(HEADERS, 1));
        assert_eq!(reset(&mut resets, 1), []);
        (0..20_000).for_each(|stream| resets.opened(2 * stream + 3));
        assert_eq!(resets.opened.len(), MAX_STREAMS);
    }
}
