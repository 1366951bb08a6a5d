//! Waiting that ends when the client leaves.

use super::caller::source;
use super::context::Context;
use super::downstream::Downstream;
use super::not_served::NotServed;
use crate::gateway::Upstream;
use crate::provider::Slot;
use pingora::{Error, ErrorType, Result};

/// Waits for `work`, but no longer than the client is there. Nothing begins for a client that has left.
pub(super) async fn attended<D: Downstream, T>(
    downstream: &mut D,
    context: &Context,
    work: impl Future<Output = T>,
) -> Result<T> {
    tokio::select! {
        biased;
        () = downstream.until_client_leaves(context) => Err(Error::explain(ErrorType::ConnectionClosed, "the client has left").into_down()),
        done = work => Ok(done),
    }
}

/// Takes a slot for a request whose body has been read, or has begun to arrive.
pub(super) async fn take_slot<D: Downstream>(
    downstream: &mut D,
    context: &Context,
    upstream: &Upstream,
) -> Result<Slot, NotServed> {
    let source = source(context, &downstream.request().headers);
    let slots = &context.runtime.service.backend(upstream)?.slots;
    Ok(attended(downstream, context, slots.take(source)).await??)
}
