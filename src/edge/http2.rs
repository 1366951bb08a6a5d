//! Connections of HTTP/2: their streams, and when they end.

use super::client_stream::ClientStream;
use super::client_timing::ClientTiming;
use super::downstream::{self, Downstream};
use super::memory_share::RequestPermit;
use super::server::{Server, ServerOptions, Stage, reached};
use super::streams::{OpenStream, Queue, Streams};
use super::uploads::CHECK;
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

/// Malformed requests that one connection may send, beside one for each that is not.
const MALFORMED: usize = 32;
/// Streams that the client may have reset before the gateway looked at them.
const RESET_EARLY: usize = 50;
/// Streams that the gateway may have reset for what the client did, as the library counts them: it gives none back, and
/// counts those that come in one go before their resets are written, which [`super::flood`] cannot.
const RESET_BY_US: usize = 300;
/// How much of bodies a client may send ahead, on a stream and on the whole connection.
const WINDOWS: (u32, u32) = (64 << 10, 1 << 20);
/// How much of a response is held for a client that does not take it.
pub(crate) const HELD: usize = 64 << 10;
/// What is read of the head of a request in any case: Pingora's own limit.
const LEAST_HEAD: usize = 64 << 10;
/// How long a client may take to end a connection that it was told to end for what it did.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The same where memory is short.
const SHORT_CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

type Connection = h2::server::Connection<Stream, Bytes>;

/// How large a head may be for the library, which is beyond the gateway's own limit: the gateway answers itself.
fn largest_head(options: &ServerOptions) -> usize {
    (options.limits.head.block * 2).max(LEAST_HEAD)
}

fn h2_options(options: &ServerOptions) -> H2Options {
    let mut h2 = default_h2_options();
    let most = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    h2.max_concurrent_streams(most(options.limits.streams))
        .max_header_list_size(most(largest_head(options)))
        .max_pending_accept_reset_streams(RESET_EARLY)
        .max_local_error_reset_streams(Some(RESET_BY_US))
        .initial_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_send_buffer_size(HELD);
    h2
}

/// Agrees with a client on HTTP/2; none where that fails.
async fn agree(
    mut stream: ClientStream,
    timing: &ClientTiming,
    options: &ServerOptions,
) -> Option<(Connection, Arc<Digest>)> {
    stream.speaks_http2(options.limits.head.count, largest_head(options));
    let digest = Arc::new(Digest { socket_digest: stream.get_socket_digest(), ..Digest::default() });
    let beginning = Box::pin(handshake(Box::new(stream), Some(h2_options(options))));
    let agreed =
        tokio::time::timeout(options.timeouts.head, beginning).await.map_err(|_| DisconnectReason::HeadTimeout);
    match agreed.and_then(|agreed| agreed.map_err(|_| DisconnectReason::Malformed)) {
        Ok(connection) => Some((connection, digest)),
        Err(cut) => {
            timing.note_cut(cut);
            None
        }
    }
}

/// Serves a connection of HTTP/2 to its end.
pub(super) async fn serve<A: HttpServerApp + Send + Sync + 'static>(
    server: &Server<A>,
    stream: ClientStream,
    peer: Option<SocketAddr>,
    timing: &Arc<ClientTiming>,
    options: &ServerOptions,
) {
    let Some((mut connection, digest)) = agree(stream, timing, options).await else {
        return;
    };
    let (streams, share) = (Arc::new(Streams::default()), &timing.arrival.share);
    let mut queue = Queue::new(share);
    let serve = |(session, admitted)| response(server, session, timing, (streams.open(), admitted));
    let mut stage = server.stage.clone();
    // A connection that begins while clients are asked to go elsewhere is left alone for as long as others are
    // accepted.
    let end = if *stage.borrow() < Stage::Draining { Stage::Draining } else { Stage::Closing };
    let old = tokio::time::sleep(age(options.max_age, peer));
    tokio::pin!(old);
    let (mut leaving, mut malformed) = (false, 0_usize);
    let cut = loop {
        let next = tokio::select! {
            biased;
            () = reached(&mut stage, end), if !leaving => {
                connection.graceful_shutdown();
                leaving = true;
                continue;
            }
            () = &mut old, if !leaving => {
                server.metrics.cut(DisconnectReason::MaxAge);
                connection.graceful_shutdown();
                leaving = true;
                continue;
            }
            next = HttpSession::from_h2_conn(&mut connection, digest.clone()) => next,
            () = queue.turn(&streams), if !queue.is_empty() => {
                std::iter::from_fn(|| queue.next()).for_each(serve);
                continue;
            }
            () = streams.idle(options.timeouts.idle), if queue.is_empty() => break DisconnectReason::IdleTimeout,
            () = share.given_up() => break DisconnectReason::Memory,
        };
        match next {
            Ok(Some(H2Accept::Session(session))) => {
                timing.arrival.requests.fetch_add(1, Ordering::Relaxed);
                malformed = malformed.saturating_sub(1);
                queue.take(session).into_iter().for_each(serve);
            }
            Ok(Some(H2Accept::Rejected)) => {
                timing.request_was_rejected();
                malformed += 1;
                if malformed == MALFORMED {
                    break DisconnectReason::MalformedStreams;
                }
            }
            Ok(None) => return,
            Err(error) => return note_flood(timing, &error),
        }
    };
    timing.note_cut(cut);
    let idle = cut == DisconnectReason::IdleTimeout;
    connection.abrupt_shutdown(if idle { h2::Reason::NO_ERROR } else { h2::Reason::ENHANCE_YOUR_CALM });
    let close_timeout = if cut == DisconnectReason::Memory { SHORT_CLOSE_TIMEOUT } else { CLOSE_TIMEOUT };
    let _ = tokio::time::timeout(close_timeout, std::future::poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// The library gives a connection up by itself when too many streams are reset.
fn note_flood(timing: &ClientTiming, error: &pingora::Error) {
    let cause = error.cause.as_deref().and_then(|cause| cause.downcast_ref::<h2::Error>());
    if cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)) {
        timing.note_cut(DisconnectReason::Resets);
    }
}

/// When a connection is old: about the time that is declared, so that not all that began together end together.
fn age(declared: Duration, peer: Option<SocketAddr>) -> Duration {
    let spread = peer.map_or(0, |peer| u32::from(peer.port()) % 20);
    declared * (90 + spread) / 100
}

/// Serves a stream in a task of its own.
fn response<A: HttpServerApp + Send + Sync + 'static>(
    server: &Server<A>,
    session: HttpSession,
    timing: &Arc<ClientTiming>,
    open: (OpenStream, RequestPermit),
) {
    let Server { app, metrics, ending, .. } = server.clone();
    let timing = Arc::new(ClientTiming::new(timing.arrival.clone(), timing.timeouts));
    let has_body = !session.is_body_empty();
    let downstream = Downstream { timing: timing.clone(), requests: None };
    tokio::spawn(downstream::serve(downstream, async move {
        let _open = open;
        let served = Box::pin(app.process_new_http(ServerSession::new_http2(session), &ending));
        if !has_body {
            served.await;
            return;
        }
        tokio::select! {
            biased;
            _ = served => {}
            () = stalls(&timing) => metrics.cut(DisconnectReason::MinBodyRate),
            () = timing.stands_still() => {}
        }
    }));
}

/// Ends when the body of a stream comes too slowly.
async fn stalls(timing: &ClientTiming) {
    let mut tick = tokio::time::interval_at(Instant::now() + CHECK, CHECK);
    loop {
        tick.tick().await;
        if timing.is_slow() {
            // For what is said of the request when it ends.
            timing.note_cut(DisconnectReason::MinBodyRate);
            return;
        }
    }
}
