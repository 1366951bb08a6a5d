//! How opaque tokens are introspected (RFC 7662).

use super::certificates::CaCertificates;
use super::egress_proxy::EgressProxy;
use crate::token::ClientKey;
use http::uri::Authority;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How opaque tokens are introspected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntrospectionSource {
    /// The URL of the endpoint.
    pub url: String,
    /// The `Host` and TLS server name; `None` for those of the URL.
    pub host: Option<Authority>,
    /// The issuer: the audience of the gateway's assertions.
    pub issuer: String,
    /// The client ID of the gateway.
    pub client_id: String,
    /// How the gateway authenticates to the endpoint.
    pub authentication: ClientAuthentication,
    /// How long a token is accepted at most without another introspection, and so a revoked one.
    pub ttl: Duration,
    /// How long a token is rejected without another introspection.
    pub negative_ttl: Duration,
    /// How long after `ttl` tokens that were active are accepted while introspection fails.
    pub max_stale: Duration,
    /// The timeout of an introspection, with the wait for its turn.
    pub timeout: Duration,
    /// The maximum number of introspections in flight.
    pub in_flight: usize,
    /// The maximum of them for unknown tokens of one source.
    pub per_source: usize,
    /// CA certificates to trust instead of the system's.
    pub authorities: Option<CaCertificates>,
    /// The forward proxy; its `no_proxy` may exclude the endpoint.
    pub proxy: Option<Arc<EgressProxy>>,
}

/// How the gateway authenticates to the endpoint.
#[derive(Clone)]
pub enum ClientAuthentication {
    /// With a secret (RFC 6749, section 2.3.1).
    Secret(SecretString),
    /// With an assertion that this key signs (RFC 7523, section 2.2).
    PrivateKey(ClientKey),
}

impl PartialEq for ClientAuthentication {
    fn eq(&self, other: &ClientAuthentication) -> bool {
        use ClientAuthentication::{PrivateKey, Secret};
        match (self, other) {
            (Secret(own), Secret(other)) => own.expose_secret() == other.expose_secret(),
            (PrivateKey(own), PrivateKey(other)) => own == other,
            (Secret(_) | PrivateKey(_), _) => false,
        }
    }
}

impl Eq for ClientAuthentication {}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            ClientAuthentication::Secret(_) => "Secret",
            ClientAuthentication::PrivateKey(_) => "PrivateKey",
        })
    }
}
