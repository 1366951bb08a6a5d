//! What a caller sees of a provider's response.

use super::masking::{masked, masks, plain_error};
use super::provider_response::Released;
use super::{DecodedRequest, Owned, ProviderResponse, Read};
use crate::model::Rejection;
use crate::wire::carrier::Carrier;
use std::sync::Arc;

impl Read {
    /// The response as its caller may see it. Every response to a read goes through here, whether it comes from the
    /// provider, from the cache, or from the fetch of another caller: what is cached is never masked.
    ///
    /// # Errors
    ///
    /// Rejects a response in which something that the caller may not see cannot be masked.
    pub fn released(&self, Owned(response): Owned) -> Result<Released, Rejection> {
        let Some(masks) = masks(&self.grant) else {
            return Ok(Released::new(response));
        };
        let masked = || masked(&self.upstream, self.route, self.carrier, masks, &response);
        // All else that a form depends on is in the key of the response.
        response.masked_forms.get_or_make(masks.hash(), masked).map(Released::new).ok_or(Rejection::UpstreamFailed)
    }

    /// Whether its caller may not see all of a response.
    pub fn is_masked(&self) -> bool {
        masks(&self.grant).is_some()
    }
}

impl DecodedRequest {
    /// A response to the gateway's own read for this request, as its caller may see it.
    pub(super) fn released(&self, response: ProviderResponse) -> Result<Released, Rejection> {
        // Whose an error is, is not proven.
        let response = match self.proof.owner() {
            Some(_) if !response.status.is_success() => plain_error(self.upstream(), Carrier::Rest, &response),
            Some(_) | None => response,
        };
        let Some(masks) = masks(&self.authorized.grant) else {
            return Ok(Released::new(Arc::new(response)));
        };
        let route = self.authorized.read_route();
        let masked = route.and_then(|route| masked(self.upstream(), route, Carrier::Rest, masks, &response));
        masked.map(Arc::new).map(Released::new).ok_or(Rejection::UpstreamFailed)
    }
}
