//! From the head of a request to what it is.

use super::context::Context;
use super::head::{self, head};
use super::upgrade_offers;
use crate::edge;
use crate::gateway::{RejectedRequest, Routed};
use crate::model::Rejection;
use pingora::Result;
use pingora::http::RequestHeader;

/// Checks the head of a request before anything in it is used.
pub(super) fn check_head(header: &mut RequestHeader, context: &Context) -> Result<(), Rejection> {
    let over_socket = context.is_over_socket();
    if over_socket {
        head::drop_path(header);
    }
    head::check(header, edge::fault(), context.head_limits(), over_socket)
}

/// Classifies a request whose head has been checked.
pub(super) fn route(header: &mut RequestHeader, context: &Context) -> Result<Result<Routed, RejectedRequest>> {
    upgrade_offers::ignore(header)?;
    head::drop_root(header)?;
    Ok(context.runtime.gateway.route(head(header, &context.listener(), context.is_trusted)))
}
