//! Streams of HTTP/2 that the gateway resets before they become requests: their heads are malformed, or they are more
//! than there may be. The library resets them by itself and tells nobody, so that they are found among the frames that
//! pass.

use super::frame::{FrameEvent, FrameHead, HEADERS, RST_STREAM};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many streams are remembered: those that may be open at once are fewer, others end at once.
const MOST: usize = 10_240;

/// The streams of a connection that are no requests yet.
#[derive(Debug)]
pub(super) struct Resets {
    /// Those that the client has opened, the oldest first.
    opened: VecDeque<u32>,
    /// How many requests the connection has had, and how many of them are taken out of `opened`: they come in the order
    /// of their streams, behind the resets of those that are malformed.
    requests: Arc<AtomicU32>,
    known: u32,
    /// The stream whose reset is being sent, where it is no request yet.
    stream: Option<u32>,
    /// Streams that were reset, with the codes of their resets, since it was last asked.
    found: Vec<(u32, u32)>,
}

impl Resets {
    /// Those of a connection that has had so many requests.
    pub fn new(requests: Arc<AtomicU32>) -> Resets {
        Resets { opened: VecDeque::new(), requests, known: 0, stream: None, found: Vec::new() }
    }

    /// The client opens a stream.
    pub fn opened(&mut self, stream: u32) {
        self.learn();
        if self.opened.len() < MOST {
            self.opened.push_back(stream);
        }
    }

    /// Something goes to the client.
    pub fn sent(&mut self, seen: FrameEvent) {
        match seen {
            FrameEvent::Frame(FrameHead { kind: kind @ (HEADERS | RST_STREAM), stream, .. }) => {
                self.learn();
                let at = self.opened.iter().position(|opened| *opened == stream);
                // A stream with a response is as good as a request.
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

    /// Streams that were reset, with the codes of their resets, since this was last called.
    pub fn take(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.found)
    }

    fn learn(&mut self) {
        let requests = self.requests.load(Ordering::Relaxed);
        let new = requests.wrapping_sub(self.known);
        self.known = requests;
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

    fn reset(resets: &mut Resets, stream: u32) -> Vec<(u32, u32)> {
        resets.sent(head(RST_STREAM, stream));
        resets.sent(FrameEvent::Reset(1));
        resets.take()
    }

    #[test]
    fn streams_that_became_requests_are_not_found() {
        let requests = Arc::new(AtomicU32::new(0));
        let mut resets = Resets::new(requests.clone());
        [1, 3, 5, 7].into_iter().for_each(|stream| resets.opened(stream));
        // The first and the third are malformed; the library resets them before it shows any other.
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
        let mut resets = Resets::new(Arc::default());
        resets.opened(1);
        resets.sent(head(HEADERS, 1));
        assert_eq!(reset(&mut resets, 1), []);
        (0..20_000).for_each(|stream| resets.opened(2 * stream + 3));
        assert_eq!(resets.opened.len(), MOST);
    }
}
