//! Pass-through requests that the gateway sends itself, unchanged, once their bodies are complete. Their responses are
//! streamed, unchanged too.

use super::{Failure, Fetch, Provider, heads};
use crate::client::{ExchangeError, Response};
use http::Uri;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Provider {
    /// Whether pass-through requests use HTTP/2, if the provider may choose.
    pub async fn speaks_http2(&self) -> bool {
        let scheme = if self.upstream.target.tls { "https" } else { "http" };
        let authority = self.headers.authority().to_str().unwrap_or_default();
        match Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build() {
            Ok(uri) => self.forward.speaks_http2(&uri).await,
            Err(_) => false,
        }
    }

    /// Sends a pass-through request and waits for the head of its response. It is retried once if the provider says
    /// that it has not processed it, and, if it is a read, if a kept connection turns out closed.
    pub async fn forward(&self, fetch: &Fetch) -> Result<Response, Failure> {
        let response = match self.open(fetch).await {
            Err(ExchangeError::Refused(_)) => self.open(fetch).await,
            Err(ExchangeError::Closed) if fetch.reads => self.open(fetch).await,
            result => result,
        };
        let mut response = response.map_err(|error| self.failure(error, &fetch.record))?;
        self.note(None);
        self.responded(&fetch.record, response.status, &response.headers, Instant::now());
        heads::of_connection(&response.headers).iter().for_each(|name| drop(response.headers.remove(name)));
        response.headers.remove(TRANSFER_ENCODING);
        if heads::has_no_length(response.status) {
            response.headers.remove(CONTENT_LENGTH);
        }
        if let Some(length) = heads::repeated_length(&response.headers) {
            response.headers.insert(CONTENT_LENGTH, length);
        }
        Ok(response)
    }

    /// How often the shared connections were abandoned because one may hang. Connections made before accept no further
    /// requests.
    pub fn pool_generation(&self) -> u64 {
        self.pool_generation.load(Ordering::Relaxed)
    }

    /// Abandons all shared connections of pass-through requests, unless that has happened since a request started with
    /// this count: then its own is among them, and the new ones stay.
    pub fn retire_pool(&self, pool_generation: u64) {
        let _ = self.pool_generation.compare_exchange(
            pool_generation,
            pool_generation + 1,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    async fn open(&self, fetch: &Fetch) -> Result<Response, ExchangeError> {
        fetch.record.sending();
        let client = self.forward_calls.as_ref().filter(|_| fetch.http2).unwrap_or(&self.forward);
        let response = client.open(self.request(fetch)?, self.upstream.target.timeouts.first_byte).await?;
        match heads::fault(&response.headers) {
            Some(fault) => Err(ExchangeError::Broken(fault.into())),
            None => Ok(response),
        }
    }
}
