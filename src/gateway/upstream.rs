//! A compiled upstream: which requests it receives, who may use it, and its settings.

use super::caller_check::CallerCheck;
use super::certificates::{CaCertificates, ClientIdentity};
use super::egress_proxy::{EgressProxy, authority_of};
use crate::dialect::Dialect;
use crate::grant::Grants;
use crate::model::Caller;
use crate::policy::Policy;
use http::uri::Authority;
use std::sync::Arc;
use std::time::Duration;

/// A provider behind the gateway.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The name in the configuration, in metrics and in logs.
    pub name: String,
    /// The index in the configuration.
    pub index: usize,
    /// The ID of its provider. Upstreams of the same provider share generations and marks, because a write through one
    /// changes the responses of the others. [`super::Gateway::new`] sets it.
    pub scope: u64,
    /// The longest times and the strictest failure policy of all upstreams in the scope, for writes. `None` if none of
    /// them has a cache.
    pub scope_cache: Option<Freshness>,
    /// Whether grants own metadata keys in any upstream of the scope: then all writes of metadata take exclusive rights.
    pub scope_owns_keys: bool,
    /// The ID of its cached responses. On its own, the variant that verified callers of its only issuer share.
    /// [`super::Gateway::new`] sets it.
    pub response_id: [u8; 16],
    /// The provider's API.
    pub dialect: &'static Dialect,
    /// Which requests it receives.
    pub matcher: RequestMatcher,
    /// How to treat requests that the dialect does not know.
    pub unmatched: Unmatched,
    /// How callers are verified.
    pub check: CallerCheck,
    /// Who may do what.
    pub grants: Grants,
    /// The policy for writes of sessions.
    pub policy: Policy,
    /// The policy for writes of refresh tokens.
    pub refresh_token_policy: Policy,
    /// How session reads are cached; `None` disables the cache.
    pub cache: Option<Freshness>,
    /// The limits of evaluated bodies.
    pub body: BodyLimits,
    /// The limits of requests in flight.
    pub slots: SlotLimits,
    /// Whether the provider receives the client's `Host` instead of its own.
    pub preserve_host: bool,
    /// The provider's address.
    pub target: Target,
}

impl Upstream {
    /// Whether requests that match no operation are forwarded.
    pub fn forwards_unmatched(&self) -> bool {
        match self.unmatched {
            Unmatched::Forward => true,
            Unmatched::Reject => false,
        }
    }

    /// The ID of the cached responses that this verified caller shares with others.
    pub(super) fn response_id_of(&self, caller: &Caller) -> [u8; 16] {
        match self.check.issuers() {
            [] | [_] => self.response_id,
            several => {
                let own = several.iter().find(|issuer| issuer.expected.issuers.contains(&caller.issuer));
                own.map_or(self.response_id, |issuer| issuer.response_id)
            }
        }
    }
}

/// Which requests an upstream receives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestMatcher {
    /// The name of the listener; `None` for any.
    pub listener: Option<String>,
    /// The host, in lower case and without a port; `None` for any.
    pub host: Option<String>,
    /// The path prefix, which ends at a segment boundary. Without a trailing slash; empty for any path.
    pub path_prefix: String,
    /// Whether to remove the prefix before the path is matched and forwarded.
    pub strip_prefix: bool,
}

impl RequestMatcher {
    #[cfg(test)]
    pub(super) fn matches(&self, listener: &str, host: &str, path: &str) -> bool {
        let here = self.listener.as_ref().is_none_or(|own| own == listener);
        let named = here && self.host.as_ref().is_none_or(|own| own.eq_ignore_ascii_case(plain_host(host)));
        let rest = path.strip_prefix(self.path_prefix.as_str());
        named && rest.is_some_and(|rest| self.path_prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }

    /// The order of matches: a host counts more than a listener, a listener more than any prefix, a longer prefix more
    /// than a shorter one.
    pub(super) fn specificity(&self) -> (bool, bool, usize) {
        (self.host.is_some(), self.listener.is_some(), self.path_prefix.len())
    }

    /// The path at the provider, without its base path.
    pub fn upstream_path<'a>(&self, path: &'a str) -> &'a str {
        let rest = if self.strip_prefix { path.strip_prefix(self.path_prefix.as_str()).unwrap_or(path) } else { path };
        if rest.is_empty() { "/" } else { rest }
    }
}

/// A host without its port and trailing dot.
pub(super) fn plain_host(host: &str) -> &str {
    let host = without_port(host);
    host.strip_suffix('.').unwrap_or(host)
}

pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// How to treat requests that a dialect does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// Pass them through unchanged.
    #[default]
    Forward,
    /// Respond with 404, to reads and writes alike. CORS preflights of governed operations are passed through.
    Reject,
}

/// How session reads are cached. The default has the configuration's default values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// How long a response is fresh at most, and how long a deleted session is reported as 404.
    pub ttl: Duration,
    /// The maximum size of a stored response, in bytes.
    pub max_body: usize,
    /// How long after `ttl` a stale response is served while it is fetched again.
    pub stale_while_revalidate: Duration,
    /// How long after `ttl` a stale response is served if the provider fails.
    pub stale_if_error: Duration,
    /// How long the provider's 404 is cached; zero disables it.
    pub negative_ttl: Duration,
    /// What to do with a write whose invalidation mark cannot be set.
    pub on_unreachable: OnUnreachable,
}

impl Freshness {
    /// The longest time between the fetch of a response and its last use.
    pub fn max_serving_time(&self) -> Duration {
        self.negative_ttl.max(self.ttl + self.stale_while_revalidate + self.stale_if_error)
    }

    /// The longest time that a response is stored.
    pub fn retention(&self) -> Duration {
        self.negative_ttl.max(self.ttl + self.stale_while_revalidate.max(self.stale_if_error))
    }

    /// The longer times and the stricter failure policy of two.
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

/// What to do with a write whose invalidation mark cannot be set, so that other processes may still serve older
/// responses. From the least to the most strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum OnUnreachable {
    /// Forward it. Older responses are served until they expire.
    #[default]
    Forward,
    /// Forward it, but delay its response until no older response can be served: by the longest
    /// [`Freshness::max_serving_time`] of all upstreams in the scope.
    Hold,
    /// Reject it. It never reaches the provider.
    Reject,
}

/// The limits of evaluated bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// The maximum size, in bytes.
    pub max: usize,
    /// The maximum size of a body of undeclared length, in bytes.
    pub max_undeclared: usize,
    /// How long a body may take to arrive.
    pub timeout: Duration,
}

/// The limits of requests in flight at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// The maximum number of requests in flight.
    pub in_flight: usize,
    /// The maximum of them for one source of unverified callers.
    pub per_source: usize,
    /// How long a request waits for a free slot.
    pub wait: Duration,
}

/// The HTTP version for connections to a provider. gRPC calls always use HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 only; without TLS by prior knowledge.
    Http2,
    /// The version negotiated by ALPN; HTTP/1.1 without TLS.
    Auto,
}

/// The address of a provider, and how to connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether to use TLS.
    pub tls: bool,
    /// The host name or IP address, without brackets and without a trailing dot.
    pub host: String,
    /// Whether the name is resolved with a trailing dot, that is, without search domains.
    pub rooted: bool,
    /// The port.
    pub port: u16,
    /// The `Host` and TLS server name, if they differ from the address. With a port if that is part of the name.
    pub virtual_host: Option<Authority>,
    /// A prefix of every path, without a trailing slash.
    pub base_path: String,
    /// CA certificates to trust instead of the system's.
    pub authorities: Option<CaCertificates>,
    /// The client certificate, if the provider requires one.
    pub identity: Option<ClientIdentity>,
    /// The HTTP version.
    pub protocol: Protocol,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// The forward proxy; `None` if it is not used for this host.
    pub proxy: Option<Arc<EgressProxy>>,
}

impl Target {
    /// Whether both are the same provider.
    pub fn is_same_provider(&self, other: &Target) -> bool {
        self.provider_identity() == other.provider_identity()
    }

    /// What identifies the provider: TLS, host, port, and base path. With a virtual host, the provider is the one at
    /// `https://` and that host.
    pub(super) fn provider_identity(&self) -> (bool, String, u16, &str) {
        const HTTPS: u16 = 443;
        let (tls, host, port) = match &self.virtual_host {
            Some(own) => (true, own.host(), own.port_u16().unwrap_or(HTTPS)),
            None => (self.tls, self.host.as_str(), self.port),
        };
        (tls, host.to_ascii_lowercase(), port, &self.base_path)
    }

    /// The name that the provider's certificate must have.
    pub fn server_name(&self) -> &str {
        let own = self.virtual_host.as_ref().map(|own| own.host().trim_matches(['[', ']']));
        own.unwrap_or(&self.host)
    }

    /// The host name to resolve, and the port to connect to: the proxy's, which resolves the name of the provider.
    pub fn connects_to(&self) -> (String, u16) {
        match &self.proxy {
            Some(proxy) => (proxy.host.clone(), proxy.port),
            None if self.rooted => (format!("{}.", self.host), self.port),
            None => (self.host.clone(), self.port),
        }
    }

    /// The host and port of `url`, to which a forward proxy opens tunnels.
    pub fn tunnel_authority(&self) -> String {
        authority_of(&self.host, self.port)
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

/// The timeouts of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, including TLS.
    pub connect: Duration,
    /// From the end of a request to the first byte of its response. A governed request must be complete within it.
    pub first_byte: Duration,
    /// How long both sides of a pass-through request may be silent. It also limits the wait for the first byte of a
    /// response.
    pub idle: Duration,
    /// How long an unused connection is kept open.
    pub keepalive: Duration,
}

impl Timeouts {
    /// How long a mark lasts if a write's outcome stays unknown: longer than any write can take.
    pub fn guard(&self) -> Duration {
        (self.connect + self.first_byte) * 2 + Duration::from_secs(1)
    }
}
