//! The streams of a connection of HTTP/2: those that are open, and those that wait for their turn.

use super::share::{Admission, Admitted, Share};
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
    share: Arc<Share>,
    waiting: VecDeque<(HttpSession, Held, Instant)>,
}

impl Queue {
    /// That of a connection.
    pub fn new(share: &Arc<Share>) -> Queue {
        Queue { share: share.clone(), waiting: VecDeque::new() }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a request that has come. It is given back where it can be served at once.
    pub fn take(&mut self, session: HttpSession) -> Option<(HttpSession, Admitted)> {
        let admission = if self.is_empty() { self.share.admit(0) } else { Admission::Later };
        match admission {
            Admission::Now(admitted) => return Some((session, admitted)),
            Admission::Later => self.waiting.push_back((session, self.share.queued(), Instant::now())),
            Admission::Never => shed(&self.share, session),
        }
        None
    }

    /// The next request that can be served.
    pub fn next(&mut self) -> Option<(HttpSession, Admitted)> {
        let (_, _, since) = self.waiting.front()?;
        let waited = since.elapsed();
        let turns = u32::try_from(waited.as_millis() / QUEUE_CHECK.as_millis()).unwrap_or(u32::MAX);
        match self.share.admit(turns) {
            Admission::Now(admitted) => self.waiting.pop_front().map(|(session, ..)| (session, admitted)),
            Admission::Later => None,
            Admission::Never => {
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
fn shed(share: &Share, mut session: HttpSession) {
    share.shed(Shed::Stream);
    session.shutdown_with_reason(h2::Reason::REFUSED_STREAM);
}

/// A stream that is open until this is dropped.
pub(super) struct Open(Arc<Streams>);

impl Streams {
    /// One more is open.
    pub fn open(self: &Arc<Streams>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Ends when no stream has been open for a while.
    pub async fn idle(&self, patience: Duration) {
        while self.open.load(Ordering::Relaxed) > 0 {
            self.none.notified().await;
        }
        tokio::time::sleep(patience).await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.none.notify_one();
        }
        self.0.ended.notify_one();
    }
}
