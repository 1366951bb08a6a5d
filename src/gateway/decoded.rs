//! A decoded request of an authorized caller, and what comes of it: a read, or a write that was evaluated.

use super::current_state::Owner;
use super::granted::Granted;
use super::masking::masks;
use super::session_proof::{Proven, SessionProof};
use super::{AuthorizedRequest, CacheKey, Credential, Gateway, Governed, ProviderResponse, Upstream};
use crate::coherence::{CallerDigest, DEFAULT_TENANT, TenantId};
use crate::dialect::{DecodedBody, Effect, Query, Route};
use crate::grant::Grant;
use crate::model::{Operation, Rejection, SessionId, SessionPatch};
use crate::policy::Policy;
use crate::wire::carrier::Carrier;
use bytes::Bytes;
use http::{Method, StatusCode};
use std::sync::Arc;

/// A decoded request of an authorized caller.
#[derive(Debug)]
pub struct DecodedRequest {
    pub(super) authorized: AuthorizedRequest,
    /// The original body.
    pub(super) body: Bytes,
    pub(super) read: DecodedBody,
    /// The session and its keyed hash.
    pub(super) session: Option<([u8; 16], SessionId)>,
    /// The keyed hash of the refresh token that the path names.
    pub(super) refresh_token: Option<[u8; 16]>,
    /// The keyed hashes of the refresh tokens that the body names.
    pub(super) revoked: Vec<[u8; 16]>,
    /// The session's token, if the request carries it.
    pub(super) token: Option<String>,
    /// Whose sessions it is about.
    pub(super) proof: SessionProof,
}

/// A read that may be served.
#[derive(Debug)]
pub struct Read {
    pub(super) upstream: Arc<Upstream>,
    pub(super) route: &'static Route,
    pub(super) carrier: Carrier,
    /// The session, for a read of one session.
    pub(super) id: Option<SessionId>,
    /// Its keyed hash.
    pub(super) session: Option<[u8; 16]>,
    path: String,
    body: Option<Bytes>,
    key: Option<CacheKey>,
    caller: CallerDigest,
    shared: bool,
    pub(super) tenant: TenantId,
    /// The grant of its caller; `None` if the upstream has no grants.
    pub(super) grant: Option<Arc<Grant>>,
    /// Whom the sessions or refresh tokens in its response must belong to.
    pub(super) owner: Option<Owner>,
}

/// A write that may be forwarded, with exactly these bytes.
#[derive(Debug)]
pub struct Write {
    pub(super) upstream: Arc<Upstream>,
    pub(super) route: &'static Route,
    pub(super) carrier: Carrier,
    path: String,
    changes: Changes,
    body: Option<Bytes>,
    scope_checked: bool,
    /// The keyed hashes of the sessions and refresh tokens that it ends.
    pub(super) ends: Vec<[u8; 16]>,
    /// Whether the policy of the write strips one-time codes from its response.
    pub(super) strips_codes: bool,
    /// If it is merged: the keys that it keeps for others.
    pub(super) kept: Option<Vec<String>>,
    pub(super) tenant: TenantId,
    /// The grant of its caller; `None` if the upstream has no grants.
    pub(super) grant: Option<Arc<Grant>>,
}

/// Which cached sessions a write changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// None: it creates a session, or changes something that is not cached.
    Nothing,
    /// One session.
    Session([u8; 16]),
    /// All sessions of a user. It is unknown which these are, so any.
    AnySession,
}

/// What to do with a write.
#[derive(Debug)]
pub enum WriteDecision {
    /// Forward it.
    Forward(Write),
    /// Read the current state ([`DecodedRequest::current_paths`]), then decide again.
    NeedsCurrent,
}

impl DecodedRequest {
    pub(super) fn governed(&self) -> &Governed {
        &self.authorized.governed
    }

    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.governed().upstream
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.governed().route.operation
    }

    /// Whether the operation only reads.
    pub fn reads(&self) -> bool {
        self.governed().route.effect.reads()
    }

    /// The call's encoding.
    pub fn carrier(&self) -> Carrier {
        self.governed().carrier
    }

    /// The keyed hash of the session ID; `None` if the request names no session.
    pub fn session_hash(&self) -> Option<[u8; 16]> {
        self.session.as_ref().map(|(hash, _)| *hash)
    }

    /// The policy for this operation: the grant's, or else the upstream's.
    pub(super) fn policy(&self) -> &Policy {
        let upstream = self.upstream();
        if let Some(policy) = self.authorized.grant.as_ref().and_then(|grant| grant.policy.as_ref()) {
            return policy;
        }
        if self.governed().route.names_refresh_token() { &upstream.refresh_token_policy } else { &upstream.policy }
    }

    /// The read for this caller. Verified callers share cached responses if the provider's response does not depend on
    /// the caller. Otherwise each credential has its own, and without a credential nothing is cached.
    pub(super) fn into_read(self, gateway: &Gateway) -> Read {
        let Governed { upstream, route, carrier, path, query, token, caller, tenant, .. } = self.governed();
        let mut path = path.clone();
        match (query, token) {
            (Some(query), _) => path += &format!("?{query}"),
            (None, Some(token)) => {
                if let Query::SessionToken([name, ..]) = route.query {
                    path.extend(["?", name, "=", token]);
                }
            }
            (None, None) => {}
        }
        let shared = upstream.dialect.sharing.is_shared();
        let own = |credential: &[u8]| {
            let token = self.token.as_deref().unwrap_or_default().as_bytes();
            let place = upstream.dialect.path(route, None, None);
            let shown = u8::from(self.token.is_some());
            let (named, place, carrier) = (&upstream.response_id, place.as_bytes(), carrier.name().as_bytes());
            gateway.keyed_hash(&[b"credential", named, tenant, credential, caller, token, &[shown], place, carrier])
        };
        let variant = match &self.authorized.credential {
            // Precomputed, because every hit of verified callers needs it.
            Credential::Verified(verified) if shared => {
                Some(match (upstream.response_id_of(verified.caller()), tenant) {
                    (id, &DEFAULT_TENANT) => id,
                    (id, tenant) => gateway.keyed_hash(&[b"shared", &id, tenant]),
                })
            }
            Credential::Verified(_) => Some(own(b"")),
            Credential::Forwarded(credential) if !credential.trim_ascii().is_empty() => Some(own(credential)),
            Credential::Forwarded(_) | Credential::Anonymous => None,
        };
        let variant = match query {
            Some(query) => variant.map(|variant| gateway.keyed_hash(&[b"query", &variant, query.as_bytes()])),
            None => variant,
        };
        let caller = match &self.authorized.credential {
            Credential::Verified(verified) if shared => {
                verified.digest(|fingerprint| gateway.keyed_hash(&[b"asker", fingerprint]))
            }
            Credential::Verified(_) | Credential::Forwarded(_) | Credential::Anonymous => variant.unwrap_or_default(),
        };
        let shared = shared && matches!(self.authorized.credential, Credential::Verified(_));
        let (upstream, route, carrier, tenant) = (upstream.clone(), *route, *carrier, *tenant);
        let body = if route.takes_body() { Some(self.body) } else { None };
        let (session, id) = self.session.unzip();
        let cached = variant.filter(|_| upstream.cache.is_some() && route.effect == Effect::ReadsSession);
        let key = cached.zip(session);
        let key = key.map(|(variant, session)| CacheKey { upstream: upstream.scope, session, variant });
        let (grant, owner) = (self.authorized.grant, self.proof.into_owner());
        Read { upstream, route, carrier, id, session, path, body, key, caller, shared, tenant, grant, owner }
    }

    pub(super) fn patch(&self) -> Result<Option<SessionPatch>, Rejection> {
        self.upstream().dialect.session_patch(self.governed().route, &self.read)
    }

    /// What the write changes: the named session, or else all sessions of the named user. A request without a
    /// credential cannot change a user's sessions, so it does not invalidate them.
    fn changes(&self) -> Changes {
        let route = self.governed().route;
        let any = match &self.authorized.credential {
            Credential::Verified(_) | Credential::Forwarded(_) => Changes::AnySession,
            Credential::Anonymous => Changes::Nothing,
        };
        match (route.effect, self.session_hash()) {
            (Effect::ChangesAny, _) => any,
            (Effect::ChangesSession | Effect::EndsSession | Effect::EndsUserSessions, Some(session)) => {
                Changes::Session(session)
            }
            (Effect::EndsUserSessions, None) if route.names_user() || self.read.names_user() => any,
            _ => Changes::Nothing,
        }
    }

    /// The write of a body that the caller may send, of sessions that it may change.
    pub(super) fn write(&self, granted: Granted, _: Proven) -> Write {
        let Granted { body, kept } = granted;
        let Governed { upstream, route, carrier, path, tenant, .. } = self.governed();
        Write {
            upstream: upstream.clone(),
            route,
            carrier: *carrier,
            path: path.clone(),
            changes: self.changes(),
            body: Some(body).filter(|body| !body.is_empty() || matches!(self.read, DecodedBody::Message(_))),
            scope_checked: self.authorized.credential.is_verified() && upstream.dialect.scopes.decide,
            ends: self.ends(),
            strips_codes: self.policy().strips_codes(),
            kept,
            tenant: *tenant,
            grant: self.authorized.grant.clone(),
        }
    }
}

impl Read {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The method, the path with its query, and the body to send.
    pub fn request(&self) -> (Method, &str, Option<Bytes>) {
        (method(self.route), &self.path, self.body.clone())
    }

    /// The call's encoding.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Whether verified callers share the cached response. The gateway may then respond in the provider's place.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// The provider's tenant that the read is for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.route.operation
    }

    /// The keyed hash that identifies the caller among those who share a cached response.
    pub fn caller(&self) -> CallerDigest {
        self.caller
    }

    /// The cache key; `None` if the read is not cached.
    pub fn key(&self) -> Option<&CacheKey> {
        self.key.as_ref()
    }

    /// The status of the call in a response, whatever its encoding.
    pub fn status(&self, response: &ProviderResponse) -> StatusCode {
        response.call_status(self.carrier)
    }
}

impl Write {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.route.operation
    }

    /// The method, the path and the body to send.
    pub fn request(&self) -> (Method, &str, Option<Bytes>) {
        (method(self.route), &self.path, self.body.clone())
    }

    /// The call's encoding.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Which cached sessions the write changes.
    pub fn changes(&self) -> Changes {
        self.changes
    }

    /// Whether the caller does not see all of what the write changes.
    pub fn hides_fields(&self) -> bool {
        masks(&self.grant).is_some()
    }

    /// Whether the gateway has verified the caller's scopes. Such writes get marks of their own. If tokens have no
    /// scopes, even a verified caller may lack the right to write.
    pub fn is_scope_checked(&self) -> bool {
        self.scope_checked
    }
}

fn method(route: &Route) -> Method {
    Method::from_bytes(route.method.as_bytes()).unwrap_or(Method::GET)
}
