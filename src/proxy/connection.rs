//! Connections from clients: which protocol each speaks, and how long it may wait for a request.
//!
//! Pingora tells HTTP/2 from HTTP/1 by waiting for 24 bytes without any deadline, so that an idle connection would be held for ever
//! and a shorter request of HTTP/1 never be answered. Here the first byte that differs decides, within a deadline. And a connection
//! that waits for a request has one timer of its own, where Pingora would set one for every request.

use crate::runtime::Runtime;
use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::l4;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

use super::exchange::Edge;
use super::framing::{self, Requests};

/// How a client begins to speak HTTP/2 without TLS (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of one HTTP/2 connection that may be open at the same time.
const MAX_STREAMS: u32 = 100;
/// What is read of the head of a request of HTTP/2 in any case: Pingora's own limit.
const LEAST_HTTP2_HEAD: u32 = 64 << 10;

/// How long clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the connection to the end of the first request's head.
    pub head: Duration,
    /// From the end of an answer to the end of the next request's head.
    pub idle: Duration,
}

/// What becomes of a connection.
pub(super) struct Connections {
    runtime: Arc<Runtime>,
    patience: Patience,
    http1: Arc<Http1>,
    http2: Arc<Http2>,
}

impl Connections {
    pub fn new(runtime: Arc<Runtime>, patience: Patience, proxy: HttpProxy<Edge>) -> Connections {
        let proxy = Arc::new(proxy);
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(patience.idle);
        // Beyond the gateway's own limit, which it answers itself.
        let head = u32::try_from(runtime.head_limits.block * 2).unwrap_or(u32::MAX).max(LEAST_HTTP2_HEAD);
        let http2 = Arc::new(Http2 { proxy: proxy.clone(), options, head });
        Connections { runtime, patience, http1: Arc::new(Http1(proxy)), http2 }
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.runtime.metrics.connection();
        let activity = Arc::new(Activity::new());
        let (stream, is_http2) = tokio::time::timeout(self.patience.head, begin(stream)).await.ok()??;
        if is_http2 {
            return self.http2.process_new(stream, shutdown).await;
        }
        let requests = Requests::new(self.runtime.head_limits);
        let served = self.http1.process_new(requests.framed(stream), shutdown);
        let served = ACTIVITY.scope(activity.clone(), requests.serve(served));
        tokio::select! {
            biased;
            left = served => left,
            () = activity.waited_for(self.patience) => None,
        }
    }

    async fn cleanup(&self) {
        HttpServerApp::http_cleanup(&*self.http1.0).await;
    }
}

/// Finds out whether a connection speaks HTTP/2, and gives it back as it was; none where it ends before that.
async fn begin(stream: Stream) -> Option<(Stream, bool)> {
    let mut stream: Box<l4::stream::Stream> = match stream.into_any().downcast() {
        Ok(plain) => plain,
        // Only plain TCP is listened on.
        Err(_) => return None,
    };
    let mut seen = [0; PREFACE.len()];
    let mut length = 0;
    let is_http2 = loop {
        let read = stream.read(seen.get_mut(length..)?).await.ok().filter(|read| *read > 0)?;
        length += read;
        if !PREFACE.starts_with(seen.get(..length)?) {
            break false;
        }
        if length == PREFACE.len() {
            break true;
        }
    };
    stream.rewind(seen.get(..length)?);
    Some((stream, is_http2))
}

tokio::task_local! {
    /// What a connection of HTTP/1 is doing: set for the task that serves it.
    static ACTIVITY: Arc<Activity>;
}

/// What a connection is doing.
struct Activity {
    opened: Instant,
    /// When it began to wait for a request, in milliseconds since it was opened; [`BUSY`] while there is one.
    idle_since: AtomicU64,
}

const BUSY: u64 = u64::MAX;

impl Activity {
    fn new() -> Activity {
        Activity { opened: Instant::now(), idle_since: AtomicU64::new(0) }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    /// Ends when the connection has waited for too long.
    async fn waited_for(&self, patience: Patience) {
        let millis = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        loop {
            let pause = match self.idle_since.load(Ordering::Relaxed) {
                BUSY => patience.idle,
                since => {
                    let limit = if since == 0 { patience.head } else { patience.idle };
                    let left = since.saturating_add(millis(limit)).saturating_sub(self.elapsed());
                    if left == 0 {
                        return;
                    }
                    Duration::from_millis(left)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// A request came in on the connection of this task.
pub(super) fn mark_busy() {
    // Streams of HTTP/2 have tasks of their own.
    let _ = ACTIVITY.try_with(|activity| activity.idle_since.store(BUSY, Ordering::Relaxed));
}

/// The request on the connection of this task is over.
pub(super) fn mark_idle() {
    let idle = |activity: &Arc<Activity>| activity.idle_since.store(activity.elapsed().max(1), Ordering::Relaxed);
    let _ = ACTIVITY.try_with(idle);
}

/// The gateway for connections of HTTP/1.
struct Http1(Arc<HttpProxy<Edge>>);

/// The gateway for connections of HTTP/2.
struct Http2 {
    proxy: Arc<HttpProxy<Edge>>,
    options: HttpServerOptions,
    /// The largest head that is read at all, in bytes as HTTP/2 counts them.
    head: u32,
}

#[async_trait]
impl HttpServerApp for Http1 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        framing::expect();
        self.0.process_new_http(session, shutdown).await
    }
}

#[async_trait]
impl HttpServerApp for Http2 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.proxy.process_new_http(session, shutdown).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_concurrent_streams(MAX_STREAMS);
        options.max_header_list_size(self.head);
        Some(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(1);

    async fn is_over(activity: &Activity, patience: Patience) -> bool {
        // Long after `SOON`, and long before `NEVER`.
        tokio::time::timeout(Duration::from_millis(100), activity.waited_for(patience)).await.is_ok()
    }

    #[tokio::test]
    async fn a_connection_may_wait_only_so_long_for_its_first_request_and_for_each_next_one() {
        let activity = Activity::new();
        assert!(is_over(&activity, Patience { head: SOON, idle: NEVER }).await);
        assert!(!is_over(&activity, Patience { head: NEVER, idle: SOON }).await);
        activity.idle_since.store(5, Ordering::Relaxed);
        assert!(is_over(&activity, Patience { head: NEVER, idle: SOON }).await);
        assert!(!is_over(&activity, Patience { head: SOON, idle: NEVER }).await);
    }

    #[tokio::test]
    async fn a_busy_connection_is_not_given_up() {
        let activity = Activity::new();
        activity.idle_since.store(BUSY, Ordering::Relaxed);
        assert!(!is_over(&activity, Patience { head: SOON, idle: SOON }).await);
    }
}
