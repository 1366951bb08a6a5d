//! Fetches an issuer's documents: its JWKS, and the discovery document that names it.

use crate::client::{Addresses, Client, ConnectError, ConnectOptions, Exchange, ExchangeError, Resolver, Tunnel};
use crate::gateway::{KeySource, Protocol};
use crate::model::truncated;
use crate::telemetry::KeyFetchFailure;
use crate::token::KeySet;
use crate::wire::coding;
use crate::wire::http1::uri_without_root_dot;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, LOCATION, USER_AGENT};
use http::uri::Authority;
use http::{Request, Uri};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const MAX_DOCUMENT: usize = 256 * 1024;
/// Timeout of name resolution: long enough for a second DNS server if the first hangs.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum length of a reason, in bytes: errors of parsers repeat parts of the document.
const MAX_REASON: usize = 500;
/// The `User-Agent`. Web firewalls reject requests without one.
const USER_AGENT_VALUE: &str = concat!("sessiongate/", env!("CARGO_PKG_VERSION"));

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
        let dns = |reason: String| (KeyFetchFailure::Dns, reason);
        let uri: Uri = url.parse().map_err(|_| (KeyFetchFailure::Document, "not a URL".to_owned()))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = port_of(&uri).ok_or_else(|| (KeyFetchFailure::Document, "the URL has no valid port".to_owned()))?;
        let proxy = self.source.proxy.as_ref().filter(|proxy| proxy.applies_to(&host, port));
        let addresses = match proxy {
            Some(proxy) => Addresses::new(self.resolver, &proxy.host, proxy.port),
            None => Addresses::new(self.resolver, &host, port),
        };
        let whose = proxy.map_or_else(String::new, |proxy| format!("the egress proxy {}: ", proxy.authority()));
        let looked_up = tokio::time::timeout(RESOLVE_TIMEOUT, addresses.look_up()).await;
        looked_up
            .map_err(|_| dns(format!("{whose}the host name was not resolved in time")))?
            .map_err(|error| dns(format!("{whose}{error}")))?;
        let tunnel = proxy.map(|proxy| Tunnel::new(proxy, host.trim_end_matches('.'), port)).transpose();
        // The trailing dot is only for name resolution.
        let uri = uri_without_root_dot(&uri).unwrap_or(uri);
        let uri = with_authority(uri, virtual_host).map_err(unsent)?;
        let client = tunnel.and_then(|tunnel| self.client(addresses, tunnel));
        let client = client.map_err(|error| (KeyFetchFailure::Tls, error.to_string()))?;
        let request = Request::get(uri)
            .header(USER_AGENT, USER_AGENT_VALUE)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .body(Bytes::new());
        let request = request.map_err(unsent)?;
        let response = client.exchange(request, MAX_DOCUMENT, self.source.timeout, true).await.map_err(no_response)?;
        check_response(&response)?;
        Ok(response.body)
    }

    fn client(&self, addresses: Arc<Addresses>, tunnel: Option<Arc<Tunnel>>) -> Result<Client, rustls::Error> {
        Client::new(&ConnectOptions {
            addresses,
            tunnel,
            authorities: self.source.authorities.clone(),
            identity: None,
            protocol: Protocol::Http1,
            // Shorter than the fetch, so that a server that cannot be reached differs from one that does not respond.
            connect: self.source.timeout * 4 / 5,
            keepalive: self.source.timeout,
            may_use_reserve: true,
            memory: None,
        })
    }
}

/// The port of a URL; `None` if it is invalid, which the library does not tell from none.
fn port_of(uri: &Uri) -> Option<u16> {
    let authority = uri.authority().map_or("", Authority::as_str);
    let (_, behind) = authority.split_once(uri.host().unwrap_or_default())?;
    match behind.strip_prefix(':').unwrap_or_default() {
        "" => Some(if uri.scheme_str() == Some("https") { 443 } else { 80 }),
        port => port.parse().ok().filter(|port| *port != 0),
    }
}

/// Replaces the authority of a URI, after its host was resolved.
fn with_authority(uri: Uri, virtual_host: Option<&Authority>) -> Result<Uri, http::uri::InvalidUriParts> {
    let Some(own) = virtual_host else {
        return Ok(uri);
    };
    let mut parts = uri.into_parts();
    parts.authority = Some(own.clone());
    Uri::from_parts(parts)
}

fn unsent(error: impl ToString) -> Failure {
    (KeyFetchFailure::Connect, error.to_string())
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
    use super::{for_log, port_of};

    #[test]
    fn ports_are_never_replaced() {
        for (url, expected) in [
            ("https://k.example/keys", Some(443)),
            ("http://k.example", Some(80)),
            ("https://k.example:8443/keys", Some(8443)),
            ("https://[fd00::1]:8443/keys", Some(8443)),
            ("https://[fd00::1]/keys", Some(443)),
            ("https://k.example:99999/keys", None),
            ("https://k.example:0/keys", None),
        ] {
            // A parser that refuses the URL is as good.
            let found = url.parse().ok().and_then(|uri| port_of(&uri));
            assert_eq!(found, expected, "{url}");
        }
    }

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
