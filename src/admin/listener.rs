//! Connections of the listeners for operations: few and short-lived, since they are often reachable from a whole
//! network and use the reserved descriptors.

use super::access::{CurrentAccess, Peer};
use crate::edge::{self, BoundListener, Socket};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tower_service::Service as _;

/// Timeout of a request's head, from the connection or the last response on, and of the TLS handshake before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest life of a connection.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long it may then take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most requests of a connection: the last response closes it.
const MAX_REQUESTS: usize = 100;
/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Pause after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// An open connection.
struct Open {
    activity: Arc<Activity>,
    task: AbortHandle,
}

/// What a connection does.
#[derive(Default)]
struct Activity {
    /// Whether it has sent anything.
    heard: AtomicBool,
    /// Whether a request is being served on it.
    busy: AtomicBool,
    /// How many requests have begun.
    requests: AtomicUsize,
}

impl Activity {
    fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Relaxed)
    }

    fn is_silent(&self) -> bool {
        !self.heard.load(Ordering::Relaxed)
    }
}

/// What serves the connections of a listener.
#[derive(Clone)]
pub(super) struct Service {
    pub app: Router,
    pub access: CurrentAccess,
}

/// Accepts connections, of which at most `limit` are open, until `stop` completes. Then waits for open ones to finish.
pub(super) async fn serve(listener: &BoundListener, limit: usize, service: Service, stop: impl Future<Output = ()>) {
    let (ending, at_end) = watch::channel(());
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((socket, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        while tasks.try_join_next().is_some() {}
        open.retain(|one| !one.task.is_finished());
        if open.len() >= limit && !make_room(&mut open) {
            continue;
        }
        let activity = Arc::<Activity>::default();
        let socket = Observed { socket, activity: activity.clone() };
        let task = tasks.spawn(connection(socket, Peer(peer), service.clone(), at_end.clone()));
        open.push_back(Open { activity, task });
        // A request that has already arrived begins, before further connections can make its own the oldest idle one.
        tokio::task::yield_now().await;
    }
    drop(ending);
    while tasks.join_next().await.is_some() {}
}

/// Closes the oldest connection that has sent nothing, or else the oldest idle one, so that probes get through however
/// many idle connections there are, also if they need a TLS handshake first. Returns whether there was one.
fn make_room(open: &mut VecDeque<Open>) -> bool {
    let silent = open.iter().position(|one| one.activity.is_silent());
    let idle = silent.or_else(|| open.iter().position(|one| one.activity.is_idle()));
    let oldest = idle.and_then(|oldest| open.remove(oldest));
    oldest.inspect(|one| one.task.abort()).is_some()
}

async fn connection(socket: Observed, peer: Peer, service: Service, at_end: watch::Receiver<()>) {
    let activity = socket.activity.clone();
    let tls = service.access.load().tls.clone();
    let Some(tls) = tls else {
        return http(socket, peer, service.app, activity, at_end).await;
    };
    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, edge::accept_tls(socket, tls)).await {
        http(stream, peer, service.app, activity, at_end).await;
    }
}

/// Serves the requests of a connection.
async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    app: Router,
    activity: Arc<Activity>,
    mut at_end: watch::Receiver<()>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut app, activity) = (app.clone(), activity.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let earlier = activity.requests.fetch_add(1, Ordering::Relaxed);
            // Pipelined requests are already there: without a pause, they would be served before those of other
            // connections.
            if earlier > 0 {
                tokio::task::yield_now().await;
            }
            activity.busy.store(true, Ordering::Relaxed);
            let mut response = app.call(request).await;
            activity.busy.store(false, Ordering::Relaxed);
            if let Ok(response) = &mut response
                && earlier + 1 >= MAX_REQUESTS
            {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = at_end.changed() => {}
        () = tokio::time::sleep(MAX_AGE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection).await;
}

/// A socket that notes when its peer has sent something.
struct Observed {
    socket: Socket,
    activity: Arc<Activity>,
}

impl AsyncRead for Observed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
