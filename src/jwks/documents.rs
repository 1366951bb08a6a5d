//! Fetches an issuer's documents: its JWKS, and the discovery document that names it.

use crate::client::{ConnectError, Destination, DestinationError, Exchange, ExchangeError, PRODUCT, Resolver};
use crate::gateway::KeySource;
use crate::model::truncated;
use crate::telemetry::KeyFetchFailure;
use crate::token::KeySet;
use crate::wire::coding;
use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, ACCEPT_ENCODING, LOCATION, USER_AGENT};
use http::uri::Authority;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const MAX_DOCUMENT: usize = 256 * 1024;
/// Timeout of name resolution: long enough for a second DNS server if the first hangs.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum length of a reason, in bytes: errors of parsers repeat parts of the document.
const MAX_REASON: usize = 500;

/// Fetches the documents of an issuer.
#[derive(Clone, Copy)]
pub struct Documents<'i> {
    source: &'i KeySource,
    resolver: &'i Arc<Resolver>,
}

/// The members of a discovery document that are used.
#[derive(Debug, Deserialize)]
pub struct Discovery {
    jwks_uri: String,
    /// Of any type: a document that can be used today must not become unusable because of it.
    #[serde(default)]
    issuer: Value,
}

/// Why a document could not be fetched, or not be used.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {reason}")]
pub struct FetchError {
    /// The URL of the document, without its query. Bounded in length.
    pub url: String,
    /// The kind of failure.
    pub cause: KeyFetchFailure,
    /// What is wrong. Bounded in length.
    pub reason: String,
}

/// Why a document could not be fetched.
type Failure = (KeyFetchFailure, String);

impl FetchError {
    fn new(url: &str, (cause, reason): Failure) -> FetchError {
        FetchError { url: for_log(url), cause, reason: truncated(reason, MAX_REASON) }
    }
}

impl Discovery {
    /// The URL of the JWKS document.
    pub fn jwks_uri(&self) -> &str {
        &self.jwks_uri
    }

    /// The issuer that the document names; `None` if it names none, although OpenID Connect Discovery requires it.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_str()
    }
}

impl<'i> Documents<'i> {
    /// The documents of this issuer. `resolver` resolves the hosts of their URLs.
    pub fn new(source: &'i KeySource, resolver: &'i Arc<Resolver>) -> Documents<'i> {
        Documents { source, resolver }
    }

    /// Fetches the discovery document. It is also there if `jwks` is configured; the gateway then does not need it.
    ///
    /// # Errors
    ///
    /// If it cannot be fetched, is invalid, or names keys without TLS for an issuer with TLS.
    pub async fn discovery(&self) -> Result<Discovery, FetchError> {
        let url = format!("{}/.well-known/openid-configuration", self.source.issuer.trim_end_matches('/'));
        let document = self.fetch(&url, None).await?;
        let found = serde_json::from_slice(&document).map_err(|error| format!("not a discovery document: {error}"));
        let found = found.and_then(|discovery| self.same_scheme(discovery));
        found.map_err(|reason| FetchError::new(&url, (KeyFetchFailure::Document, reason)))
    }

    /// Fetches the JWKS document at `url`, and returns its keys for tokens with these algorithms, and the document.
    ///
    /// # Errors
    ///
    /// If it cannot be fetched, is invalid, or has no usable key.
    pub async fn keys(&self, url: &str, algorithms: &[Algorithm]) -> Result<(KeySet, Bytes), FetchError> {
        let host = self.source.host.as_ref().filter(|_| self.source.jwks.is_some());
        let document = self.fetch(url, host).await?;
        let keys = KeySet::parse(&document, algorithms);
        let keys = keys.map_err(|reason| FetchError::new(url, (KeyFetchFailure::Document, reason)))?;
        Ok((keys, document))
    }

    /// An issuer with https must not have keys over plain http.
    fn same_scheme(&self, discovery: Discovery) -> Result<Discovery, String> {
        let jwks = &discovery.jwks_uri;
        if self.source.issuer.starts_with("https://") && !jwks.starts_with("https://") {
            return Err(format!("the document names the keys {}, which is not https", for_log(jwks)));
        }
        Ok(discovery)
    }

    async fn fetch(&self, url: &str, virtual_host: Option<&Authority>) -> Result<Bytes, FetchError> {
        let fetched = self.document(url, virtual_host).await;
        fetched.map_err(|failure| FetchError::new(url, failure))
    }

    /// Fetches a document. `virtual_host` replaces the host in the request if the server is reached by another name.
    async fn document(&self, url: &str, virtual_host: Option<&Authority>) -> Result<Bytes, Failure> {
        let KeySource { proxy, authorities, timeout, .. } = self.source;
        let destination = Destination::new(url, virtual_host, proxy.as_deref(), self.resolver).map_err(no_way)?;
        let resolved = destination.look_up(Instant::now() + RESOLVE_TIMEOUT).await;
        resolved.map_err(|reason| (KeyFetchFailure::Dns, reason))?;
        let client = destination.client(authorities.clone(), *timeout, *timeout);
        let client = client.map_err(|error| no_way(error.into()))?;
        let request = Request::get(destination.uri())
            .header(USER_AGENT, PRODUCT)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .body(Bytes::new());
        let request = request.map_err(|error| (KeyFetchFailure::Connect, error.to_string()))?;
        let response = client.exchange(request, MAX_DOCUMENT, *timeout, true).await.map_err(no_response)?;
        check_response(&response)?;
        Ok(response.body)
    }
}

fn no_way(error: DestinationError) -> Failure {
    let cause = match error {
        DestinationError::Url | DestinationError::Port => KeyFetchFailure::Document,
        DestinationError::Authority(_) => KeyFetchFailure::Connect,
        DestinationError::Tls(_) => KeyFetchFailure::Tls,
    };
    (cause, error.to_string())
}

fn no_response(error: ExchangeError) -> Failure {
    let cause = match &error {
        ExchangeError::Connect(ConnectError::Unreachable(_)) => KeyFetchFailure::Connect,
        ExchangeError::Connect(ConnectError::Tls(_)) => KeyFetchFailure::Tls,
        ExchangeError::Timeout(_) => KeyFetchFailure::Timeout,
        ExchangeError::Broken(_)
        | ExchangeError::Refused(_)
        | ExchangeError::Closed
        | ExchangeError::TooLarge(..)
        | ExchangeError::OutOfMemory => KeyFetchFailure::Response,
    };
    (cause, error.to_string())
}

/// Checks that a response is the requested document.
fn check_response(response: &Exchange) -> Result<(), Failure> {
    if response.status.is_redirection() {
        let to = response.headers.get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        let to = to.map_or_else(String::new, |to| format!(" to {}", for_log(&to)));
        let reason = format!("response {}: a redirect{to}, which is not followed", response.status);
        return Err((KeyFetchFailure::Redirect, reason));
    }
    if !response.status.is_success() {
        return Err((KeyFetchFailure::Status, format!("response {}", response.status)));
    }
    match coding::remaining(&response.headers) {
        Some(coding) => {
            let reason = format!("the document is compressed (`{coding}`), although `identity` was requested");
            Err((KeyFetchFailure::Response, reason))
        }
        None => Ok(()),
    }
}

/// An address for the log: without secrets, and bounded.
pub(super) fn for_log(address: &str) -> String {
    const MOST: usize = 200;
    let check_response = address.split(['?', '#']).next().unwrap_or_default();
    let without_user = match check_response.split_once("//") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}//{}{path}", host.rsplit('@').next().unwrap_or_default())
        }
        None => check_response.to_owned(),
    };
    without_user.chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::for_log;

    #[test]
    fn addresses_in_the_log_hold_no_secrets() {
        for (address, expected) in [
            ("https://id.example/keys?code=secret#x", "https://id.example/keys"),
            ("https://user:secret@id.example/keys", "https://id.example/keys"),
            ("https://user:secret@id.example", "https://id.example"),
            ("/elsewhere/@me?x", "/elsewhere/@me"),
            ("", ""),
        ] {
            assert_eq!(for_log(address), expected);
        }
        assert_eq!(for_log(&"x".repeat(1000)).len(), 200);
    }
}
