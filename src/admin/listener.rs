//! Connections of the admin listener: few and short-lived, since it is often reachable from a whole network and uses
//! the reserved descriptors.

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tower_service::Service;

/// The most open connections.
const CONNECTIONS: usize = 32;
/// Timeout of a request's head, from the connection or the last response on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest life of a connection.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long it may then take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// An open connection.
struct Open {
    /// Whether a request is being served on it.
    busy: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Accepts connections until `stop` completes, then waits for open ones to finish.
pub(super) async fn serve(listener: TcpListener, app: Router, stop: impl Future<Output = ()>) {
    let (ending, at_end) = watch::channel(());
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        while tasks.try_join_next().is_some() {}
        open.retain(|one| !one.task.is_finished());
        if open.len() >= CONNECTIONS && !make_room(&mut open) {
            continue;
        }
        let busy = Arc::<AtomicBool>::default();
        let task = tasks.spawn(connection(stream, peer, app.clone(), busy.clone(), at_end.clone()));
        open.push_back(Open { busy, task });
    }
    drop(ending);
    while tasks.join_next().await.is_some() {}
}

/// Closes the oldest idle connection, so that probes get through however many idle connections there are. Returns
/// whether there was one.
fn make_room(open: &mut VecDeque<Open>) -> bool {
    let idle = open.iter().position(|one| !one.busy.load(Ordering::Relaxed));
    let oldest = idle.and_then(|oldest| open.remove(oldest));
    oldest.inspect(|one| one.task.abort()).is_some()
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    busy: Arc<AtomicBool>,
    mut at_end: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut app, busy) = (app.clone(), busy.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            busy.store(true, Ordering::Relaxed);
            let response = app.call(request).await;
            busy.store(false, Ordering::Relaxed);
            response
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
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
