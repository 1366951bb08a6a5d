//! An upstream, compiled: how requests find it, who may use it, and what holds for it.

use crate::dialect::Dialect;
use crate::policy::Policy;
use crate::token::Expectations;
use http::uri::Authority;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::Duration;

/// A provider behind the gateway.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name in the configuration, in metrics and in logs.
    pub name: String,
    /// Its place in the configuration.
    pub index: usize,
    /// What the coherence of its cached sessions hangs on: what stands for its provider, since a write through one
    /// upstream changes what others of the same provider would answer. [`super::Gateway::new`] makes it.
    pub scope: u64,
    /// What writes have to reckon with: the longest times and the greatest caution in the scope; none where nothing in
    /// it is cached.
    pub scope_cache: Option<Freshness>,
    /// What stands for it in the names of cached responses, and alone for all verified callers where they share them.
    /// [`super::Gateway::new`] makes it.
    pub shared: [u8; 16],
    /// What its API looks like.
    pub dialect: &'static Dialect,
    /// Which requests are for it.
    pub matcher: RequestMatcher,
    /// What becomes of requests that the dialect does not know.
    pub unmatched: Unmatched,
    /// How callers are checked.
    pub check: CallerCheck,
    /// What writes of sessions may do.
    pub policy: Policy,
    /// What writes of refresh tokens may do.
    pub refresh_token_policy: Policy,
    /// How session reads are cached; not at all where there is none.
    pub cache: Option<Freshness>,
    /// The bounds of evaluated bodies.
    pub body: BodyLimits,
    /// How much may be in flight at the provider.
    pub slots: SlotLimits,
    /// Whether the provider sees the host that the client asked for, and not its own.
    pub preserve_host: bool,
    /// Where it is.
    pub target: Target,
}

impl Upstream {
    /// Whether requests that the dialect has no operation for reach the provider.
    pub fn forwards_unmatched(&self) -> bool {
        match self.unmatched {
            Unmatched::Forward => true,
            Unmatched::Reject => false,
        }
    }
}

/// Which requests are for an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestMatcher {
    /// The name of the listener; any where there is none.
    pub listener: Option<String>,
    /// The host, in lower case and without a port; any where there is none.
    pub host: Option<String>,
    /// The path has to begin with it, at a `/`. Without a slash at the end; empty for any path.
    pub path_prefix: String,
    /// Whether the prefix is taken away before the path is looked at and forwarded.
    pub strip_prefix: bool,
}

impl RequestMatcher {
    pub(super) fn matches(&self, listener: &str, host: &str, path: &str) -> bool {
        let here = self.listener.as_ref().is_none_or(|own| own == listener);
        let named = here && self.host.as_ref().is_none_or(|own| own.eq_ignore_ascii_case(plain_host(host)));
        let rest = path.strip_prefix(self.path_prefix.as_str());
        named && rest.is_some_and(|rest| self.path_prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }

    /// A host counts more than a listener, a listener more than any prefix, a longer prefix more than a shorter one.
    pub(super) fn specificity(&self) -> (bool, bool, usize) {
        (self.host.is_some(), self.listener.is_some(), self.path_prefix.len())
    }

    /// The path as the provider sees it.
    pub fn upstream_path<'a>(&self, path: &'a str) -> &'a str {
        let rest = if self.strip_prefix { path.strip_prefix(self.path_prefix.as_str()).unwrap_or(path) } else { path };
        if rest.is_empty() { "/" } else { rest }
    }
}

/// A host without its port, and without the dot of the root.
fn plain_host(host: &str) -> &str {
    let host = without_port(host);
    host.strip_suffix('.').unwrap_or(host)
}

pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// What becomes of requests that a dialect does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// They are passed untouched.
    #[default]
    Forward,
    /// They are answered with 404, reads and writes alike; preflights of governed operations are passed.
    Reject,
}

/// How callers are checked.
#[derive(Debug, Clone)]
pub enum CallerCheck {
    /// By a JWT of this issuer.
    Token {
        /// What the token has to say.
        expected: Expectations,
        /// Where the issuer's keys are.
        keys: Box<KeySource>,
        /// Whether a token that is no JWT is left to the provider, and not rejected.
        opaque: bool,
    },
    /// By the provider alone; but there has to be a credential.
    Forward,
    /// Not at all: the provider decides.
    None,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    /// The JWKS document's address; discovered from the issuer where there is none.
    pub jwks: Option<String>,
    /// The `Host` that the document is fetched with, and the name that TLS asks for; that of the address where there is
    /// none.
    pub host: Option<Authority>,
    /// The issuer, whose `.well-known/openid-configuration` names the document.
    pub issuer: String,
    /// How often the document is fetched anew.
    pub refresh: Duration,
    /// How often, at most, it is fetched because a token names an unknown key.
    pub min_interval: Duration,
    /// How long the last good document holds when no newer one can be had.
    pub max_stale: Duration,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// Authorities to trust instead of the system's.
    pub authorities: Option<CaCertificates>,
}

/// How session reads are cached. Its default is what counts where nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// How long a response holds at the most. Also: how long a deleted session is answered with 404.
    pub ttl: Duration,
    /// The largest answer that is stored, in bytes.
    pub max_body: usize,
    /// How long after `ttl` a response is still served while it is fetched anew.
    pub stale_while_revalidate: Duration,
    /// How long after `ttl` a response is still served where the provider cannot give a newer one.
    pub stale_if_error: Duration,
    /// How long the provider's 404 holds; it is not stored where this is zero.
    pub negative_ttl: Duration,
    /// What a write meets whose mark cannot be placed in the store.
    pub on_unreachable: OnUnreachable,
}

impl Freshness {
    /// The longest time for which a response may be served after it was fetched.
    pub fn max_serving_time(&self) -> Duration {
        self.negative_ttl.max(self.ttl + self.stale_while_revalidate + self.stale_if_error)
    }

    /// For how long a response that is stored is there at the most.
    pub fn kept(&self) -> Duration {
        self.negative_ttl.max(self.ttl + self.stale_while_revalidate.max(self.stale_if_error))
    }

    /// The longer times and the greater caution of two.
    pub(super) fn strictest(self, other: Freshness) -> Freshness {
        Freshness {
            ttl: self.ttl.max(other.ttl),
            max_body: self.max_body.max(other.max_body),
            stale_while_revalidate: self.stale_while_revalidate.max(other.stale_while_revalidate),
            stale_if_error: self.stale_if_error.max(other.stale_if_error),
            negative_ttl: self.negative_ttl.max(other.negative_ttl),
            on_unreachable: self.on_unreachable.max(other.on_unreachable),
        }
    }
}

impl Default for Freshness {
    fn default() -> Freshness {
        Freshness {
            ttl: Duration::from_secs(30),
            max_body: 64 << 10,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            on_unreachable: OnUnreachable::default(),
        }
    }
}

/// What a write meets whose mark cannot be placed in the store, so that other processes may go on answering from before
/// it. In the order of caution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum OnUnreachable {
    /// It is sent all the same: responses from before it end with their time.
    #[default]
    Forward,
    /// It is sent, but acknowledged only when no response from before it can be served any more: after the longest
    /// [`Freshness::max_serving_time`] of all upstreams in the scope.
    Hold,
    /// It is rejected, and never reaches the provider.
    Reject,
}

/// The bounds of evaluated bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// The largest body, in bytes.
    pub max: usize,
    /// The largest body of undeclared length, in bytes.
    pub max_undeclared: usize,
    /// How long a body may take to arrive.
    pub timeout: Duration,
}

/// How much may be in flight at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// How many requests at once, whoever sent them.
    pub in_flight: usize,
    /// How many of them for one source of callers whom the gateway has not verified.
    pub per_source: usize,
    /// How long a request waits for others to end.
    pub wait: Duration,
}

/// Certificates of authorities, of which there is at least one.
pub type CaCertificates = Arc<[CertificateDer<'static>]>;

/// Who the gateway is to a provider that asks for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The gateway's own certificate, then those that lead to an authority.
    pub chain: Arc<[CertificateDer<'static>]>,
    /// The private key of the first of them.
    pub key: Arc<PrivateKeyDer<'static>>,
}

/// The version of HTTP that a provider is spoken to in. Calls of gRPC need HTTP/2 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, and nothing else; without TLS by prior knowledge.
    Http2,
    /// What the provider chooses in the TLS handshake, and HTTP/1.1 without TLS.
    Auto,
}

/// Where an upstream is and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// The host name or address, without brackets and without the dot of the root.
    pub host: String,
    /// Whether its name is looked up with that dot: as it is, in no search domain.
    pub rooted: bool,
    /// The port.
    pub port: u16,
    /// What it is called in `Host` and in TLS, with a port where that belongs to it: where it is reached by another
    /// name.
    pub virtual_host: Option<Authority>,
    /// What stands before every path. Without a slash at the end.
    pub base_path: String,
    /// Authorities to trust instead of the system's.
    pub authorities: Option<CaCertificates>,
    /// Who the gateway is to it.
    pub identity: Option<ClientIdentity>,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// How long things may take.
    pub timeouts: Timeouts,
}

impl Target {
    /// Whether both name the same provider.
    pub fn is_same_provider(&self, other: &Target) -> bool {
        self.name() == other.name()
    }

    /// What tells its provider from others: whether it uses TLS, host, port, and path. A provider that is reached by
    /// another name than its own is the one that `https://` and its own name lead to.
    pub(super) fn name(&self) -> (bool, String, u16, &str) {
        const HTTPS: u16 = 443;
        let (tls, host, port) = match &self.virtual_host {
            Some(own) => (true, own.host(), own.port_u16().unwrap_or(HTTPS)),
            None => (self.tls, self.host.as_str(), self.port),
        };
        (tls, host.to_ascii_lowercase(), port, &self.base_path)
    }

    /// The name that its certificate has to be for.
    pub fn server_name(&self) -> &str {
        let own = self.virtual_host.as_ref().map(|own| own.host().trim_matches(['[', ']']));
        own.unwrap_or(&self.host)
    }

    /// The name that is looked up.
    pub fn lookup_name(&self) -> String {
        if self.rooted { format!("{}.", self.host) } else { self.host.clone() }
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        if let Some(own) = &self.virtual_host {
            return own.to_string();
        }
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }
}

/// How long things at an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, with TLS.
    pub connect: Duration,
    /// From the end of a request to the first byte of its response. A governed request has to be answered as a whole
    /// within it.
    pub first_byte: Duration,
    /// How long neither side of a pass-through request may send anything. It also bounds the wait for the first byte of
    /// a response.
    pub idle: Duration,
    /// How long an unused connection is kept.
    pub keepalive: Duration,
}

impl Timeouts {
    /// How long a write stays marked if its outcome never becomes known: longer than it can take in any case.
    pub fn guard(&self) -> Duration {
        (self.connect + self.first_byte) * 2 + Duration::from_secs(1)
    }
}
