//! Requests of HTTP/1 that are served without a session of Pingora's, which costs a quarter of a cache hit, and a third
//! of a pass-through.
//!
//! Only plain requests: the whole head is here, the length of the body is known, and nothing in the head is about the
//! connection. What is decided, and the response, are those of [`super::hooks`], by the same functions; a test compares
//! the two. A pass-through request is forwarded by [`super::direct_forward`].

use super::caller::authorize_passed;
use super::context::Context;
use super::direct_client::DirectClient;
use super::direct_forward::Forwarder;
use super::downstream::Downstream;
use super::reject::{finish, reject, reject_head, reject_overloaded, reject_request};
use super::{access_log, governed, logout, peer, routing, upstream_error};
use crate::edge::{ConnectionContext, DirectApp, DirectEnd, DirectRequest, DirectServing};
use crate::gateway::{Routed, Upstream};
use crate::model::{Operation, Rejection};
use crate::runtime::{CurrentRuntime, Runtime};
use futures_util::FutureExt;
use pingora::Result;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

/// Serves requests without Pingora.
pub(super) struct Direct {
    running: Arc<CurrentRuntime>,
    forwarder: Forwarder,
}

impl Direct {
    /// Call inside a tokio runtime.
    pub fn new(running: Arc<CurrentRuntime>) -> Direct {
        Direct { running, forwarder: Forwarder::new() }
    }
}

impl DirectApp for Direct {
    fn may_serve(&self, connection: &ConnectionContext, host: &str, target: &str) -> bool {
        let (runtime, path) = (self.running.now(), target.split('?').next().unwrap_or_default());
        let upstream = runtime.gateway.find_upstream(&connection.listener, host, path);
        upstream.is_none_or(|upstream| {
            upstream.dialect.may_govern(upstream.matcher.upstream_path(path)) || peer::is_http1(&upstream.target)
        })
    }

    fn serve<'a>(&'a self, request: DirectRequest<'a>) -> Option<DirectServing<'a>> {
        let client = DirectClient::new(request.head, request.stream)?;
        Some(Box::pin(serve(client, &self.forwarder, self.running.now())))
    }
}

/// Serves a request, to its access log line.
async fn serve(mut client: DirectClient<'_>, forwarder: &Forwarder, runtime: Arc<Runtime>) -> DirectEnd {
    let mut context = Box::new(Context::new(runtime));
    context.assign_ids(&mut client.request);
    if let Some(timing) = context.timing.as_ref().filter(|_| client.stream.body_left() > 0) {
        timing.expect_body();
    }
    let served = match AssertUnwindSafe(respond(&mut client, &mut context, forwarder)).catch_unwind().await {
        Ok(served) => served,
        // Part of a response has been written: the request is aborted.
        Err(panic) if client.status.is_some() => resume_unwind(panic),
        Err(_) => {
            client.close();
            reject(&mut client, &mut context, &Rejection::InternalError).await.map(|_| true)
        }
    };
    match served {
        Ok(true) => {}
        Ok(false) => {
            // Pingora's request is another one.
            context.is_accounted_for = true;
            return DirectEnd::Unserved;
        }
        Err(error) => {
            upstream_error::response(&mut client, &error, &mut context).await;
            account(&client, &mut context);
            return DirectEnd::Closed;
        }
    }
    account(&client, &mut context);
    if client.is_kept {
        return DirectEnd::Kept;
    }
    context.end();
    client.shutdown().await;
    DirectEnd::Closed
}

/// The metrics and the access log line.
fn account(client: &DirectClient, context: &mut Context) {
    context.slot = None;
    access_log::account(context, client.status.map_or(0, |status| status.as_u16()), client.sent);
    context.timing.iter().for_each(|timing| timing.request_complete());
}

/// Responds to the request. `false` if Pingora has to serve it.
async fn respond(client: &mut DirectClient<'_>, context: &mut Context, forwarder: &Forwarder) -> Result<bool> {
    if context.admit().is_err() {
        client.stream.take_head();
        return reject_overloaded(client, context).await;
    }
    if let Err(rejection) = routing::check_head(&mut client.request, context) {
        client.stream.take_head();
        return reject_head(client, context, &rejection).await;
    }
    match routing::route(&mut client.request, context)? {
        Ok(Routed::Governed(governed)) => {
            client.stream.take_head();
            governed::respond(client, context, governed).await
        }
        Ok(Routed::PassThrough(upstream, operation)) => {
            context.upstream = Some(upstream.clone());
            if !forwarder.takes(client, context, &upstream) {
                return Ok(false);
            }
            client.stream.take_head();
            // Boxed, so that the future of a governed request stays small.
            Box::pin(pass(client, context, forwarder, upstream, operation)).await
        }
        Err(rejected) => {
            client.stream.take_head();
            reject_request(client, context, rejected).await
        }
        Ok(Routed::Invalidating(_) | Routed::InvalidatingIfAccepted(_)) => Ok(false),
    }
}

/// Forwards a pass-through request.
async fn pass(
    client: &mut DirectClient<'_>,
    context: &mut Context,
    forwarder: &Forwarder,
    upstream: Arc<Upstream>,
    operation: Operation,
) -> Result<bool> {
    if let Err(rejection) = authorize_passed(&client.request, context, &upstream, operation).await {
        return reject(client, context, &rejection).await;
    }
    context.is_plain_read = context.samples() && logout::is_plain_read(&client.request, &upstream);
    let passed = forwarder.forward(client, context, upstream, operation).await;
    finish(client, context, passed.map(|()| true)).await
}

#[cfg(feature = "sandbox")]
#[cfg(test)]
mod tests;
