//! Governed requests of HTTP/1 that are served without a session of Pingora's, which costs a quarter of a cache hit.
//!
//! Only plain requests: the whole head is here, the length of the body is known, and nothing in the head is about the
//! connection. What is decided, and the response, are those of [`super::hooks`], by the same functions; a test compares
//! the two.

use super::context::Context;
use super::direct_client::{DirectClient, plain_request};
use super::downstream::Downstream;
use super::reject::{reject, reject_head, reject_overloaded, reject_request};
use super::{access_log, governed, routing, upstream_error};
use crate::edge::{ConnectionContext, DirectApp, DirectEnd, DirectRequest, DirectServing};
use crate::gateway::Routed;
use crate::model::Rejection;
use crate::runtime::{CurrentRuntime, Runtime};
use futures_util::FutureExt;
use pingora::Result;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

/// Serves governed requests without Pingora.
pub(super) struct Direct {
    running: Arc<CurrentRuntime>,
}

impl Direct {
    pub fn new(running: Arc<CurrentRuntime>) -> Direct {
        Direct { running }
    }
}

impl DirectApp for Direct {
    fn may_serve(&self, connection: &ConnectionContext, host: &str, target: &str) -> bool {
        let (runtime, path) = (self.running.now(), target.split('?').next().unwrap_or_default());
        let upstream = runtime.gateway.find_upstream(&connection.listener, host, path);
        upstream.is_some_and(|upstream| upstream.dialect.may_govern(upstream.matcher.upstream_path(path)))
    }

    fn serve<'a>(&'a self, request: DirectRequest<'a>) -> Option<DirectServing<'a>> {
        let DirectRequest { head, stream } = request;
        let client =
            DirectClient { request: plain_request(&head)?, stream, is_kept: true, status: None, is_whole: false };
        Some(Box::pin(client.serve(self.running.now())))
    }
}

impl DirectClient<'_> {
    /// Serves the request, to its access log line.
    async fn serve(mut self, runtime: Arc<Runtime>) -> DirectEnd {
        let mut context = Box::new(Context::new(runtime));
        context.assign_ids(&mut self.request);
        if let Some(timing) = context.timing.as_ref().filter(|_| self.stream.body_left() > 0) {
            timing.expect_body();
        }
        let served = match AssertUnwindSafe(self.respond(&mut context)).catch_unwind().await {
            Ok(served) => served,
            // Part of a response has been written: the request is aborted.
            Err(panic) if self.status.is_some() => resume_unwind(panic),
            Err(_) => {
                self.close();
                reject(&mut self, &mut context, &Rejection::InternalError).await.map(|_| true)
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
                upstream_error::response(&mut self, &error, &mut context).await;
                self.account(&mut context);
                return DirectEnd::Closed;
            }
        }
        self.account(&mut context);
        if self.is_kept {
            return DirectEnd::Kept;
        }
        context.end();
        self.shutdown().await;
        DirectEnd::Closed
    }

    /// The metrics and the access log line.
    fn account(&self, context: &mut Context) {
        access_log::account(context, self.status.map_or(0, |status| status.as_u16()), context.written);
        context.timing.iter().for_each(|timing| timing.request_complete());
    }

    /// Responds to the request. `false` if Pingora has to serve it.
    async fn respond(&mut self, context: &mut Context) -> Result<bool> {
        if context.admit().is_err() {
            self.stream.take_head();
            return reject_overloaded(self, context).await;
        }
        if let Err(rejection) = routing::check_head(&mut self.request, context) {
            self.stream.take_head();
            return reject_head(self, context, &rejection).await;
        }
        match routing::route(&mut self.request, context)? {
            Ok(Routed::Governed(governed)) => {
                self.stream.take_head();
                governed::respond(self, context, governed).await
            }
            Err(rejected) => {
                self.stream.take_head();
                reject_request(self, context, rejected).await
            }
            Ok(Routed::PassThrough(..) | Routed::Invalidating(_) | Routed::InvalidatingIfAccepted(_)) => Ok(false),
        }
    }
}

#[cfg(feature = "sandbox")]
#[cfg(test)]
mod tests;
