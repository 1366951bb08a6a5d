//! What a caller sees of a provider's response.

use super::{DecodedRequest, ProviderResponse, Read, Upstream};
use crate::dialect::Route;
use crate::grant::{Grant, Masks};
use crate::model::Rejection;
use crate::wire::carrier::Carrier;
use crate::wire::coding;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use std::ops::Deref;
use std::sync::Arc;

/// A response as its caller may see it. Only [`Read::released`], writes, and reads before a write make it.
#[derive(Debug, Clone)]
pub struct Released(Arc<ProviderResponse>);

impl Released {
    pub(super) fn new(response: Arc<ProviderResponse>) -> Released {
        Released(response)
    }
}

impl Deref for Released {
    type Target = ProviderResponse;

    fn deref(&self) -> &ProviderResponse {
        &self.0
    }
}

impl Read {
    /// The response as its caller may see it. Every response to a read goes through here, whether it comes from the
    /// provider, from the cache, or from the fetch of another caller: what is cached is never masked.
    ///
    /// # Errors
    ///
    /// Rejects a response that shows what is not the caller's, and one in which something that the caller may not see
    /// cannot be masked.
    pub fn released(&self, response: Arc<ProviderResponse>) -> Result<Released, Rejection> {
        let response = match &self.owner {
            None => response,
            Some(owner) => self.owned(owner, response)?,
        };
        let Some(masks) = masks(&self.grant) else {
            return Ok(Released(response));
        };
        let masked = || masked(&self.upstream, self.route, self.carrier, masks, &response);
        // All else that a form depends on is in the key of the response.
        response.masked_forms.get_or_make(masks.hash(), masked).map(Released).ok_or(Rejection::UpstreamFailed)
    }
}

impl DecodedRequest {
    /// A response to the gateway's own read for this request, as its caller may see it.
    pub(super) fn released(&self, response: ProviderResponse) -> Result<Released, Rejection> {
        let Some(masks) = masks(&self.authorized.grant) else {
            return Ok(Released(Arc::new(response)));
        };
        let route = self.authorized.read_route();
        let masked = route.and_then(|route| masked(self.upstream(), route, Carrier::Rest, masks, &response));
        masked.map(Arc::new).map(Released).ok_or(Rejection::UpstreamFailed)
    }
}

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
