//! Bodies of several frames: messages, pauses between them, and trailers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame};
use tokio::time::{Sleep, sleep};

/// A body that sends its frames one by one.
pub(super) struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    pause: Duration,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Frames {
    /// Messages, if any, and trailers.
    pub(super) fn new(messages: Vec<Bytes>, trailers: HeaderMap, pause: Duration) -> Self {
        let mut frames: VecDeque<_> = messages.into_iter().map(Frame::data).collect();
        frames.push_back(Frame::trailers(trailers));
        Self { frames, pause, wait: None }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(wait) = &mut self.wait {
            if wait.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.wait = None;
        }
        let frame = self.frames.pop_front();
        if frame.is_some() && !self.pause.is_zero() {
            self.wait = Some(Box::pin(sleep(self.pause)));
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }
}

/// A gRPC message with its five leading bytes: flags and length.
pub(super) fn envelope(flags: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![flags];
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(message);
    Bytes::from(bytes)
}
