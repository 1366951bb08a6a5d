//! Writing rejections.

use super::body;
use super::context::Context;
use super::head::head;
use super::response::{rejection_response, write};
use crate::gateway::RequestHead;
use crate::model::Rejection;
use crate::telemetry::{CacheStatus, Decision, Shed};
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};

/// Responds with a rejection, in the error shape of the request's provider.
pub(super) async fn reject(session: &mut Session, context: &mut Context, rejection: &Rejection) -> Result<bool> {
    context.outcome.decision = if rejection.is_failure() { Decision::Failed } else { Decision::Rejected };
    context.outcome.upstream = context.upstream.as_ref().map(|upstream| upstream.index);
    context.outcome.rejection = Some(rejection.name());
    if *rejection == Rejection::Deleted {
        context.outcome.decision = Decision::Responded;
        context.outcome.cache = CacheStatus::Deleted;
    }
    if let Rejection::Violations(violations) = rejection {
        context.outcome.add_violations(violations);
    }
    if let Rejection::Grant(missing) = rejection {
        context.outcome.not_granted = Some(missing.as_str().into());
    }
    // The request is well-formed, and its caller is known.
    if matches!(rejection, Rejection::Grant(_) | Rejection::Scope(_)) {
        Box::pin(body::discard(session)).await;
    }
    // The client connects again, with its new certificate.
    if context.has_expired_certificate() {
        session.set_keepalive(None);
    }
    let (header, body) = rejection_response(context.upstream.as_deref(), session.req_header(), rejection, &context.id)?;
    write(session, context, header, body, None).await?;
    Ok(true)
}

/// Rejects a request because the memory budget is used up.
pub(super) async fn reject_overloaded(session: &mut Session, context: &mut Context) -> Result<bool> {
    let (runtime, listener) = (context.runtime.clone(), context.listener());
    let RequestHead { host, path, .. } = head(session.req_header(), &listener, false);
    context.upstream = runtime.gateway.find_upstream(&listener, host, path).cloned();
    context.shed(Shed::Request);
    session.set_keepalive(None);
    reject(session, context, &Rejection::Overloaded).await
}

/// Ends a request because the memory budget is used up.
pub(super) fn end(context: &Context, what: Shed) -> Box<Error> {
    context.shed(what);
    Error::explain(ErrorType::InternalError, "low on memory")
}
