//! Pass-through requests to HTTP/2 providers whose body is here completely: the gateway sends them by itself.
//!
//! A provider may report that it has not processed a request (RFC 9113, section 8.7). Any such request may be sent
//! again, unless a part of a response came before, which may be an informational one. Pingora does not show those of
//! HTTP/2. So requests that can be sent again are sent from here, and Pingora sends each HTTP/2 request once.

use super::client_presence::attended;
use super::context::{Context, KEPT_BODY};
use super::downstream::Downstream;
use super::head::content_length;
use super::not_served::NotServed;
use super::peer::{Versions, versions};
use super::reject;
use super::relay::{Relayed, fetch, relay};
use crate::edge::OutOfMemory;
use crate::gateway::Upstream;
use crate::memory::Level;
use crate::model::Rejection;
use crate::provider::Fetch;
use crate::serve::ObservedExchange;
use crate::telemetry::Shed;
use bytes::Bytes;
use pingora::Result;
use pingora::prelude::Session;
use std::pin::pin;
use std::task::Poll;

/// How much of a body of undeclared length may be kept when its next part is read: a part of HTTP/2 is no larger than
/// the rest of [`KEPT_BODY`].
const ALMOST_KEPT: usize = KEPT_BODY - (16 << 10);

/// Forwards a request over HTTP/2 if its body is here completely, and its response. `false` if Pingora has to do it.
pub(super) async fn forward(
    session: &mut Session,
    context: &mut Context,
    upstream: &Upstream,
) -> Result<bool, NotServed> {
    match versions(context, session.req_header(), session.is_upgrade_req()) {
        Versions::Http1 => Ok(false),
        // Boxed, so that the future of all other requests stays small.
        versions => Box::pin(over_http2(session, context, upstream, versions)).await,
    }
}

async fn over_http2(
    session: &mut Session,
    context: &mut Context,
    upstream: &Upstream,
    versions: Versions,
) -> Result<bool, NotServed> {
    let provider = context.runtime.service.backend(upstream)?.provider.clone();
    context.over_http2 = versions == Versions::Http2 || attended(session, context, provider.speaks_http2()).await?;
    if !context.over_http2 {
        return Ok(false);
    }
    let Some(body) = whole_body(session, context).await? else {
        return Ok(false);
    };
    let held = context.holds_body(body.len(), Level::Exceeded);
    held.map_err(|OutOfMemory| reject::end(context, Shed::Request))?;
    let reads = session.req_header().method.is_safe();
    let fetch = Fetch { reads, ..fetch(session, context, upstream, &provider, body) };
    let (metrics, operation) = (&context.runtime.metrics, context.outcome.operation);
    let observed = ObservedExchange::streamed(metrics, upstream, operation, &fetch.record);
    let response = attended(session, context, provider.forward(&fetch)).await?.map_err(|failure| failure.rejection)?;
    drop(observed);
    context.runtime.metrics.upstream_connection(upstream.index, response.reused);
    let relayed = Relayed { response, read: Vec::new(), slot: None };
    relay(session, context, relayed, upstream.target.timeouts.idle).await?;
    Ok(true)
}

/// The whole body, if its length is declared or it is here already, and Pingora keeps all of it. A body of undeclared
/// length may be one side of a conversation, so its end is not waited for. `None` if it is not complete; Pingora keeps
/// what was read.
async fn whole_body(session: &mut Session, context: &Context) -> Result<Option<Bytes>, NotServed> {
    if session.is_body_empty() {
        return Ok(Some(Bytes::new()));
    }
    let declared = content_length(session.req_header());
    let may_be_whole = declared.map_or(session.is_http2(), |length| length <= KEPT_BODY);
    if !may_be_whole {
        return Ok(None);
    }
    session.as_mut().enable_retry_buffering();
    loop {
        if declared.is_none() && session.body_bytes_read() > ALMOST_KEPT {
            return Ok(None);
        }
        let part = match declared {
            Some(_) => Some(session.read_request_body().await),
            None => next_if_here(session).await,
        };
        match part.transpose().map_err(|error| error.into_down())? {
            Some(Some(_)) => context.body_came(session.http2_body_read(), false),
            // The end of the body, or its trailers.
            Some(None) => break,
            None => return Ok(None),
        }
    }
    context.body_came(session.http2_body_read(), true);
    let body = session.as_mut().get_retry_buffer().unwrap_or_default();
    if declared.is_some_and(|length| length != body.len()) {
        return Err(Rejection::Malformed("the body length differs from `Content-Length`".into()).into());
    }
    Ok(Some(body))
}

/// The next part of a body, if it is here already.
async fn next_if_here(session: &mut Session) -> Option<Result<Option<Bytes>>> {
    let mut part = pin!(session.read_request_body());
    std::future::poll_fn(|cx| match part.as_mut().poll(cx) {
        Poll::Ready(part) => Poll::Ready(Some(part)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
