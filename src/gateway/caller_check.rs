//! How callers are verified: by the tokens of which issuers.

use super::certificates::CaCertificates;
use super::egress_proxy::EgressProxy;
use super::introspection_source::IntrospectionSource;
use crate::token::Expectations;
use http::uri::Authority;
use std::sync::Arc;
use std::time::Duration;

/// How callers are verified.
#[derive(Debug, Clone)]
pub enum CallerCheck {
    /// By a JWT of this issuer.
    Token {
        /// What the token must contain.
        expected: Box<Expectations>,
        /// The issuer's keys.
        keys: Box<KeySource>,
        /// How opaque tokens are treated.
        opaque: OpaqueTokens,
    },
    /// By the provider alone, but a credential is required.
    Forward,
    /// By the provider alone, if at all.
    None,
}

/// How opaque tokens are treated: those that are not JWTs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpaqueTokens {
    /// They are rejected.
    Reject,
    /// They are forwarded to the provider, which verifies them.
    Forward,
    /// They are introspected at the issuer (RFC 7662).
    Introspect(Arc<IntrospectionSource>),
}

/// How an issuer's keys are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    /// The URL of the JWKS document; `None` to discover it from the issuer.
    pub jwks: Option<String>,
    /// The `Host` and TLS server name of the fetch; `None` for those of the URL.
    pub host: Option<Authority>,
    /// The issuer, whose `.well-known/openid-configuration` names the document.
    pub issuer: String,
    /// The interval between fetches.
    pub refresh: Duration,
    /// The minimum interval between fetches because of unknown keys.
    pub min_interval: Duration,
    /// How long the last document stays valid if no newer one can be fetched.
    pub max_stale: Duration,
    /// The timeout of a fetch.
    pub timeout: Duration,
    /// CA certificates to trust instead of the system's.
    pub authorities: Option<CaCertificates>,
    /// The forward proxy for the documents; its `no_proxy` may exclude their hosts.
    pub proxy: Option<Arc<EgressProxy>>,
}
