//! What an admitted caller asks for, and what it may have: a read, or a write that was evaluated.

use super::{AuthorizedRequest, CacheKey, Credential, DecodedResponse, Gateway, Governed, ProviderResponse, Upstream};
use crate::coherence::{CallerDigest, DEFAULT_TENANT, TenantId};
use crate::dialect::{DecodedBody, Route};
use crate::model::{Field, Operation, Rejection, SessionId, SessionPatch, Violations};
use crate::policy::{Evaluation, Mode, Need, Policy};
use crate::wire::carrier::Carrier;
use crate::wire::coding;
use crate::wire::message::Codec;
use bytes::Bytes;
use http::{Method, StatusCode};
use std::sync::Arc;

/// What an admitted caller asks for.
#[derive(Debug)]
pub struct DecodedRequest {
    pub(super) authorized: AuthorizedRequest,
    /// The body as it came.
    pub(super) body: Bytes,
    pub(super) read: DecodedBody,
    /// The session, with what stands for it.
    pub(super) session: Option<([u8; 16], SessionId)>,
    /// The session's token, where the caller shows it.
    pub(super) token: Option<String>,
}

/// A read that may be answered.
#[derive(Debug)]
pub struct Read {
    pub(super) upstream: Arc<Upstream>,
    pub(super) route: &'static Route,
    pub(super) carrier: Carrier,
    /// The session, where it reads one.
    pub(super) id: Option<SessionId>,
    path: String,
    body: Option<Bytes>,
    key: Option<CacheKey>,
    caller: CallerDigest,
    shared: bool,
    pub(super) tenant: TenantId,
}

/// A write that may be forwarded: these bytes and no others.
#[derive(Debug)]
pub struct Write {
    pub(super) upstream: Arc<Upstream>,
    pub(super) route: &'static Route,
    pub(super) carrier: Carrier,
    path: String,
    changes: Changes,
    body: Option<Bytes>,
    audit_violations: Violations,
    scope_checked: bool,
    pub(super) tenant: TenantId,
}

/// What a write changes of what may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Nothing: it makes a session, or changes what belongs to one.
    Nothing,
    /// One session.
    Session([u8; 16]),
    /// The sessions of a user, which nobody knows: so any.
    AnySession,
}

/// What becomes of an admitted write.
#[derive(Debug)]
pub enum WriteDecision {
    /// It may be forwarded.
    Forward(Write),
    /// The judgement needs something from outside: get it and decide again.
    Need(Need),
}

impl DecodedRequest {
    fn governed(&self) -> &Governed {
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

    /// How the call stands on the wire.
    pub fn carrier(&self) -> Carrier {
        self.governed().carrier
    }

    /// What stands for the session in the cache and in the log; none where there is no session yet.
    pub fn session_hash(&self) -> Option<[u8; 16]> {
        self.session.as_ref().map(|(hash, _)| *hash)
    }

    /// What a policy says of what is asked for.
    fn policy(&self) -> &Policy {
        let upstream = self.upstream();
        if self.operation() == Operation::UpdateRefreshToken {
            &upstream.refresh_token_policy
        } else {
            &upstream.policy
        }
    }

    /// The read that this caller may have. Responses are shared among verified callers where the gateway has verified
    /// them and the provider's response does not depend on who asks; otherwise each credential has its own, and no
    /// credential none.
    pub fn read(self, gateway: &Gateway) -> Result<Read, Rejection> {
        if let Some(SessionPatch { constraint_violations, .. }) = self.patch()?
            && !constraint_violations.is_empty()
            && self.policy().mode == Mode::Enforce
        {
            return Err(Rejection::Violations(constraint_violations.into_iter().collect()));
        }
        let Governed { upstream, route, carrier, path, query, token, caller, tenant, .. } = self.governed();
        let mut path = path.clone();
        match (query, token) {
            (Some(query), _) => path += &format!("?{query}"),
            (None, Some(token)) => path += &format!("?sessionToken={token}"),
            (None, None) => {}
        }
        let shared = upstream.dialect.is_shared_between_callers;
        let own = |credential: &[u8]| {
            let token = self.token.as_deref().unwrap_or_default().as_bytes();
            let place = upstream.dialect.path(route, None);
            let shown = u8::from(self.token.is_some());
            let (named, place, carrier) = (&upstream.shared, place.as_bytes(), carrier.name().as_bytes());
            gateway.keyed_hash(&[b"credential", named, tenant, credential, caller, token, &[shown], place, carrier])
        };
        let variant = match &self.authorized.credential {
            // No hash of its own: it is the same for all of them, and on the way of every hit.
            Credential::Verified(_) if shared && *tenant == DEFAULT_TENANT => Some(upstream.shared),
            Credential::Verified(_) if shared => Some(gateway.keyed_hash(&[b"shared", &upstream.shared, tenant])),
            Credential::Verified(_) => Some(own(b"")),
            Credential::Forwarded(credential) if !credential.trim_ascii().is_empty() => Some(own(credential)),
            Credential::Forwarded(_) | Credential::Anonymous => None,
        };
        let caller = match &self.authorized.credential {
            Credential::Verified(verified) if shared => gateway.keyed_hash(&[b"asker", verified.fingerprint()]),
            Credential::Verified(_) | Credential::Forwarded(_) | Credential::Anonymous => variant.unwrap_or_default(),
        };
        let shared = shared && matches!(self.authorized.credential, Credential::Verified(_));
        let (upstream, route, carrier, tenant) = (upstream.clone(), *route, *carrier, *tenant);
        let body = if route.call.is_some_and(|call| call.is_rpc) { Some(self.body) } else { None };
        let (session, id) = self.session.unzip();
        let cached = variant.filter(|_| upstream.cache.is_some() && route.operation == Operation::ReadSession);
        let key = cached.zip(session);
        let key = key.map(|(variant, session)| CacheKey { upstream: upstream.scope, session, variant });
        Ok(Read { upstream, route, carrier, id, path, body, key, caller, shared, tenant })
    }

    /// The read of what is changed as it is now, for the judgement of a write.
    pub fn evidence_path(&self) -> String {
        let Governed { upstream, route, path, .. } = self.governed();
        let id = self.session.as_ref().map(|(_, id)| id);
        match upstream.dialect.read_route(route.operation) {
            Some(reading) if reading.path == route.path => path.clone(),
            Some(reading) => upstream.target.base_path.clone() + &upstream.dialect.path(reading, id),
            None => String::new(),
        }
    }

    /// Whether the policy only records, so that a write passes also where the evidence cannot be had.
    pub fn is_audit(&self) -> bool {
        self.policy().mode == Mode::Audit
    }

    /// The write as it came, where the policy only records and could not evaluate it.
    pub fn unevaluated(&self) -> Result<Write, Rejection> {
        if self.is_audit() {
            Ok(self.write(self.body.clone(), Violations::new()))
        } else {
            Err(Rejection::UpstreamFailed)
        }
    }

    /// The metadata as this response to [`DecodedRequest::evidence_path`] shows it.
    pub fn current_metadata(&self, response: &ProviderResponse) -> Option<Vec<Field>> {
        let plain = coding::of(&response.headers).is_none();
        plain.then(|| self.upstream().dialect.metadata_in_response(self.governed().route, &response.body)).flatten()
    }

    fn patch(&self) -> Result<Option<SessionPatch>, Rejection> {
        self.upstream().dialect.session_patch(self.governed().route, &self.read)
    }

    /// Judges a write. `current` is the evidence that an earlier call asked for.
    pub fn decide(&self, current: Option<&[Field]>) -> Result<WriteDecision, Rejection> {
        let (dialect, policy) = (self.upstream().dialect, self.policy());
        let Some(patch) = self.patch()? else {
            return Ok(WriteDecision::Forward(self.write(self.body.clone(), Violations::new())));
        };
        let ends = self.operation() == Operation::DeleteSession;
        // An end changes nothing that a policy could speak of, but the provider's own rules hold.
        let evaluation =
            if ends { Policy::default().evaluate(&patch, current) } else { policy.evaluate(&patch, current) };
        match (evaluation, policy.mode) {
            (Evaluation::Need(need), _) => Ok(WriteDecision::Need(need)),
            (Evaluation::Reject(violations), Mode::Enforce) => Err(Rejection::Violations(violations)),
            (Evaluation::Reject(violations), Mode::Audit) => {
                Ok(WriteDecision::Forward(self.write(self.body.clone(), violations)))
            }
            (Evaluation::Permit(_), Mode::Audit) => {
                Ok(WriteDecision::Forward(self.write(self.body.clone(), Violations::new())))
            }
            (Evaluation::Permit(permit), Mode::Enforce) => {
                // Without edits the very bytes that came, framing and all.
                let edited =
                    if permit.edits().is_empty() { None } else { dialect.apply_edits(&self.read, permit.edits()) };
                let carrier = self.governed().carrier;
                let body = edited.map_or_else(|| self.body.clone(), |message| carrier.request_body(message));
                Ok(WriteDecision::Forward(self.write(body, Violations::new())))
            }
        }
    }

    /// What the write changes: the session that it names, or else the sessions of the user that it names. Those whom
    /// nobody knows can change nothing, and so keep nobody from the cache.
    fn changes(&self) -> Changes {
        let names_user = self.governed().route.names_user() || self.read.names_user();
        match (self.session_hash(), &self.authorized.credential) {
            (Some(session), _) => Changes::Session(session),
            (None, Credential::Verified(_) | Credential::Forwarded(_)) if names_user => Changes::AnySession,
            (None, Credential::Verified(_) | Credential::Forwarded(_) | Credential::Anonymous) => Changes::Nothing,
        }
    }

    fn write(&self, body: Bytes, audit_violations: Violations) -> Write {
        let Governed { upstream, route, carrier, path, tenant, .. } = self.governed();
        Write {
            upstream: upstream.clone(),
            route,
            carrier: *carrier,
            path: path.clone(),
            changes: self.changes(),
            body: Some(body).filter(|body| !body.is_empty() || matches!(self.read, DecodedBody::Message(_))),
            audit_violations,
            scope_checked: self.authorized.credential.is_verified() && upstream.dialect.has_scopes,
            tenant: *tenant,
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

    /// How the call stands on the wire.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Whether callers share what is stored: the gateway has verified this one, so that it may answer in the provider's
    /// place.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Which of the provider's tenants it is for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Tells callers apart that share what is stored, by their credential.
    pub fn caller(&self) -> CallerDigest {
        self.caller
    }

    /// The name of the cached response; none where the read is not cached.
    pub fn key(&self) -> Option<&CacheKey> {
        self.key.as_ref()
    }

    /// The status of a response, whatever carried it.
    pub fn status(&self, response: &ProviderResponse) -> StatusCode {
        response.call(self.carrier).status
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

    /// How the call stands on the wire.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// What it changes of what may be cached.
    pub fn changes(&self) -> Changes {
        self.changes
    }

    /// Whether the gateway itself has checked that the caller may write, so that its writes are marked apart from those
    /// of others. Where tokens have no scopes, a caller that is verified may still be anybody.
    pub fn is_scope_checked(&self) -> bool {
        self.scope_checked
    }

    /// What is wrong with it, where the policy only records.
    pub fn audit_violations(&self) -> &Violations {
        &self.audit_violations
    }

    /// The response as the caller may see it: without one-time codes, where the policy says so.
    pub fn response_for_caller(&self, decoded: DecodedResponse) -> ProviderResponse {
        let DecodedResponse { mut response, call } = decoded;
        let strips = self.upstream.policy.strips_codes() && self.route.call.is_some();
        let coded = coding::of(&response.headers).is_some();
        if !strips || !(call.status.is_success() || coded && response.status.is_success()) {
            return response;
        }
        let Some(message) = call.message.filter(|_| !coded) else {
            return self.with_empty_message(response);
        };
        let Some(without) = self.upstream.dialect.without_codes(self.route, self.carrier, &message) else {
            return self.with_empty_message(response);
        };
        if without != message {
            response.body = self.carrier.replace_message(&response.body, without);
        }
        response
    }

    /// A response that cannot be read, without its message: the write was carried out, which its caller has to learn,
    /// and the message may hold a code, which its caller must not have.
    fn with_empty_message(&self, mut response: ProviderResponse) -> ProviderResponse {
        let message = match self.carrier.codec() {
            Codec::Json => Bytes::from_static(b"{}"),
            Codec::Proto => Bytes::new(),
        };
        response.body = self.carrier.replace_message(&response.body, message);
        coding::clear(&mut response.headers);
        response
    }
}

fn method(route: &Route) -> Method {
    Method::from_bytes(route.method.as_bytes()).unwrap_or(Method::GET)
}
