//! Fetches an issuer's documents: its JWKS, and the discovery document that names it.

use super::Issuer;
use crate::client::{Addresses, Client, ConnectOptions, Exchange};
use crate::gateway::Protocol;
use crate::token::KeySet;
use crate::wire::coding;
use crate::wire::http1::uri_without_root_dot;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, LOCATION, USER_AGENT};
use http::uri::Authority;
use http::{Request, Uri};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

const MAX_DOCUMENT: usize = 256 * 1024;
/// Timeout of name resolution: long enough for a second DNS server if the first hangs.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(15);
/// The `User-Agent`. Web firewalls reject requests without one.
const USER_AGENT_VALUE: &str = concat!("sessiongate/", env!("CARGO_PKG_VERSION"));

/// The only member of a discovery document that is used.
#[derive(Deserialize)]
struct Discovery {
    jwks_uri: String,
}

impl Issuer {
    /// Fetches the keys and their document.
    pub(super) async fn fetch(&self) -> Result<(KeySet, Bytes), String> {
        let jwks = match &self.source.jwks {
            Some(address) => address.clone(),
            None => self.discover().await?,
        };
        let host = self.source.host.as_ref().filter(|_| self.source.jwks.is_some());
        let document = self.document(&jwks, host).await?;
        let keys = KeySet::parse(&document, &self.expected.algorithms).map_err(|reason| format!("{jwks}: {reason}"))?;
        Ok((keys, document))
    }

    /// Fetches the address of the JWKS from the discovery document.
    async fn discover(&self) -> Result<String, String> {
        let address = format!("{}/.well-known/openid-configuration", self.source.issuer.trim_end_matches('/'));
        let document = self.document(&address, None).await?;
        let discovery: Discovery = serde_json::from_slice(&document)
            .map_err(|error| format!("{address}: not a discovery document: {error}"))?;
        self.same_scheme(&discovery.jwks_uri)?;
        Ok(discovery.jwks_uri)
    }

    /// An issuer with https must not have keys over plain http.
    fn same_scheme(&self, jwks: &str) -> Result<(), String> {
        if self.source.issuer.starts_with("https://") && !jwks.starts_with("https://") {
            return Err(format!("the discovery document names {jwks}, which is not https"));
        }
        Ok(())
    }

    /// Fetches a document. `virtual_host` replaces the host in the request if the server is reached by another name.
    async fn document(&self, address: &str, virtual_host: Option<&Authority>) -> Result<Bytes, String> {
        let fault = |reason: String| format!("{address}: {reason}");
        let uri: Uri = address.parse().map_err(|_| fault("not a URL".into()))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = Addresses::new(&self.context.resolver, &host, port);
        let looked_up = tokio::time::timeout(RESOLVE_TIMEOUT, addresses.look_up()).await;
        looked_up
            .map_err(|_| fault("the host name was not resolved in time".into()))?
            .map_err(|e| fault(e.to_string()))?;
        // The trailing dot is only for name resolution.
        let uri = uri_without_root_dot(&uri).unwrap_or(uri);
        let uri = with_authority(uri, virtual_host).map_err(|error| fault(error.to_string()))?;
        let client = self.client(addresses).map_err(|error| fault(error.to_string()))?;
        let request = Request::get(uri)
            .header(USER_AGENT, USER_AGENT_VALUE)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .body(Bytes::new());
        let request = request.map_err(|error| fault(error.to_string()))?;
        let response = client.exchange(request, MAX_DOCUMENT, self.source.timeout, true).await;
        let response = response.map_err(|error| fault(error.to_string()))?;
        check_response(&response).map_err(fault)?;
        Ok(response.body)
    }

    fn client(&self, addresses: Arc<Addresses>) -> Result<Client, rustls::Error> {
        Client::new(&ConnectOptions {
            addresses,
            authorities: self.source.authorities.clone(),
            identity: None,
            protocol: Protocol::Http1,
            connect: self.source.timeout,
            keepalive: self.source.timeout,
            may_use_reserve: true,
            memory: None,
        })
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

/// Checks that a response is the requested document.
fn check_response(response: &Exchange) -> Result<(), String> {
    if response.status.is_redirection() {
        let to = response.headers.get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        let to = to.map_or_else(String::new, |to| format!(" to {}", for_log(&to)));
        return Err(format!("response {}: a redirect{to}, which is not followed", response.status));
    }
    if !response.status.is_success() {
        return Err(format!("response {}", response.status));
    }
    match coding::remaining(&response.headers) {
        Some(coding) => Err(format!("the document is compressed (`{coding}`), although `identity` was requested")),
        None => Ok(()),
    }
}

/// An address for the log: without secrets, and bounded.
fn for_log(address: &str) -> String {
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
