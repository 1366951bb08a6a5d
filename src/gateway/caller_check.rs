//! How callers are verified: by which issuers' tokens.

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
    /// By an access token of one of these issuers. No two of them accept the same `iss`, and at most one accepts opaque
    /// tokens: so a token shows by itself who must verify it.
    Token(Vec<TokenIssuer>),
    /// By the provider alone, but a credential is required.
    Forward,
    /// By the provider alone, if at all.
    None,
}

/// An issuer of access tokens, and what they must contain.
#[derive(Debug, Clone)]
pub struct TokenIssuer {
    /// The path of its options in the configuration.
    pub option: String,
    /// What a token must contain.
    pub expected: Expectations,
    /// The issuer's keys.
    pub keys: KeySource,
    /// How opaque tokens are treated.
    pub opaque: OpaqueTokens,
    /// The ID of the cached responses that verified callers of this issuer share. [`super::Gateway::new`] sets it.
    pub response_id: [u8; 16],
}

impl CallerCheck {
    /// The issuers whose tokens the gateway verifies.
    pub fn issuers(&self) -> &[TokenIssuer] {
        match self {
            CallerCheck::Token(issuers) => issuers,
            CallerCheck::Forward | CallerCheck::None => &[],
        }
    }

    /// Whether opaque tokens are forwarded to the provider, although the gateway verifies others.
    pub fn forwards_opaque(&self) -> bool {
        self.issuers().iter().any(|issuer| issuer.opaque == OpaqueTokens::Forward)
    }
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
