//! What verifies the tokens of an upstream's callers: the keys of each issuer, and the introspection of opaque tokens.

use super::supervised::Supervised;
use crate::gateway::{OpaqueTokens, TokenIssuer, Upstream};
use crate::introspection::{IntrospectionContext, Introspector};
use crate::jwks::{Issuer, IssuerContext, TokenHash};
use crate::metrics::IssuerReading;
use crate::model::Rejection;
use crate::telemetry::{IntrospectionCache, IntrospectionResult};
use crate::token::{Verified, claimed_issuer, is_jwt};
use std::sync::Arc;
use std::time::Duration;

/// What verifies the tokens of an upstream's callers.
pub struct TokenVerifiers {
    /// At least one.
    issuers: Vec<Arc<Supervised<Issuer>>>,
    introspector: Option<Arc<Supervised<Introspector>>>,
}

/// What verifies a token. No other one is tried.
pub enum TokenVerifier<'v> {
    /// By a key of its issuer.
    Issuer(&'v Arc<Issuer>),
    /// By introspection.
    Introspector(&'v Arc<Introspector>),
}

impl TokenVerifiers {
    /// Those of an upstream; `None` if the gateway does not verify its callers. They reuse what still fits of those
    /// `before`. Call inside a tokio runtime.
    pub(super) fn new(
        upstream: &Upstream,
        before: Option<&TokenVerifiers>,
        context: IssuerContext,
        introspection: IntrospectionContext,
    ) -> Result<Option<TokenVerifiers>, rustls::Error> {
        let known = before.map_or(&[][..], |before| &before.issuers);
        let issuer = |issuer: &TokenIssuer| {
            let resolver = &context.resolver;
            if let Some(same) = known.iter().find(|known| known.value.matches(issuer, resolver)) {
                same.value.move_to(&issuer.option);
                return same.clone();
            }
            let akin = known.iter().find(|known| known.value.shares_source(&issuer.keys));
            let akin = akin.map(|known| &*known.value);
            let issuer = Issuer::new(&upstream.name, issuer, context.clone(), akin);
            Supervised::new(issuer.clone(), issuer.keep_current())
        };
        let issuers: Vec<_> = upstream.check.issuers().iter().map(issuer).collect();
        let introspector = introspector(upstream, before, introspection)?;
        Ok((!issuers.is_empty()).then_some(TokenVerifiers { issuers, introspector }))
    }

    /// The issuers.
    pub fn issuers(&self) -> impl ExactSizeIterator<Item = &Arc<Issuer>> {
        self.issuers.iter().map(|issuer| &issuer.value)
    }

    /// What introspects opaque tokens, if the gateway does.
    pub fn introspector(&self) -> Option<&Arc<Introspector>> {
        self.introspector.as_ref().map(|introspector| &introspector.value)
    }

    /// What must verify this token: its form and its `iss` alone decide.
    ///
    /// # Errors
    ///
    /// Rejects a token of another issuer, and one that does not show its issuer.
    pub fn of(&self, token: &str) -> Result<TokenVerifier<'_>, Rejection> {
        match self.introspector() {
            Some(introspector) if !is_jwt(token) => Ok(TokenVerifier::Introspector(introspector)),
            Some(_) | None => self.issuer_of(token).map(TokenVerifier::Issuer),
        }
    }

    /// The issuer that must have signed this token.
    fn issuer_of(&self, token: &str) -> Result<&Arc<Issuer>, Rejection> {
        if let [only] = self.issuers.as_slice() {
            return Ok(&only.value);
        }
        // Found by its hash, so that the claims of a frequent caller are not parsed again.
        let hash = TokenHash::of(token);
        if let Some(known) = self.issuers().find(|issuer| issuer.knows(&hash)) {
            return Ok(known);
        }
        let iss = claimed_issuer(token)?;
        self.issuers().find(|issuer| issuer.accepts(&iss)).ok_or(Rejection::TokenIssuer)
    }

    /// The caller of a token that is known to be valid, or can be verified without a fetch.
    pub fn recognized(&self, token: &str, now: u64) -> Option<Arc<Verified>> {
        if is_jwt(token) {
            return self.issuer_of(token).ok()?.recognized(token, now);
        }
        self.introspector()?.recognized(token, now)
    }

    /// The session that an ID token of one of the issuers names. Its sender is not authenticated, so nothing is fetched.
    pub fn id_token_session(&self, token: &str) -> Option<String> {
        self.issuer_of(token).ok()?.id_token_session(token)
    }

    /// The values for metrics. Those of keys are of the issuer that is worst off: it has no keys, or fetches of them fail,
    /// or they become too old first. Counters are of all of them.
    pub(super) fn reading(&self, sources: &[TokenIssuer]) -> Option<IssuerReading> {
        let counters = self.introspector().map(|introspector| introspector.counters());
        let (introspected, hits) = counters.map_or_else(Default::default, |all| (all.results(), all.hits()));
        let rank = |(issuer, source): &(&Arc<Issuer>, &TokenIssuer)| {
            let health = issuer.health();
            let age = Duration::from_secs(health.age.unwrap_or_default());
            (health.keys > 0, !issuer.is_failing(), source.keys.max_stale.saturating_sub(age))
        };
        let (issuer, source) = self.issuers().zip(sources).min_by_key(rank)?;
        let health = issuer.health();
        Some(IssuerReading {
            keys: health.keys,
            fetched: health.fetched,
            failed: health.failed,
            age: health.age,
            refresh: source.keys.refresh,
            max_stale: source.keys.max_stale,
            mismatch: self.mismatch(),
            verified: health.verified + introspected[IntrospectionResult::Active],
            cached: health.cached + hits[IntrospectionCache::Active] + hits[IntrospectionCache::Stale],
        })
    }

    /// Whether a discovery document names another issuer; `None` if none was fetched.
    fn mismatch(&self) -> Option<bool> {
        let found = self.issuers().filter(|issuer| issuer.has_discovery()).map(|issuer| issuer.mismatch().is_some());
        found.reduce(|one, other| one || other)
    }

    /// Whether no issuer has keys, so that no caller can be verified. If those `before` could not fetch them either,
    /// nothing is lost.
    pub(super) fn lack_keys(&self, before: Option<&TokenVerifiers>) -> bool {
        let akin = |own: &Issuer| before.is_some_and(|before| before.issuers().any(|known| known.shares_keys(own)));
        self.issuers().all(|issuer| issuer.health().keys == 0 && !akin(issuer))
    }
}

fn introspector(
    upstream: &Upstream,
    before: Option<&TokenVerifiers>,
    context: IntrospectionContext,
) -> Result<Option<Arc<Supervised<Introspector>>>, rustls::Error> {
    let introspected = upstream.check.issuers().iter().find_map(|issuer| match &issuer.opaque {
        OpaqueTokens::Introspect(source) => Some((issuer, source)),
        OpaqueTokens::Reject | OpaqueTokens::Forward => None,
    });
    let Some((issuer, source)) = introspected else {
        return Ok(None);
    };
    let before = before.and_then(|before| before.introspector.as_ref());
    if let Some(same) = before.filter(|known| known.value.matches(issuer, source, &context.resolver)) {
        same.value.move_to(&issuer.option);
        return Ok(Some(same.clone()));
    }
    let before = before.map(|known| &*known.value);
    let introspector = Introspector::new(&upstream.name, issuer, source.clone(), context, before)?;
    let current = introspector.addresses().clone().keep_current();
    Ok(Some(Supervised::new(introspector, current)))
}
