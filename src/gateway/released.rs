//! What a caller sees of a provider's response.

use super::{ProviderResponse, Read};
use crate::model::Rejection;
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
    /// Rejects a response that shows what is not the caller's, and one in which something that the caller may not see cannot be masked.
    pub fn released(&self, response: Arc<ProviderResponse>) -> Result<Released, Rejection> {
        let response = match &self.owner {
            None => response,
            Some(owner) => self.owned(owner, response)?,
        };
        match self.grant.as_ref().and_then(|grant| grant.masks.as_ref()) {
            None => Ok(Released(response)),
            Some(_) => Err(Rejection::UpstreamFailed),
        }
    }
}
