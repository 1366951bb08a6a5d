//! The headers that a provider reads, and those in which it reports its request limit.

use crate::model::Quota;
use http::{HeaderMap, HeaderName};

/// The headers of a provider beyond those of HTTP.
#[derive(Debug)]
pub struct ProviderHeaders {
    /// Whether the provider uses `X-Forwarded-For`, `-Proto` and `-Host`. If not, they are not sent.
    pub reads_forwarded: bool,
    /// Prefixes of headers that are removed from client requests, in addition to those that every proxy removes.
    pub stripped: &'static [&'static str],
    /// Headers that select the client, host or instance of a request: accepted from trusted peers only.
    pub trusted_peer: &'static [TrustedHeader],
    /// Headers of the caller that change the provider's response, so they are part of the cache key.
    pub cache_key: &'static [&'static str],
    /// Headers that name the caller's software. Only the provider's logs use them, so shared reads have them too.
    pub software: &'static [&'static str],
    /// The headers that pages of any origin may read, if the provider's API is for browsers: see [`Cors`].
    pub cors: Option<Cors>,
    /// The headers in which the provider reports its request limit, if it does.
    pub quota: Option<QuotaHeaders>,
}

/// The response headers in which a provider reports its request limit.
#[derive(Debug)]
pub struct QuotaHeaders {
    /// How many requests the limit allows.
    pub limit: HeaderName,
    /// How many of them are left.
    pub remaining: HeaderName,
    /// When the provider allows more again, in seconds since the epoch.
    pub reset: HeaderName,
}

/// A header that is accepted from trusted peers only.
#[derive(Debug, Clone, Copy)]
pub struct TrustedHeader {
    /// The name, in lower case.
    pub name: &'static str,
    /// What its value says.
    pub value: TrustedValue,
}

/// What the value of a trusted peer's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedValue {
    /// The host, which selects the tenant.
    Host,
    /// Parameters as in `Forwarded` (RFC 7239). `host` selects the tenant.
    Parameters,
    /// The scheme of the client's request.
    Scheme,
    /// The client's address. No response depends on it.
    Address,
}

/// A provider that allows pages of any origin to send requests with credentials.
#[derive(Debug, Clone, Copy)]
pub struct Cors {
    /// The response headers that a page may read, as in `Access-Control-Expose-Headers`.
    pub exposed: &'static str,
}

impl QuotaHeaders {
    /// What the headers of a response report; nothing if `remaining` is absent, as in responses without a report.
    pub fn read(&self, headers: &HeaderMap) -> Quota {
        let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        match number(&self.remaining) {
            None => Quota::default(),
            remaining => Quota { limit: number(&self.limit), remaining, reset: number(&self.reset) },
        }
    }
}

impl ProviderHeaders {
    /// Whether trusted peers may send this header to the provider.
    pub fn is_trusted_peer(&self, name: &str) -> bool {
        self.trusted_peer.iter().any(|header| header.name == name)
    }

    /// Whether this header is removed from client requests.
    pub fn is_stripped(&self, name: &str) -> bool {
        let hidden = |name: &str| self.stripped.iter().any(|start| name.starts_with(start));
        !self.stripped.is_empty() && (hidden(name) || (name.contains('_') && hidden(&name.replace('_', "-"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{AUTH0, OKTA};

    #[test]
    fn quota_is_read_from_numbers() {
        let read = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            AUTH0.headers.quota.as_ref().unwrap().read(&headers.collect())
        };
        let [limit, remaining, reset] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
        let whole = Quota { limit: Some(50), remaining: Some(0), reset: Some(1_700_000_000) };
        assert_eq!(read(&[(limit, "50"), (remaining, " 0 "), (reset, "1700000000")]), whole);
        let part = Quota { remaining: Some(7), ..Quota::default() };
        assert_eq!(read(&[(limit, "50;w=60"), (remaining, "7"), (reset, "-1")]), part);
        assert_eq!(read(&[(limit, "50"), (remaining, "few")]), Quota::default());
        assert_eq!(read(&[("x-rate-limit-remaining", "7")]), Quota::default(), "Okta's name");
        assert_eq!(OKTA.headers.quota.as_ref().unwrap().remaining, "x-rate-limit-remaining");
    }
}
