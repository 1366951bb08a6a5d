//! The compiled gateway: its upstreams, and the secret of its keyed hashes.

use super::cache_ids;
use super::caller_check::CallerCheck;
use super::upstream::{Freshness, Target, Upstream};
use super::upstream_index::UpstreamIndex;
use crate::grant::Grants;
use crate::model::SessionId;
use ring::hmac;
use std::sync::Arc;
use std::time::Duration;

/// The compiled configuration. It is immutable; a new configuration makes a new gateway.
#[derive(Debug)]
pub struct Gateway {
    upstreams: Vec<Arc<Upstream>>,
    index: UpstreamIndex,
    longest_write: Duration,
    secret: hmac::Key,
}

impl Gateway {
    /// Compiles upstreams. `secret` keys the hashes of session IDs in cache keys and logs.
    pub fn new(upstreams: Vec<Upstream>, secret: &[u8]) -> Gateway {
        Gateway::with_key(upstreams, hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn with_key(mut upstreams: Vec<Upstream>, secret: hmac::Key) -> Gateway {
        let all: Vec<(Target, Option<Freshness>, Grants)> =
            upstreams.iter().map(|one| (one.target.clone(), one.cache, one.grants.clone())).collect();
        for upstream in &mut upstreams {
            let scope: Vec<_> = all.iter().filter(|(target, ..)| target.is_same_provider(&upstream.target)).collect();
            upstream.scope_cache = scope.iter().filter_map(|(_, cache, _)| *cache).reduce(Freshness::strictest);
            upstream.scope_owns_keys = scope.iter().any(|(.., grants)| grants.own_keys());
            let owned = scope.iter().flat_map(|(.., grants)| grants.owned_keys()).cloned();
            upstream.grants = upstream.grants.beside(owned);
            upstream.scope = cache_ids::provider(&secret, &upstream.target);
            upstream.response_id = cache_ids::responses(&secret, upstream);
            let of_issuer = |issuer| cache_ids::responses_of_issuer(&secret, upstream, issuer);
            let own: Vec<[u8; 16]> = upstream.check.issuers().iter().map(of_issuer).collect();
            if let CallerCheck::Token(issuers) = &mut upstream.check {
                issuers.iter_mut().zip(own).for_each(|(issuer, own)| issuer.response_id = own);
            }
        }
        let longest_write = upstreams.iter().map(|upstream| upstream.target.timeouts.guard()).max();
        let upstreams: Vec<Arc<Upstream>> = upstreams.into_iter().map(Arc::new).collect();
        let index = UpstreamIndex::new(&upstreams);
        Gateway { upstreams, index, longest_write: longest_write.unwrap_or_default(), secret }
    }

    /// The same gateway with the secret of another.
    pub fn with_secret_of(&self, other: &Gateway) -> Gateway {
        Gateway::with_key(self.upstreams.iter().map(|one| Upstream::clone(one)).collect(), other.secret.clone())
    }

    /// Whether both have the same secret, so that their hashes are equal.
    pub fn has_same_secret(&self, other: &Gateway) -> bool {
        self.keyed_hash(&[b"alike"]) == other.keyed_hash(&[b"alike"])
    }

    /// The upstreams, in the order of the configuration.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// The upstream for a listener, a host and a path: the most specific match.
    pub fn find_upstream(&self, listener: &str, host: &str, path: &str) -> Option<&Arc<Upstream>> {
        self.index.find(listener, host, path)
    }

    /// The longest time that a write through any upstream may take.
    pub fn longest_write(&self) -> Duration {
        self.longest_write
    }

    /// The keyed hash of a session ID, for the cache and the log.
    pub(super) fn session_hash(&self, upstream: &Upstream, session: &SessionId) -> [u8; 16] {
        self.keyed_hash(&[b"session", &upstream.scope.to_be_bytes(), session.as_str().as_bytes()])
    }

    /// What to purge: an upstream and optionally a session, as its keyed hash. It cannot be used to read the cache.
    pub fn purge_target(
        &self,
        upstream: &str,
        session: Option<&str>,
    ) -> Result<(&Arc<Upstream>, Option<[u8; 16]>), UnknownPurgeTarget> {
        let upstream = self.upstreams.iter().find(|one| one.name == upstream).ok_or(UnknownPurgeTarget::Upstream)?;
        if upstream.scope_cache.is_none() {
            return Err(UnknownPurgeTarget::Uncached);
        }
        let session = session.map(|session| upstream.dialect.session_id(session)).transpose();
        let session = session.map_err(|_| UnknownPurgeTarget::Session)?;
        Ok((upstream, session.map(|session| self.session_hash(upstream, &session))))
    }

    /// The keyed hash of a client ID or a subject, for the log.
    pub fn identity_hash(&self, identity: &str) -> [u8; 16] {
        self.keyed_hash(&[b"identity", identity.as_bytes()])
    }

    pub(super) fn keyed_hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        cache_ids::keyed_hash(&self.secret, parts)
    }
}

/// Why the target of a purge is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPurgeTarget {
    /// No upstream has this name.
    #[error("`upstream` is not a configured upstream")]
    Upstream,
    /// The upstream has no cache.
    #[error("nothing of this upstream is cached")]
    Uncached,
    /// The session ID is not valid at the provider.
    #[error("`session` is not a valid session ID of this upstream")]
    Session,
}
