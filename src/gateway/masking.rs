//! Responses without what masks hide.

use super::{ProviderResponse, Upstream};
use crate::dialect::Route;
use crate::grant::{Grant, Masks};
use crate::wire::carrier::Carrier;
use crate::wire::coding;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use std::sync::Arc;

/// What a grant hides; `None` if nothing.
pub(super) fn masks(grant: &Option<Arc<Grant>>) -> Option<&Masks> {
    grant.as_ref()?.masks.as_ref()
}

/// A response without what the masks hide. `None` for a success that cannot be masked. An error that cannot be masked
/// keeps its status and loses its body: a caller has to know whether it may try again.
pub(super) fn masked(
    upstream: &Upstream,
    route: &Route,
    carrier: Carrier,
    masks: &Masks,
    response: &ProviderResponse,
) -> Option<ProviderResponse> {
    let call = response.call(carrier);
    if !response.status.is_success() || !call.status.is_success() {
        return Some(plain_error(upstream, carrier, response));
    }
    let message = call.message.filter(|_| coding::remaining(&response.headers).is_none())?;
    let message = upstream.dialect.masked(route, carrier, &message, masks)?;
    let mut shown = response.clone();
    shown.body = carrier.bare_body(&response.body, Some(message));
    shown.keep_bare_headers(upstream.dialect);
    Some(shown)
}

/// An error with only those of its parts that by their definition say what went wrong: all else may show a session.
pub(super) fn plain_error(upstream: &Upstream, carrier: Carrier, response: &ProviderResponse) -> ProviderResponse {
    let coded = coding::remaining(&response.headers).is_some();
    let body = match carrier.is_framed() {
        // It is in the trailers.
        true => Some(carrier.bare_body(&response.body, None)),
        false if response.body.is_empty() => Some(Bytes::new()),
        false if coded => None,
        false => upstream.dialect.plain_error(&response.body),
    };
    let mut shown = response.clone();
    shown.keep_bare_headers(upstream.dialect);
    shown.body = body.unwrap_or_else(|| {
        shown.headers.remove(CONTENT_TYPE);
        Bytes::new()
    });
    shown
}
