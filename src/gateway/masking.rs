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
    let mut shown = response.clone();
    coding::remove_validators(&mut shown.headers);
    shown.trailers.iter_mut().for_each(coding::remove_validators);
    let coded = coding::remaining(&response.headers).is_some();
    let call = response.call(carrier);
    if response.status.is_success() && call.status.is_success() {
        let message = call.message.filter(|_| !coded)?;
        let masked = upstream.dialect.masked(route, carrier, &message, masks)?;
        if masked != message {
            shown.body = carrier.replace_message(&response.body, masked);
        }
        return Some(shown);
    }
    // A framed error is in the trailers.
    let body = match carrier.is_framed() {
        true => Some(carrier.without_message(&response.body)),
        false if response.body.is_empty() => Some(Bytes::new()),
        false if coded => None,
        false => upstream.dialect.masked_error(&response.body, masks),
    };
    shown.body = body.unwrap_or_else(|| {
        shown.headers.remove(CONTENT_TYPE);
        coding::remove_headers(&mut shown.headers);
        Bytes::new()
    });
    Some(shown)
}
