//! Requests that memory is too short for.

use super::context::Context;
use super::head::head;
use super::hooks::reject;
use crate::gateway::RequestHead;
use crate::model::Rejection;
use crate::telemetry::Shed;
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};

/// Responses that memory is too short for another request.
pub(super) async fn reject_overloaded(session: &mut Session, context: &mut Context) -> Result<bool> {
    let (runtime, listener) = (context.runtime.clone(), context.listener());
    let RequestHead { host, path, .. } = head(session.req_header(), &listener, false);
    context.upstream = runtime.gateway.upstream_of(&listener, host, path).cloned();
    context.shed(Shed::Request);
    session.set_keepalive(None);
    reject(session, context, &Rejection::Overloaded).await
}

/// Ends a request that memory is too short for.
pub(super) fn end(context: &Context, what: Shed) -> Box<Error> {
    context.shed(what);
    Error::explain(ErrorType::InternalError, "memory is short")
}
