//! The open streams of an HTTP/2 connection, and the queue of requests that wait to be served.

use super::memory_share::{MemoryShare, RequestDecision, RequestPermit};
use crate::memory::Reservation;
use crate::telemetry::Shed;
use pingora::protocols::http::v2::server::HttpSession;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Interval of the queue checks.
const QUEUE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Counts the open streams of a connection.
#[derive(Default)]
pub(super) struct OpenStreams {
    open: AtomicUsize,
    all_ended: Notify,
    /// A stream has ended.
    ended: Notify,
}

/// Requests that wait to be served: clients may open many streams at once.
pub(super) struct Queue {
    share: Arc<MemoryShare>,
    waiting: VecDeque<(HttpSession, Reservation, Instant)>,
}

impl Queue {
    /// An empty queue.
    pub fn new(share: &Arc<MemoryShare>) -> Queue {
        Queue { share: share.clone(), waiting: VecDeque::new() }
    }

    /// Whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the request if it can be served at once; otherwise queues or rejects it.
    pub fn take(&mut self, session: HttpSession) -> Option<(HttpSession, RequestPermit)> {
        let decision = if self.is_empty() { self.share.try_serve(0) } else { RequestDecision::Queue };
        match decision {
            RequestDecision::Serve(permit) => return Some((session, permit)),
            RequestDecision::Queue => self.waiting.push_back((session, self.share.queued(), Instant::now())),
            RequestDecision::Reject => shed(&self.share, session),
        }
        None
    }

    /// Takes the next request that can be served.
    pub fn next(&mut self) -> Option<(HttpSession, RequestPermit)> {
        let (_, _, since) = self.waiting.front()?;
        let waited = since.elapsed();
        let queue_checks = u32::try_from(waited.as_millis() / QUEUE_CHECK_INTERVAL.as_millis()).unwrap_or(u32::MAX);
        match self.share.try_serve(queue_checks) {
            RequestDecision::Serve(permit) => self.waiting.pop_front().map(|(session, ..)| (session, permit)),
            RequestDecision::Queue => None,
            RequestDecision::Reject => {
                self.waiting.pop_front().into_iter().for_each(|(session, ..)| shed(&self.share, session));
                self.next()
            }
        }
    }

    /// Completes when the queue should be checked.
    pub async fn wait(&self, streams: &OpenStreams) {
        tokio::select! {
            () = streams.ended.notified() => {}
            () = tokio::time::sleep(QUEUE_CHECK_INTERVAL) => {}
        }
    }
}

/// Resets the stream with REFUSED_STREAM: the client may send the request again.
fn shed(share: &MemoryShare, mut session: HttpSession) {
    share.count_shed(Shed::Stream);
    session.shutdown_with_reason(h2::Reason::REFUSED_STREAM);
}

/// An open stream, until this is dropped.
pub(super) struct OpenStream(Arc<OpenStreams>);

impl OpenStreams {
    /// Counts a new stream.
    pub fn open(self: &Arc<OpenStreams>) -> OpenStream {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }

    /// Completes when no stream has been open for `timeout`.
    pub async fn idle(&self, timeout: Duration) {
        while self.open.load(Ordering::Relaxed) > 0 {
            self.all_ended.notified().await;
        }
        tokio::time::sleep(timeout).await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.all_ended.notify_one();
        }
        self.0.ended.notify_one();
    }
}
