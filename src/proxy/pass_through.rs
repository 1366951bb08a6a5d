//! Pass-through requests: Pingora forwards them, or the gateway itself if their body is here completely.

use super::client_presence::take_slot;
use super::context::Context;
use super::downstream::Downstream;
use super::not_served::NotServed;
use super::{buffered_http2, upgrade_offers};
use crate::descriptors;
use crate::gateway::Upstream;
use crate::model::{Operation, Rejection};
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};
use std::sync::Arc;

/// Forwards a pass-through request as soon as a slot is free. `true` if the response has been sent; otherwise Pingora
/// goes on.
pub(super) async fn pass(
    session: &mut Session,
    context: &mut Context,
    upstream: Arc<Upstream>,
    operation: Operation,
) -> Result<bool, NotServed> {
    upgrade_offers::ignore_empty(session.req_header_mut());
    await_body(session, context).await?;
    begin(session, context, &upstream, operation).await?;
    buffered_http2::forward(session, context, &upstream).await
}

/// Waits for a slot. Then the request may go to the provider.
pub(super) async fn begin<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    upstream: &Upstream,
    operation: Operation,
) -> Result<(), NotServed> {
    context.slot = Some(take_slot(downstream, context, upstream).await?);
    // A governed request that needs a new connection checks this itself.
    if descriptors::are_exhausted() {
        return Err(Rejection::UpstreamBusy.into());
    }
    context.passes(upstream, operation);
    Ok(())
}

/// Waits until a declared body begins to arrive: a client that sends none of it costs no connection to the provider.
/// Sends 100 to a client that expects it.
async fn await_body(session: &mut Session, context: &Context) -> Result<()> {
    if session.is_body_empty() || !session.req_header().headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    if session.req_header_mut().remove_header(&EXPECT).is_some() && session.req_header().version > Version::HTTP_10 {
        session.write_continue_response().await.map_err(|error| error.into_down())?;
    }
    // Pingora sends what it kept for a retry before what it reads.
    session.as_mut().enable_retry_buffering();
    session.read_request_body().await.map_err(|error| error.into_down())?;
    let whole = session.as_mut().is_body_done();
    context.body_came(session.http2_body_read(), whole);
    if session.as_ref().retry_buffer_truncated() {
        return Err(Error::explain(ErrorType::InternalError, "the first part of the body is too large to buffer"));
    }
    Ok(())
}
