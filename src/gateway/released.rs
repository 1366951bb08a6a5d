//! What a caller sees of a provider's response.

use super::{ProviderResponse, Read};
use crate::model::Rejection;
use std::sync::Arc;

impl Read {
    /// The response as its caller may see it. Every response to a read goes through here, whether it comes from the
    /// provider, from the cache, or from the fetch of another caller: what is cached is never masked.
    ///
    /// # Errors
    ///
    /// Rejects a response in which something that the caller may not see cannot be masked.
    pub fn released(&self, response: Arc<ProviderResponse>) -> Result<Arc<ProviderResponse>, Rejection> {
        match self.grant.as_ref().and_then(|grant| grant.masks.as_ref()) {
            None => Ok(response),
            Some(_) => Err(Rejection::UpstreamFailed),
        }
    }
}
