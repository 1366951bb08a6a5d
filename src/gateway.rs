//! The compiled gateway, and the chain of types that fixes the order of security checks: `RequestHead -> Governed ->
//! AuthorizedRequest -> DecodedRequest -> Read | Write`.
//!
//! Each step consumes the one before it. So no cached session can be served, and no body forwarded, before the route,
//! the caller and the body were checked.

mod authorized;
mod decoded;
mod head;
mod listing;
mod cache_ids;
mod outcome;
mod provider_response;
mod read_body;
mod write_outcome;
mod upstream;

pub use authorized::{AuthorizedRequest, CacheKey};
pub use decoded::{Changes, DecodedRequest, Read, Write, WriteDecision};
pub use head::{BodySize, RequestHead, bearer};
pub use listing::Listing;
pub use outcome::Outcome;
pub use provider_response::{DecodedResponse, ProviderResponse};
pub use upstream::{
    BodyLimits, CaCertificates, CallerCheck, ClientIdentity, Freshness, KeySource, OnUnreachable, Protocol,
    RequestMatcher, SlotLimits, Target, Timeouts, Unmatched, Upstream,
};
pub use write_outcome::{Cacheability, WriteOutcome, is_inconclusive, settle_invalidating};

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

/// The compiled configuration. It is immutable; a new configuration makes a new gateway.
#[derive(Debug)]
pub struct Gateway {
    upstreams: Vec<Arc<Upstream>>,
    secret: hmac::Key,
}

/// What a request is.
#[derive(Debug)]
pub enum Routed {
    /// A governed operation, which must be authorized and evaluated.
    Governed(Governed),
    /// A pass-through request that may change any session, or a call that lists sessions. Its caller must be
    /// authorized.
    Invalidating(InvalidatingRequest),
    /// Any other request: passed through unchanged, with the caller's own credential.
    PassThrough(Arc<Upstream>, Operation),
}

/// A rejection, and the upstream whose dialect renders it.
#[derive(Debug)]
pub struct RejectedRequest {
    /// The upstream; `None` if none matched.
    pub upstream: Option<Arc<Upstream>>,
    /// The operation, if known.
    pub operation: Operation,
    /// The reason.
    pub rejection: Rejection,
}

/// A governed operation, not yet authorized.
#[derive(Debug)]
pub struct Governed {
    upstream: Arc<Upstream>,
    route: &'static Route,
    carrier: Carrier,
    /// The session, if the path names one.
    session: Option<SessionId>,
    /// The canonical path at the provider.
    path: String,
    /// The query to forward.
    query: Option<String>,
    /// The session's token from the query.
    token: Option<String>,
    /// What the provider's response depends on besides the session, if it depends on the caller.
    caller: Vec<u8>,
    /// The provider's tenant that the request is for.
    tenant: TenantId,
    size: BodySize,
}

/// A request that may change any session, or a call that lists sessions, not yet authorized.
#[derive(Debug)]
pub struct InvalidatingRequest {
    upstream: Arc<Upstream>,
    operation: Operation,
    /// The path to forward instead of the original one.
    path: Option<String>,
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

/// The credential of a request.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A token that the gateway has verified.
    Verified(Arc<Verified>),
    /// An access token that the gateway forwards without verifying it. Without its scheme.
    Forwarded(Bytes),
    /// No credential.
    Anonymous,
}

impl Credential {
    /// Whether the gateway has verified the credential.
    pub fn is_verified(&self) -> bool {
        match self {
            Credential::Verified(_) => true,
            Credential::Forwarded(_) | Credential::Anonymous => false,
        }
    }
}

impl Gateway {
    /// Compiles upstreams. `secret` keys the hashes of session IDs in cache keys and logs.
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
            upstream.response_id = cache_ids::responses(&secret, upstream);
        }
        Gateway { upstreams: upstreams.into_iter().map(Arc::new).collect(), secret }
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
        let found = self.upstreams.iter().filter(|one| one.matcher.matches(listener, host, path));
        found.max_by_key(|one| one.matcher.specificity())
    }

    /// Classifies a request by its head alone.
    ///
    /// # Errors
    ///
    /// Rejects a request that no upstream matches, that is not a valid request for a protected path, or that is
    /// unmatched at an upstream that rejects such requests.
    pub fn route(&self, head: RequestHead) -> Result<Routed, RejectedRequest> {
        let rejected = |upstream: Option<&Arc<Upstream>>, operation, rejection| RejectedRequest {
            upstream: upstream.cloned(),
            operation,
            rejection,
        };
        let Some(upstream) = self.find_upstream(head.listener, head.host, head.path) else {
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
                // Calls that list sessions are passed through, with the canonical path.
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

    /// The keyed hash of a session ID, for the cache and the log.
    pub(super) fn session_hash(&self, upstream: &Upstream, session: &SessionId) -> [u8; 16] {
        self.keyed_hash(&[b"session", &upstream.scope.to_be_bytes(), session.as_str().as_bytes()])
    }

    /// The provider's tenant that the request is for.
    fn tenant(&self, upstream: &Upstream, head: &RequestHead) -> TenantId {
        if !upstream.preserve_host && !head.trusted {
            return DEFAULT_TENANT;
        }
        match head::tenant(upstream, head) {
            names if names.is_empty() => DEFAULT_TENANT,
            names => {
                self.keyed_hash(&[&[&b"tenant"[..]], &*names.iter().map(Vec::as_slice).collect::<Vec<_>>()].concat())
            }
        }
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

    fn keyed_hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        cache_ids::keyed_hash(&self.secret, parts)
    }
}

/// Matches a request at its upstream. An upstream's base path must not turn a request into a governed operation, and
/// dot segments must not leave the base path.
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

/// Whether this is a CORS preflight for a governed operation. The provider responds to it, and the response contains no
/// session.
fn is_preflight(upstream: &Upstream, head: &RequestHead) -> bool {
    let path = upstream.matcher.upstream_path(head.path);
    let mut wanted = head.headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    let method = wanted.next().and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let one = method.filter(|_| wanted.next().is_none() && head.method == Method::OPTIONS);
    one.is_some_and(|method| upstream.dialect.governs(&method, path))
}

/// Checks that the credential is of the kind that the upstream requires.
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

    /// The canonical path to forward, if the original one has another spelling.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Authorizes the caller. Scopes are left to the provider: these operations are many, and the request keeps the
    /// caller's own credential.
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

    /// Authorizes the caller: the credential must be of the kind that the upstream requires, and a verified token must
    /// have the operation's scopes.
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
