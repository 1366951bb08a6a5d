//! The server that a URL names, such as an issuer's.

use super::{Addresses, Client, ConnectOptions, Resolver, Tunnel};
use crate::gateway::{CaCertificates, EgressProxy, Protocol};
use crate::wire::http1::uri_without_root_dot;
use http::Uri;
use http::uri::{Authority, InvalidUriParts};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The server that a URL names, and the way to it.
#[derive(Debug, Clone)]
pub struct Destination {
    uri: Uri,
    /// The server's, or those of the forward proxy.
    addresses: Arc<Addresses>,
    tunnel: Option<Arc<Tunnel>>,
}

/// Why there is no way to the server of a URL.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// It is no URL.
    #[error("not a URL")]
    Url,
    /// Its port is no port.
    #[error("the URL has no valid port")]
    Port,
    /// It cannot have the other authority.
    #[error(transparent)]
    Authority(#[from] InvalidUriParts),
    /// The TLS settings of the forward proxy are invalid.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Destination {
    /// The server of a URL, through `proxy` unless that excludes it. `virtual_host` replaces the host in requests, if the
    /// server is reached by another name.
    ///
    /// # Errors
    ///
    /// If the URL has no server, or the TLS settings of the proxy are invalid.
    pub fn new(
        url: &str,
        virtual_host: Option<&Authority>,
        proxy: Option<&EgressProxy>,
        resolver: &Arc<Resolver>,
    ) -> Result<Destination, DestinationError> {
        let uri: Uri = url.parse().map_err(|_| DestinationError::Url)?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = port_of(&uri).ok_or(DestinationError::Port)?;
        let proxy = proxy.filter(|proxy| proxy.applies_to(&host, port));
        let addresses = match proxy {
            Some(proxy) => Addresses::new(resolver, &proxy.host, proxy.port),
            None => Addresses::new(resolver, &host, port),
        };
        // The trailing dot is only for name resolution.
        let tunnel = proxy.map(|proxy| Tunnel::new(proxy, host.trim_end_matches('.'), port)).transpose()?;
        let uri = uri_without_root_dot(&uri).unwrap_or(uri);
        Ok(Destination { uri: with_authority(uri, virtual_host)?, addresses, tunnel })
    }

    /// The URI of requests.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The addresses to connect to: the server's, or those of the forward proxy.
    pub fn addresses(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// Resolves the addresses, until a deadline.
    ///
    /// # Errors
    ///
    /// The reason, if that fails. It names the forward proxy if that has no addresses.
    pub async fn look_up(&self, until: Instant) -> Result<(), String> {
        let failed = match timeout_at(until, self.addresses.look_up()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the host name was not resolved in time".to_owned(),
        };
        let proxy = self.tunnel.as_ref().map(|tunnel| format!("the egress proxy {}: ", tunnel.proxy()));
        Err(proxy.unwrap_or_default() + &failed)
    }

    /// A client for it, whose requests take at most `timeout`.
    ///
    /// # Errors
    ///
    /// If the TLS settings are invalid.
    pub fn client(
        &self,
        authorities: Option<CaCertificates>,
        timeout: Duration,
        keepalive: Duration,
    ) -> Result<Client, rustls::Error> {
        Client::new(&ConnectOptions {
            addresses: self.addresses.clone(),
            tunnel: self.tunnel.clone(),
            authorities,
            identity: None,
            protocol: Protocol::Http1,
            // Shorter than the whole, so that a server that cannot be reached differs from one that does not respond.
            connect: timeout * 4 / 5,
            keepalive,
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

/// Replaces the authority of a URI.
fn with_authority(uri: Uri, virtual_host: Option<&Authority>) -> Result<Uri, InvalidUriParts> {
    let Some(own) = virtual_host else {
        return Ok(uri);
    };
    let mut parts = uri.into_parts();
    parts.authority = Some(own.clone());
    Uri::from_parts(parts)
}

#[cfg(test)]
mod tests {
    use super::port_of;

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
}
