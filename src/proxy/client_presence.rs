//! Waiting that ends when the client leaves.

use super::caller::source;
use super::context::{Context, KEPT_BODY};
use super::downstream::Downstream;
use super::head::content_length;
use super::not_served::NotServed;
use crate::edge::StrictHttp1Stream;
use crate::gateway::Upstream;
use crate::provider::Slot;
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};
use std::time::Duration;

/// How often a connection is checked whose request body is not read meanwhile.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Waits for `work`, but no longer than the client is there. Nothing begins for a client that has left.
pub(super) async fn attended<D: Downstream, T>(
    downstream: &mut D,
    context: &Context,
    work: impl Future<Output = T>,
) -> Result<T> {
    tokio::select! {
        biased;
        () = downstream.until_client_leaves(context) => Err(Error::explain(ErrorType::ConnectionClosed, "the client has left").into_down()),
        done = work => Ok(done),
    }
}

/// Returns when the client has left. Over HTTP/1.1 that shows only behind what the client has sent, so its body is read
/// meanwhile, as far as Pingora keeps it for the provider. Behind a larger body the connection is checked at intervals.
pub(super) async fn until_client_leaves(session: &mut Session, context: &Context) {
    if session.is_http2() && !session.as_mut().is_body_done() {
        if let Some(reset) = session.downstream_session.watch_h2_stream_close() {
            let _ = reset.await;
        }
        return;
    }
    while !session.as_mut().is_body_done() {
        if !is_kept(session) {
            return until_connection_closes(session).await;
        }
        match session.read_request_body().await {
            Ok(Some(_)) => context.body_came(session, false),
            Ok(None) => break,
            Err(_) => return,
        }
    }
    // The whole body is here.
    context.body_came(session, true);
    let _ = session.downstream_session.read_body_or_idle(true).await;
}

/// Returns when an HTTP/1 client has left whose body must not be read yet: unread data hides the end from readers. If
/// the client has sent more than the socket buffer holds, the end has not arrived; then the client's absence shows only
/// after the wait.
async fn until_connection_closes(session: &mut Session) {
    while !StrictHttp1Stream::is_disconnected(session) {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Whether Pingora keeps all of a body that is read before it goes to the provider.
fn is_kept(session: &mut Session) -> bool {
    let length = content_length(session.req_header());
    session.as_mut().get_retry_buffer().is_some() && length.is_some_and(|length| length <= KEPT_BODY)
}

/// Takes a slot for a request whose body has been read, or has begun to arrive.
pub(super) async fn take_slot(
    session: &mut Session,
    context: &Context,
    upstream: &Upstream,
) -> Result<Slot, NotServed> {
    let source = source(context, &session.req_header().headers);
    let slots = &context.runtime.service.backend(upstream)?.slots;
    Ok(attended(session, context, slots.take(source)).await??)
}
