//! Pass-through requests to providers of HTTP/2 that are whole as soon as they come: the gateway sends them by itself.
//!
//! A provider may say that it has not looked at a request (RFC 9113, section 8.7), so that any may be sent again:
//! unless anything of a response came before, an informational one included. Of HTTP/2 Pingora shows none of those. So
//! what may be sent again for that goes this way, where they are seen, and what goes over HTTP/2 by way of Pingora is
//! sent once.

use super::attend::attended;
use super::context::{Context, KEPT_BODY};
use super::head::content_length;
use super::peer::{Versions, versions};
use super::reject;
use super::relay::{Relayed, fetch, relay};
use super::stop::Stop;
use crate::edge::MemoryShort;
use crate::gateway::Upstream;
use crate::memory::Level;
use crate::model::Rejection;
use crate::provider::Fetch;
use crate::telemetry::Shed;
use bytes::Bytes;
use pingora::Result;
use pingora::prelude::Session;
use std::pin::pin;
use std::task::Poll;

/// How much of a body of undeclared length may be kept before another part of it is looked for: one of HTTP/2 is no
/// larger than the rest.
const ALMOST_KEPT: usize = KEPT_BODY - (16 << 10);

/// Forwards a request that is whole, over HTTP/2, and its response. `false` where it is not, or goes another way.
pub(super) async fn forward(session: &mut Session, context: &mut Context, upstream: &Upstream) -> Result<bool, Stop> {
    match versions(context, session) {
        Versions::Http1 => Ok(false),
        // Boxed, as all others are to be small.
        versions => Box::pin(over_http2(session, context, upstream, versions)).await,
    }
}

async fn over_http2(
    session: &mut Session,
    context: &mut Context,
    upstream: &Upstream,
    versions: Versions,
) -> Result<bool, Stop> {
    let provider = context.runtime.service.backend(upstream)?.provider.clone();
    context.over_http2 = versions == Versions::Http2 || attended(session, context, provider.speaks_http2()).await?;
    if !context.over_http2 {
        return Ok(false);
    }
    let Some(body) = whole_body(session, context).await? else {
        return Ok(false);
    };
    let held = context.holds_body(body.len(), Level::Over);
    held.map_err(|MemoryShort| reject::end(context, Shed::Request))?;
    let reads = session.req_header().method.is_safe();
    let fetch = Fetch { reads, ..fetch(session, context, upstream, &provider, body) };
    let response = attended(session, context, provider.forward(&fetch)).await?.map_err(|failure| failure.rejection)?;
    context.runtime.metrics.upstream_connection(upstream.index, response.reused);
    let relayed = Relayed { response, read: Vec::new(), _slot: None };
    relay(session, context, relayed, upstream.target.timeouts.idle).await?;
    Ok(true)
}

/// The whole body, as far as Pingora keeps it, where it is declared or is here already: one of undeclared length may be
/// a side of a conversation, and is not waited for. None where it is not whole: what was read of it is kept.
async fn whole_body(session: &mut Session, context: &Context) -> Result<Option<Bytes>, Stop> {
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
            None => what_is_here(session).await,
        };
        match part.transpose().map_err(|error| error.into_down())? {
            Some(Some(_)) => context.body_came(session, false),
            // Its end, where trailers may stand.
            Some(None) => break,
            None => return Ok(None),
        }
    }
    context.body_came(session, true);
    let body = session.as_mut().get_retry_buffer().unwrap_or_default();
    if declared.is_some_and(|length| length != body.len()) {
        return Err(Rejection::Malformed("the body is not as long as `Content-Length` says".into()).into());
    }
    Ok(Some(body))
}

/// The next part of a body, where it is here.
async fn what_is_here(session: &mut Session) -> Option<Result<Option<Bytes>>> {
    let mut part = pin!(session.read_request_body());
    std::future::poll_fn(|cx| match part.as_mut().poll(cx) {
        Poll::Ready(part) => Poll::Ready(Some(part)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
