//! The streams of a connection of HTTP/2: those that are open, and those that wait for their turn.

use super::memory_share::{MemoryShare, RequestAdmission, RequestPermit};
use crate::memory::Held;
use crate::telemetry::Shed;
use pingora::protocols::http::v2::server::HttpSession;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often it is looked whether a request that waits can be served.
const QUEUE_CHECK: Duration = Duration::from_millis(50);

/// The streams of a connection that are open.
#[derive(Default)]
pub(super) struct Streams {
    open: AtomicUsize,
    none: Notify,
    /// One has ended.
    ended: Notify,
}

/// Requests that wait for their turn: clients may open many streams at once.
pub(super) struct Queue {
    share: Arc<MemoryShare>,
    waiting: VecDeque<(HttpSession, Held, Instant)>,
}

impl Queue {
    /// That of a connection.
    pub fn new(share: &Arc<MemoryShare>) -> Queue {
        Queue { share: share.clone(), waiting: VecDeque::new() }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a request that has come. It is given back where it can be served at once.
    pub fn take(&mut self, session: HttpSession) -> Option<(HttpSession, RequestPermit)> {
        let admission = if self.is_empty() { self.share.admit(0) } else { RequestAdmission::Later };
        match admission {
            RequestAdmission::Now(admitted) => return Some((session, admitted)),
            RequestAdmission::Later => self.waiting.push_back((session, self.share.queued(), Instant::now())),
            RequestAdmission::Never => shed(&self.share, session),
        }
        None
    }

    /// The next request that can be served.
    pub fn next(&mut self) -> Option<(HttpSession, RequestPermit)> {
        let (_, _, since) = self.waiting.front()?;
        let waited = since.elapsed();
        let turns = u32::try_from(waited.as_millis() / QUEUE_CHECK.as_millis()).unwrap_or(u32::MAX);
        match self.share.admit(turns) {
            RequestAdmission::Now(admitted) => self.waiting.pop_front().map(|(session, ..)| (session, admitted)),
            RequestAdmission::Later => None,
            RequestAdmission::Never => {
                self.waiting.pop_front().into_iter().for_each(|(session, ..)| shed(&self.share, session));
                self.next()
            }
        }
    }

    /// Ends when it should be looked for the next request.
    pub async fn turn(&self, streams: &Streams) {
        tokio::select! {
            () = streams.ended.notified() => {}
            () = tokio::time::sleep(QUEUE_CHECK) => {}
        }
    }
}

/// Tells the client that it may send a request again.
fn shed(share: &MemoryShare, mut session: HttpSession) {
    share.shed(Shed::Stream);
    session.shutdown_with_reason(h2::Reason::REFUSED_STREAM);
}

/// A stream that is open until this is dropped.
pub(super) struct OpenStream(Arc<Streams>);

impl Streams {
    /// One more is open.
    pub fn open(self: &Arc<Streams>) -> OpenStream {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }

    /// Ends when no stream has been open for a while.
    pub async fn idle(&self, timeout: Duration) {
        while self.open.load(Ordering::Relaxed) > 0 {
            self.none.notified().await;
        }
        tokio::time::sleep(timeout).await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.none.notify_one();
        }
        self.0.ended.notify_one();
    }
}
