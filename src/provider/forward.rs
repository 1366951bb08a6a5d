//! Pass-through requests that the gateway sends by itself: as they came, once they are whole. Their responses are
//! handed out part by part, and are not changed either.

use super::{Failure, Fetch, Provider, heads};
use crate::client::{ExchangeError, Response};
use http::Uri;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use std::sync::atomic::Ordering;

impl Provider {
    /// Whether pass-through requests go to it over HTTP/2, where it may choose.
    pub async fn speaks_http2(&self) -> bool {
        let scheme = if self.upstream.target.tls { "https" } else { "http" };
        let authority = self.headers.authority().to_str().unwrap_or_default();
        match Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build() {
            Ok(uri) => self.forward.speaks_http2(&uri).await,
            Err(_) => false,
        }
    }

    /// Sends a pass-through request and waits for the head of its response. It is sent once more where the provider
    /// says that it has not looked at it, and, where it only reads, where a kept connection turned out closed.
    pub async fn forward(&self, fetch: &Fetch) -> Result<Response, Failure> {
        let response = match self.open(fetch).await {
            Err(ExchangeError::Refused(_)) => self.open(fetch).await,
            Err(ExchangeError::Closed) if fetch.reads => self.open(fetch).await,
            result => result,
        };
        let mut response = response.map_err(|error| self.failure(error))?;
        self.note(None);
        heads::of_connection(&response.headers).iter().for_each(|name| drop(response.headers.remove(name)));
        response.headers.remove(TRANSFER_ENCODING);
        if heads::has_no_length(response.status) {
            response.headers.remove(CONTENT_LENGTH);
        }
        Ok(response)
    }

    /// How often connections that requests share were left, since one of them may hang: those made before take no
    /// further requests.
    pub fn pool_generation(&self) -> u64 {
        self.pool_generation.load(Ordering::Relaxed)
    }

    /// Leaves all connections that pass-through requests share, for a request that began when they had been left so
    /// often. Where they were left since, its own is among those: the new ones stay.
    pub fn retire_pool(&self, pool_generation: u64) {
        let _ = self.pool_generation.compare_exchange(
            pool_generation,
            pool_generation + 1,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    async fn open(&self, fetch: &Fetch) -> Result<Response, ExchangeError> {
        let client = self.forward_calls.as_ref().filter(|_| fetch.http2).unwrap_or(&self.forward);
        let response = client.open(self.request(fetch)?, self.upstream.target.timeouts.first_byte).await?;
        match heads::fault(&response.headers) {
            Some(fault) => Err(ExchangeError::Broken(fault.into())),
            None => Ok(response),
        }
    }
}
