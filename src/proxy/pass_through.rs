//! Pass-through requests: forwarded by Pingora, or by the gateway itself where they are whole.

use super::attend::take_slot;
use super::context::Context;
use super::stop::Stop;
use super::{offers, whole};
use crate::descriptors;
use crate::gateway::Upstream;
use crate::model::{Operation, Rejection};
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};
use std::sync::Arc;

/// Lets a request pass, once it is its turn.
pub(super) async fn pass(
    session: &mut Session,
    context: &mut Context,
    upstream: Arc<Upstream>,
    operation: Operation,
) -> Result<bool, Stop> {
    context.upstream = Some(upstream.clone());
    offers::ignore_empty(session.req_header_mut());
    await_body(session, context).await?;
    context.slot = Some(take_slot(session, context, &upstream).await?);
    // Of governed requests only those that need another connection ask for that.
    if descriptors::are_scarce() {
        return Err(Rejection::UpstreamBusy.into());
    }
    context.passes(&upstream, operation);
    whole::forward(session, context, &upstream).await
}

/// Waits until the body of a request begins to come, where it is declared: a client that sends none of it costs no
/// connection to the provider. Whoever waits to be told to send it is told here.
async fn await_body(session: &mut Session, context: &Context) -> Result<()> {
    if session.is_body_empty() || !session.req_header().headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    if session.req_header_mut().remove_header(&EXPECT).is_some() && session.req_header().version > Version::HTTP_10 {
        session.write_continue_response().await.map_err(|error| error.into_down())?;
    }
    // Pingora sends what it has kept for another try before what it reads.
    session.as_mut().enable_retry_buffering();
    session.read_request_body().await.map_err(|error| error.into_down())?;
    let whole = session.as_mut().is_body_done();
    context.body_came(session, whole);
    if session.as_ref().retry_buffer_truncated() {
        return Err(Error::explain(ErrorType::InternalError, "the first part of the body is too large to be kept"));
    }
    Ok(())
}
