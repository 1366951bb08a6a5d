//! Connections of the admin listener: few, and none for long. It is often reached from a whole network, and takes
//! descriptors that are kept back for it.

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

/// How many connections there are at once.
const CONNECTIONS: usize = 32;
/// How long the head of a request may take, from the connection or the last response on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection lasts, whatever it does.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long it may then take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the listener rests after the system could not give it a connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A connection that is open.
struct Open {
    /// Whether a request is being answered on it.
    busy: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Serves until this is over, and then whatever has begun.
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

/// Closes the connection that has been there for the longest without a request that is being answered: probes come
/// through however many others say nothing.
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
