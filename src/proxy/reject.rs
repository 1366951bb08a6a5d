//! Writing rejections.

use super::body;
use super::context::Context;
use super::downstream::Downstream;
use super::head::head;
use super::not_served::NotServed;
use super::response::{rejection_response, write};
use crate::gateway::{RejectedRequest, RequestHead};
use crate::model::Rejection;
use crate::telemetry::{CacheStatus, Decision, Shed};
use pingora::{Error, ErrorType, Result};

/// Responds with a rejection, in the error shape of the request's provider.
pub(super) async fn reject<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    rejection: &Rejection,
) -> Result<bool> {
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
        Box::pin(body::discard(downstream)).await;
    }
    // The client connects again, with its new certificate.
    if context.has_expired_certificate() {
        downstream.close();
    }
    let (header, body) = rejection_response(context.upstream.as_deref(), downstream.request(), rejection, &context.id)?;
    write(downstream, context, header, body, None).await?;
    Ok(true)
}

/// Responds with a rejection, if the request was not served because of one.
pub(super) async fn finish<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    result: Result<bool, NotServed>,
) -> Result<bool> {
    match result {
        Ok(sent) => Ok(sent),
        Err(NotServed::Rejected(rejection)) => reject(downstream, context, &rejection).await,
        Err(NotServed::Gone(error)) => Err(error),
    }
}

/// Rejects a request because the memory budget is used up.
pub(super) async fn reject_overloaded<D: Downstream>(downstream: &mut D, context: &mut Context) -> Result<bool> {
    context.shed(Shed::Request);
    reject_early(downstream, context, &Rejection::Overloaded).await
}

/// Rejects a request for its head.
pub(super) async fn reject_head<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    rejection: &Rejection,
) -> Result<bool> {
    context.timing.as_ref().inspect(|timing| timing.head_rejected());
    reject_early(downstream, context, rejection).await
}

/// Rejects a request that was not classified.
pub(super) async fn reject_request<D: Downstream>(
    downstream: &mut D,
    context: &mut Context,
    rejected: RejectedRequest,
) -> Result<bool> {
    context.matches(rejected.route);
    context.upstream = rejected.upstream;
    reject(downstream, context, &rejected.rejection).await
}

/// Rejects a request whose head is not used any further, and closes its connection.
async fn reject_early<D: Downstream>(downstream: &mut D, context: &mut Context, rejection: &Rejection) -> Result<bool> {
    let (runtime, listener) = (context.runtime.clone(), context.listener());
    let RequestHead { host, path, .. } = head(downstream.request(), &listener, false);
    // Only for the error shape of the response.
    context.upstream = runtime.gateway.find_upstream(&listener, host, path).cloned();
    downstream.close();
    reject(downstream, context, rejection).await
}

/// Ends a request because the memory budget is used up.
pub(super) fn end(context: &Context, what: Shed) -> Box<Error> {
    context.shed(what);
    Error::explain(ErrorType::InternalError, "low on memory")
}
