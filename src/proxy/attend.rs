//! Waiting that ends when the client leaves.

use super::caller::source;
use super::context::{Context, KEPT_BODY};
use super::head::content_length;
use super::stop::Stop;
use crate::edge::StrictHttp1Stream;
use crate::gateway::Upstream;
use crate::provider::Slot;
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};
use std::time::Duration;

/// How often it is looked whether a client is there whose body is not read.
const LOOK: Duration = Duration::from_millis(100);

/// Goes on with something for as long as the client is there; nothing is begun for one that has left already.
pub(super) async fn attended<T>(session: &mut Session, context: &Context, work: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        biased;
        () = left(session, context) => Err(Error::explain(ErrorType::ConnectionClosed, "the client has left").into_down()),
        done = work => Ok(done),
    }
}

/// Ends when the client has left. Over HTTP/1.1 that is behind what it has sent: as much of its body is read meanwhile
/// as Pingora keeps for the provider. Behind a larger one the connection is looked at from time to time.
async fn left(session: &mut Session, context: &Context) {
    if session.is_http2() && !session.as_mut().is_body_done() {
        if let Some(reset) = session.downstream_session.watch_h2_stream_close() {
            let _ = reset.await;
        }
        return;
    }
    while !session.as_mut().is_body_done() {
        if !is_kept(session) {
            return hangs_up(session).await;
        }
        match session.read_request_body().await {
            Ok(Some(_)) => context.body_came(session, false),
            Ok(None) => break,
            Err(_) => return,
        }
    }
    // Nothing of it is waited for any more.
    context.body_came(session, true);
    let _ = session.downstream_session.read_body_or_idle(true).await;
}

/// Ends when a client of HTTP/1 has left, of whose body nothing may be read yet: what it has sent hides that from those
/// who read. Where more has been sent than the system holds, the end has not come yet: that is seen when the wait is
/// over.
async fn hangs_up(session: &mut Session) {
    while !StrictHttp1Stream::has_left(session) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether all of a body is kept that is read before it goes on to the provider.
fn is_kept(session: &mut Session) -> bool {
    let length = content_length(session.req_header());
    session.as_mut().get_retry_buffer().is_some() && length.is_some_and(|length| length <= KEPT_BODY)
}

/// Takes a slot for a request whose body has been read, or has begun to come.
pub(super) async fn take_slot(session: &mut Session, context: &Context, upstream: &Upstream) -> Result<Slot, Stop> {
    let source = source(context, session);
    Ok(attended(session, context, context.runtime.slot(upstream, source)).await??)
}
