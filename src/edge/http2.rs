//! HTTP/2 connections: their streams, and when they end.

use super::client_stream::ClientStream;
use super::client_timing::ClientTiming;
use super::downstream::{self, Downstream};
use super::memory_share::RequestPermit;
use super::server::{Server, ServerOptions, ShutdownStage, wait_for_stage};
use super::streams::{OpenStream, OpenStreams, Queue};
use super::uploads::CHECK_INTERVAL;
use crate::telemetry::DisconnectReason;
use bytes::Bytes;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use pingora::protocols::{Digest, GetSocketDigest, Stream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Malformed requests that a connection may send, on top of one for each valid request.
const MAX_MALFORMED: usize = 32;
/// Streams that the client may reset before the gateway accepts them.
const MAX_PENDING_RESETS: usize = 50;
/// Streams that the gateway may reset because of the client. The library never gives any back. It also counts those
/// whose resets are not written yet, which [`super::flood_budget`] cannot see.
const MAX_LOCAL_RESETS: usize = 300;
/// Receive windows of request bodies, of a stream and of the connection, in bytes.
const RECEIVE_WINDOWS: (u32, u32) = (64 << 10, 1 << 20);
/// Send buffer of a stream, in bytes.
pub(crate) const SEND_BUFFER: usize = 64 << 10;
/// The least limit for request heads, in bytes: Pingora's own.
const MIN_HEAD_LENGTH: usize = 64 << 10;
/// Wait for the client to close a connection that the gateway ends with an error.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The same if memory is short.
const SHORT_CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

type Connection = h2::server::Connection<Stream, Bytes>;

/// The library's limit for heads, in bytes. It exceeds the gateway's own limit, so that the gateway can respond.
fn max_head_length(options: &ServerOptions) -> usize {
    (options.limits.head.block * 2).max(MIN_HEAD_LENGTH)
}

fn h2_options(options: &ServerOptions) -> H2Options {
    let mut h2 = default_h2_options();
    let most = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    h2.max_concurrent_streams(most(options.limits.streams))
        .max_header_list_size(most(max_head_length(options)))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .initial_window_size(RECEIVE_WINDOWS.0)
        .initial_connection_window_size(RECEIVE_WINDOWS.1)
        .max_send_buffer_size(SEND_BUFFER);
    h2
}

/// Performs the HTTP/2 handshake. `None` if it fails.
async fn negotiate(
    mut stream: ClientStream,
    timing: &ClientTiming,
    options: &ServerOptions,
) -> Option<(Connection, Arc<Digest>)> {
    stream.start_http2(max_head_length(options));
    let digest = Arc::new(Digest { socket_digest: stream.get_socket_digest(), ..Digest::default() });
    let beginning = Box::pin(handshake(Box::new(stream), Some(h2_options(options))));
    let agreed =
        tokio::time::timeout(options.timeouts.head, beginning).await.map_err(|_| DisconnectReason::HeadTimeout);
    match agreed.and_then(|agreed| agreed.map_err(|_| DisconnectReason::Malformed)) {
        Ok(connection) => Some((connection, digest)),
        Err(reason) => {
            timing.set_disconnect_reason(reason);
            None
        }
    }
}

/// Serves an HTTP/2 connection until it ends.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    server: &Server<A>,
    stream: ClientStream,
    timing: &Arc<ClientTiming>,
    options: &ServerOptions,
) {
    let Some((mut connection, digest)) = negotiate(stream, timing, options).await else {
        return;
    };
    let (streams, share) = (Arc::new(OpenStreams::default()), &timing.connection.share);
    let mut queue = Queue::new(share);
    let serve = |(session, permit)| serve_stream(server, session, timing, (streams.open(), permit));
    let mut stage = server.stage.clone();
    // A connection that begins while the process drains stays until the listeners close.
    let end = if *stage.borrow() < ShutdownStage::Draining { ShutdownStage::Draining } else { ShutdownStage::Closing };
    let expired = tokio::time::sleep(max_age(options.max_age, timing.connection.addresses.client));
    tokio::pin!(expired);
    let (mut leaving, mut malformed) = (false, 0_usize);
    let reason = loop {
        let next = tokio::select! {
            biased;
            () = wait_for_stage(&mut stage, end), if !leaving => {
                connection.graceful_shutdown();
                leaving = true;
                continue;
            }
            () = &mut expired, if !leaving => {
                server.metrics.disconnected(DisconnectReason::MaxAge);
                connection.graceful_shutdown();
                leaving = true;
                continue;
            }
            next = HttpSession::from_h2_conn(&mut connection, digest.clone()) => next,
            () = queue.wait(&streams), if !queue.is_empty() => {
                std::iter::from_fn(|| queue.next()).for_each(serve);
                continue;
            }
            () = streams.idle(options.timeouts.idle), if queue.is_empty() => break DisconnectReason::IdleTimeout,
            () = share.wait_until_shed() => break DisconnectReason::Memory,
        };
        match next {
            Ok(Some(H2Accept::Session(session))) => {
                timing.connection.requests.fetch_add(1, Ordering::Relaxed);
                malformed = malformed.saturating_sub(1);
                queue.take(session).into_iter().for_each(serve);
            }
            Ok(Some(H2Accept::Rejected)) => {
                timing.request_rejected();
                malformed += 1;
                if malformed == MAX_MALFORMED {
                    break DisconnectReason::MalformedStreams;
                }
            }
            Ok(None) => return,
            Err(error) => return check_reset_flood(timing, &error),
        }
    };
    // Boxed: an idle connection keeps the size of its largest part.
    Box::pin(close(connection, timing, reason)).await;
}

/// Ends a connection with an error for its client, or, if it is idle, without one.
async fn close(mut connection: Connection, timing: &ClientTiming, reason: DisconnectReason) {
    timing.set_disconnect_reason(reason);
    let idle = reason == DisconnectReason::IdleTimeout;
    connection.abrupt_shutdown(if idle { h2::Reason::NO_ERROR } else { h2::Reason::ENHANCE_YOUR_CALM });
    let close_timeout = if reason == DisconnectReason::Memory { SHORT_CLOSE_TIMEOUT } else { CLOSE_TIMEOUT };
    let _ = tokio::time::timeout(close_timeout, std::future::poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// Records a disconnect by the library itself: too many resets.
fn check_reset_flood(timing: &ClientTiming, error: &pingora::Error) {
    let cause = error.cause.as_deref().and_then(|cause| cause.downcast_ref::<h2::Error>());
    if cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)) {
        timing.set_disconnect_reason(DisconnectReason::Resets);
    }
}

/// The maximum age, spread by the client's port by ±10 %, so that connections of one moment do not end together.
fn max_age(declared: Duration, client: Option<SocketAddr>) -> Duration {
    let spread = client.map_or(0, |client| u32::from(client.port()) % 20);
    declared * (90 + spread) / 100
}

/// Serves a stream in a task of its own.
fn serve_stream<A: HttpServerApp + Send + Sync + 'static>(
    server: &Server<A>,
    session: HttpSession,
    timing: &Arc<ClientTiming>,
    open: (OpenStream, RequestPermit),
) {
    let Server { app, metrics, shutdown, .. } = server.clone();
    let timing = Arc::new(ClientTiming::new(timing.connection.clone(), timing.timeouts));
    let has_body = !session.is_body_empty();
    let downstream = Downstream { timing: timing.clone(), reader: None };
    // Boxed, because tokio moves the future of a task several times.
    tokio::spawn(Box::pin(downstream::serve(downstream, async move {
        let _open = open;
        let served = Box::pin(app.process_new_http(ServerSession::new_http2(session), &shutdown));
        if !has_body {
            served.await;
            return;
        }
        tokio::select! {
            biased;
            _ = served => {}
            () = body_too_slow(&timing) => metrics.disconnected(DisconnectReason::MinBodyRate),
            () = timing.stalled() => {}
        }
    })));
}

/// Completes when the stream's body falls below the minimum rate.
async fn body_too_slow(timing: &ClientTiming) {
    let mut tick = tokio::time::interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
    loop {
        tick.tick().await;
        if timing.is_body_slow() {
            // The access log needs the reason.
            timing.set_disconnect_reason(DisconnectReason::MinBodyRate);
            return;
        }
    }
}
