//! The compiled gateway, and the chain of types that is the order of security: `RequestHead -> Governed ->
//! AuthorizedRequest -> DecodedRequest -> Read | Write`. Each step consumes the one before it, so that a cached session
//! cannot be served, nor a body forwarded, before the caller, the route and the body were evaluated.

mod authorized;
mod decoded;
mod head;
mod listing;
mod cache_ids;
mod outcome;
mod write_outcome;
mod upstream;

pub use authorized::{AuthorizedRequest, CacheKey};
pub use decoded::{Changes, DecodedRequest, Read, Write, WriteDecision};
pub use head::{BodySize, RequestHead, bearer};
pub use listing::Listing;
pub use outcome::Outcome;
pub use upstream::{
    BodyLimits, CaCertificates, CallerCheck, ClientIdentity, Freshness, KeySource, OnUnreachable, Protocol,
    RequestMatcher, SlotLimits, Target, Timeouts, Unmatched, Upstream,
};
pub use write_outcome::{
    Cacheability, DecodedResponse, ProviderResponse, WriteOutcome, is_inconclusive, settle_invalidating,
};

use crate::coherence::{DEFAULT_TENANT, TenantId};
use crate::dialect::path::PathReadings;
use crate::dialect::{Route, RouteMatch};
use crate::model::{Operation, Rejection, SessionId};
use crate::token::Verified;
use crate::wire::carrier::Carrier;
use bytes::Bytes;
use head::CheckedHead;
use http::Method;
use http::header::ACCESS_CONTROL_REQUEST_METHOD;
use ring::hmac;
use std::sync::Arc;

/// The compiled configuration. It never changes; a new configuration is a new gateway.
#[derive(Debug)]
pub struct Gateway {
    upstreams: Vec<Arc<Upstream>>,
    secret: hmac::Key,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Routed {
    /// An operation of a governed surface: it has to be admitted and evaluated.
    Governed(Governed),
    /// A call that lists sessions, or something that may change any: it has to be admitted.
    Invalidating(InvalidatingRequest),
    /// Something else: passed untouched, with the caller's own credential.
    PassThrough(Arc<Upstream>, Operation),
}

/// A rejection, and the upstream in whose dialect it is answered; none where the request is for no upstream.
#[derive(Debug)]
pub struct RejectedRequest {
    /// The upstream.
    pub upstream: Option<Arc<Upstream>>,
    /// The operation, where it was found.
    pub operation: Operation,
    /// Why.
    pub rejection: Rejection,
}

/// An operation of a governed surface, not yet admitted.
#[derive(Debug)]
pub struct Governed {
    upstream: Arc<Upstream>,
    route: &'static Route,
    carrier: Carrier,
    /// The session, where the path names it.
    session: Option<SessionId>,
    /// The path at the provider, in its canonical form.
    path: String,
    /// What stands in the query.
    query: Option<String>,
    /// The session's token, where the query shows it.
    token: Option<String>,
    /// What decides the provider's response beside the session, where it depends on who asks.
    caller: Vec<u8>,
    /// Whom the provider takes it to be for.
    tenant: TenantId,
    size: BodySize,
}

/// A call that lists sessions, or something that may change any, not yet admitted.
#[derive(Debug)]
pub struct InvalidatingRequest {
    upstream: Arc<Upstream>,
    operation: Operation,
    /// The path that is forwarded in place of the one that came.
    path: Option<String>,
}

/// Why a name names nothing in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPurgeTarget {
    /// There is no such upstream.
    #[error("`upstream` is none of the configured ones")]
    Upstream,
    /// Nothing of the upstream is cached.
    #[error("nothing of this upstream is cached")]
    Uncached,
    /// The provider has no such session ids.
    #[error("`session` is no id of a session at this upstream")]
    Session,
}

/// Who a request comes from.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A token that the gateway has verified.
    Verified(Arc<Verified>),
    /// An access token that the gateway has not verified: the provider does. Without its scheme.
    Forwarded(Bytes),
    /// Nothing.
    Anonymous,
}

impl Credential {
    /// Whether the gateway has verified it.
    pub fn is_verified(&self) -> bool {
        match self {
            Credential::Verified(_) => true,
            Credential::Forwarded(_) | Credential::Anonymous => false,
        }
    }
}

impl Gateway {
    /// A gateway of these upstreams. `secret` keys the hashes that stand for sessions in cache keys and logs.
    pub fn new(upstreams: Vec<Upstream>, secret: &[u8]) -> Gateway {
        Gateway::with_key(upstreams, hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn with_key(mut upstreams: Vec<Upstream>, secret: hmac::Key) -> Gateway {
        let all: Vec<(Target, Option<Freshness>)> =
            upstreams.iter().map(|one| (one.target.clone(), one.cache)).collect();
        for upstream in &mut upstreams {
            let same = |target: &Target| target.is_same_provider(&upstream.target);
            let caches = all.iter().filter(|(target, _)| same(target)).filter_map(|(_, cache)| *cache);
            upstream.scope_cache = caches.reduce(Freshness::strictest);
            upstream.scope = cache_ids::provider(&secret, &upstream.target);
            upstream.shared = cache_ids::responses(&secret, upstream);
        }
        Gateway { upstreams: upstreams.into_iter().map(Arc::new).collect(), secret }
    }

    /// The same gateway with the secret of another.
    pub fn with_secret_of(&self, other: &Gateway) -> Gateway {
        Gateway::with_key(self.upstreams.iter().map(|one| Upstream::clone(one)).collect(), other.secret.clone())
    }

    /// Whether both have the same secret, and so name everything alike.
    pub fn has_same_secret(&self, other: &Gateway) -> bool {
        self.keyed_hash(&[b"alike"]) == other.keyed_hash(&[b"alike"])
    }

    /// The upstreams, in their order in the configuration.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// The upstream that requests at a listener, for a host and a path, are for.
    pub fn upstream_of(&self, listener: &str, host: &str, path: &str) -> Option<&Arc<Upstream>> {
        let found = self.upstreams.iter().filter(|one| one.matcher.matches(listener, host, path));
        found.max_by_key(|one| one.matcher.specificity())
    }

    /// Finds out what a request is, from its head alone.
    pub fn route(&self, head: RequestHead) -> Result<Routed, RejectedRequest> {
        let rejected = |upstream: Option<&Arc<Upstream>>, operation, rejection| RejectedRequest {
            upstream: upstream.cloned(),
            operation,
            rejection,
        };
        let Some(upstream) = self.upstream_of(head.listener, head.host, head.path) else {
            return Err(rejected(None, Operation::Other, Rejection::NoUpstream));
        };
        let found = match_route(upstream, &head);
        match found.map_err(|rejection| rejected(Some(upstream), Operation::Other, rejection))? {
            RouteMatch::Governed { route, session, path } => {
                let operation = route.operation;
                let checked = head::check(route, &head);
                let CheckedHead { carrier, size, query, token } =
                    checked.map_err(|rejection| rejected(Some(upstream), operation, rejection))?;
                let upstream = upstream.clone();
                // Calls that list are passed on, in the spelling that was checked.
                if operation == Operation::ListSessions && route.call.is_some() {
                    let inner = upstream.matcher.upstream_path(head.path);
                    let before = head.path.strip_suffix(inner).unwrap_or_default();
                    let path = (path != inner).then(|| [before, &path].concat());
                    return Ok(Routed::Invalidating(InvalidatingRequest { upstream, operation, path }));
                }
                let caller = if upstream.dialect.is_shared_between_callers {
                    Vec::new()
                } else {
                    head::caller(&upstream, &head)
                };
                let base = upstream.target.base_path.as_str();
                let path = if base.is_empty() { path } else { [base, &path].concat() };
                let tenant = self.tenant(&upstream, &head);
                Ok(Routed::Governed(Governed {
                    upstream,
                    route,
                    carrier,
                    session,
                    path,
                    query,
                    token,
                    caller,
                    tenant,
                    size,
                }))
            }
            RouteMatch::Invalidating | RouteMatch::Unmatched
                if !upstream.forwards_unmatched() && !is_preflight(upstream, &head) =>
            {
                Err(rejected(Some(upstream), Operation::Other, Rejection::UnknownOperation))
            }
            RouteMatch::Invalidating => {
                let operation = Operation::ChangeRelated;
                Ok(Routed::Invalidating(InvalidatingRequest { upstream: upstream.clone(), operation, path: None }))
            }
            RouteMatch::Unmatched => Ok(Routed::PassThrough(upstream.clone(), Operation::Other)),
        }
    }

    /// What stands for a session of an upstream in the cache and in the log.
    pub(super) fn session_hash(&self, upstream: &Upstream, session: &SessionId) -> [u8; 16] {
        self.keyed_hash(&[b"session", &upstream.scope.to_be_bytes(), session.as_str().as_bytes()])
    }

    /// Which of the provider's tenants a request is for.
    fn tenant(&self, upstream: &Upstream, head: &RequestHead) -> TenantId {
        if !upstream.preserve_host && !head.trusted {
            return DEFAULT_TENANT;
        }
        match head::tenant(upstream, head) {
            cache_ids if cache_ids.is_empty() => DEFAULT_TENANT,
            cache_ids => self
                .keyed_hash(&[&[&b"tenant"[..]], &*cache_ids.iter().map(Vec::as_slice).collect::<Vec<_>>()].concat()),
        }
    }

    /// What stands for a session of an upstream in the cache, by their names, and the upstream's scope. It names what
    /// may be dropped from the cache, and is no way to what is in it.
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

    fn keyed_hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        cache_ids::keyed_hash(&self.secret, parts)
    }
}

/// What a request names at its upstream. A base path must neither hide an operation, by being a part of the API's path,
/// nor be left again.
fn match_route(upstream: &Upstream, head: &RequestHead) -> Result<RouteMatch, Rejection> {
    let path = upstream.matcher.upstream_path(head.path);
    let base = upstream.target.base_path.as_str();
    let found = upstream.dialect.match_route(head.method, path, head.method_override())?;
    if base.is_empty() || matches!(found, RouteMatch::Governed { .. }) {
        return Ok(found);
    }
    if PathReadings::of(path).has_dots() {
        return Err(Rejection::Path);
    }
    let whole = [base, path].concat();
    match upstream.dialect.match_route(head.method, &whole, head.method_override()) {
        Ok(RouteMatch::Unmatched) => Ok(found),
        Ok(whole @ RouteMatch::Invalidating) => Ok(whole),
        Ok(RouteMatch::Governed { .. }) | Err(_) => Err(Rejection::Path),
    }
}

/// Whether a browser asks, before it sends a governed operation, whether a page may: the response is the provider's to
/// give, and has no session in it.
fn is_preflight(upstream: &Upstream, head: &RequestHead) -> bool {
    let path = upstream.matcher.upstream_path(head.path);
    let mut wanted = head.headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    let method = wanted.next().and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let one = method.filter(|_| wanted.next().is_none() && head.method == Method::OPTIONS);
    one.is_some_and(|method| upstream.dialect.governs(&method, path))
}

/// Whether a credential is of the kind that the upstream asks for.
fn check_credential(check: &CallerCheck, credential: &Credential) -> Result<(), Rejection> {
    match (check, credential) {
        (CallerCheck::Token { .. }, Credential::Verified(_)) | (CallerCheck::None, _) => Ok(()),
        (CallerCheck::Forward | CallerCheck::Token { opaque: true, .. }, Credential::Forwarded(value))
            if !value.trim_ascii().is_empty() =>
        {
            Ok(())
        }
        (CallerCheck::Token { .. } | CallerCheck::Forward, _) => Err(Rejection::CredentialMissing),
    }
}

impl InvalidatingRequest {
    /// The operation.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The path that takes the place of the one that came, where that was spelled in another way than the canonical
    /// one.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// authorizes a caller. The scope is left to the provider: these operations are many, and the caller's own
    /// credential goes with the request.
    pub fn authorize(self, credential: &Credential) -> Result<Arc<Upstream>, Rejection> {
        check_credential(&self.upstream.check, credential).map(|()| self.upstream)
    }
}

impl Governed {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.route.operation
    }

    /// authorizes a caller: its credential has to be of the kind that the upstream asks for, and a token has to carry
    /// the scopes.
    pub fn authorize(self, credential: Credential) -> Result<AuthorizedRequest, Rejection> {
        check_credential(&self.upstream.check, &credential)?;
        if let Credential::Verified(verified) = &credential
            && let Some(missing) = self.route.scopes.iter().find(|scope| !verified.caller().has_scope(scope))
        {
            return Err(Rejection::Scope(missing));
        }
        Ok(AuthorizedRequest { governed: self, credential })
    }
}
