//! The compiled gateway, and the chain of types that is the order of security:
//! `Head -> Governed -> Admitted -> Read | Write`. Each step consumes the one before it, so that a cached session cannot be
//! served, nor a body forwarded, before the caller, the route and the body were judged.

mod outcome;
mod settle;
mod upstream;

pub use outcome::{CacheStatus, Decision, Outcome};
pub use settle::{Answer, Settlement, Storable, settle_related};
pub use upstream::{BodyLimits, CallerCheck, Freshness, KeySource, Matcher, Target, Timeouts, Unmatched, Upstream};

use crate::dialect::Found;
use crate::model::{Field, Operation, Refusal, SessionId, Violation};
use crate::policy::{Judgement, Mode, Need};
use crate::token::Verified;
use crate::wire::json::Document;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};
use ring::hmac;
use std::sync::Arc;

/// Headers by which some servers let a request stand for another method.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The compiled configuration. It never changes; a new configuration is a new gateway.
#[derive(Debug)]
pub struct Gateway {
    upstreams: Vec<Arc<Upstream>>,
    secret: hmac::Key,
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, as it was sent.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The host that the request is for, with or without a port.
    pub host: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Routed {
    /// An operation on a session: it has to be admitted and judged.
    Governed(Governed),
    /// An operation that may change any session: it has to be admitted.
    Related(Related),
    /// Something else: passed untouched, with the caller's own credential.
    Passed(Arc<Upstream>, Operation),
}

/// A refusal, and the upstream in whose dialect it is answered; none where the request is for no upstream.
#[derive(Debug)]
pub struct Refused {
    /// The upstream.
    pub upstream: Option<Arc<Upstream>>,
    /// The operation, where it was found.
    pub operation: Operation,
    /// Why.
    pub refusal: Refusal,
}

/// An operation on a session, not yet admitted.
#[derive(Debug)]
pub struct Governed {
    upstream: Arc<Upstream>,
    operation: Operation,
    session: SessionId,
    session_hash: [u8; 16],
    scope: &'static str,
    size: BodySize,
}

/// An operation that may change any session of its upstream, not yet admitted.
#[derive(Debug)]
pub struct Related {
    upstream: Arc<Upstream>,
}

/// What a head says of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySize {
    /// There is none, or there may be one that has to be empty.
    None,
    /// It has this many bytes.
    Known(usize),
    /// It ends when it ends.
    Unknown,
}

/// Who a request comes from.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A token that the gateway has verified.
    Verified(Arc<Verified>),
    /// Whatever the caller sent: the provider decides. It is the whole `Authorization` header.
    Forwarded(Bytes),
    /// Nothing.
    Anonymous,
}

/// A caller that may do what it asks for.
#[derive(Debug)]
pub struct Admitted {
    governed: Governed,
    credential: Credential,
}

/// The name of a cached answer. It can be made only from an admitted read, and it holds no identifier in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// The upstream's place in the configuration.
    pub upstream: usize,
    /// The session.
    pub session: [u8; 16],
    /// Whom the answer is for.
    pub variant: [u8; 16],
}

/// A read that may be answered.
#[derive(Debug)]
pub struct Read {
    upstream: Arc<Upstream>,
    path: String,
    key: Option<CacheKey>,
}

/// A write that may be forwarded: these bytes and no others.
#[derive(Debug)]
pub struct Write {
    upstream: Arc<Upstream>,
    operation: Operation,
    path: String,
    session: [u8; 16],
    body: Option<Bytes>,
    findings: Vec<Violation>,
}

/// What becomes of an admitted write.
#[derive(Debug)]
pub enum Decided {
    /// It may be forwarded.
    Forward(Write),
    /// The judgement needs something from outside: get it and decide again.
    Need(Need),
}

impl Gateway {
    /// A gateway of these upstreams. `secret` keys the hashes that stand for sessions in cache keys and logs.
    pub fn new(upstreams: Vec<Upstream>, secret: &[u8]) -> Gateway {
        let upstreams = upstreams.into_iter().map(Arc::new).collect();
        Gateway {
            upstreams,
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// The upstreams, in their order in the configuration.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Finds out what a request is, from its head alone.
    pub fn route(&self, head: Head) -> Result<Routed, Refused> {
        let refused = |upstream: Option<&Arc<Upstream>>, operation, refusal| Refused {
            upstream: upstream.cloned(),
            operation,
            refusal,
        };
        let found = self
            .upstreams
            .iter()
            .filter(|one| one.matcher.takes(head.host, head.path));
        let Some(upstream) = found.max_by_key(|one| one.matcher.precision()) else {
            return Err(refused(None, Operation::Other, Refusal::NoUpstream));
        };
        let path = upstream.matcher.inner(head.path);
        let overridden = METHOD_OVERRIDES.iter().any(|name| head.headers.contains_key(*name));
        let found = upstream.dialect.find(head.method, path, overridden);
        match found.map_err(|refusal| refused(Some(upstream), Operation::Other, refusal))? {
            Found::Governed(operation, session, scope) => {
                let size = judge_head(operation, &head, overridden)
                    .map_err(|refusal| refused(Some(upstream), operation, refusal))?;
                let session_hash = self.hashed(&[b"session", upstream.name.as_bytes(), session.as_str().as_bytes()]);
                let upstream = upstream.clone();
                Ok(Routed::Governed(Governed {
                    upstream,
                    operation,
                    session,
                    session_hash,
                    scope,
                    size,
                }))
            }
            Found::Related(Operation::ChangeRelated) => Ok(Routed::Related(Related {
                upstream: upstream.clone(),
            })),
            Found::Related(operation) => Ok(Routed::Passed(upstream.clone(), operation)),
            Found::Unmatched if upstream.unmatched == Unmatched::Refuse => {
                Err(refused(Some(upstream), Operation::Other, Refusal::Unknown))
            }
            Found::Unmatched => Ok(Routed::Passed(upstream.clone(), Operation::Other)),
        }
    }

    /// A keyed hash: what stands for an identifier wherever it may be seen.
    fn hashed(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.secret);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut hash = [0; 16];
        hash.iter_mut()
            .zip(context.sign().as_ref())
            .for_each(|(to, from)| *to = *from);
        hash
    }
}

/// What must hold of a governed request's head.
fn judge_head(operation: Operation, head: &Head, overridden: bool) -> Result<BodySize, Refusal> {
    if overridden {
        return Err(Refusal::Header("X-HTTP-Method-Override"));
    }
    if head.query.is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::Query);
    }
    if head.headers.contains_key(http::header::UPGRADE) {
        return Err(Refusal::Header("Upgrade"));
    }
    if head.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Refusal::Header("Authorization"));
    }
    let size = body_size(head.headers)?;
    if operation != Operation::UpdateSession {
        return if matches!(size, BodySize::Known(1..)) {
            Err(Refusal::UnexpectedBody)
        } else {
            Ok(size)
        };
    }
    let coding = head.headers.get_all(CONTENT_ENCODING).iter();
    if coding
        .into_iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Refusal::ContentCoding);
    }
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    match (types.next().and_then(|value| value.to_str().ok()), types.next()) {
        (Some(one), None) if is_json(one) => Ok(size),
        _ => Err(Refusal::ContentType),
    }
}

fn body_size(headers: &HeaderMap) -> Result<BodySize, Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() || (length.is_some() && headers.contains_key(http::header::TRANSFER_ENCODING)) {
        return Err(Refusal::Header("Content-Length"));
    }
    match length.map(|length| length.to_str().ok().and_then(|text| text.parse().ok())) {
        None if headers.contains_key(http::header::TRANSFER_ENCODING) => Ok(BodySize::Unknown),
        None => Ok(BodySize::None),
        Some(Some(size)) => Ok(BodySize::Known(size)),
        Some(None) => Err(Refusal::Header("Content-Length")),
    }
}

/// `application/json`, with no parameter but `charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let charset = parts.next();
    let utf8 = |text: &str| {
        ["charset=utf-8", "charset=\"utf-8\""]
            .iter()
            .any(|own| text.eq_ignore_ascii_case(own))
    };
    json && charset.is_none_or(utf8) && parts.next().is_none()
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::CredentialMissing)?;
    if values.next().is_some() {
        return Err(Refusal::Header("Authorization"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::CredentialMalformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::CredentialMalformed)?;
    // Without a branch for each byte: tokens are long, and this is on the way of every request.
    let plain = token
        .bytes()
        .fold(true, |plain, b| plain & (b > b' ') & (b < 0x7f) & (b != b','));
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !plain {
        return Err(Refusal::CredentialMalformed);
    }
    Ok(token)
}

/// Whether a credential is of the kind that the upstream asks for.
fn trusted(check: &CallerCheck, credential: &Credential) -> Result<(), Refusal> {
    match (check, credential) {
        (CallerCheck::Token { .. }, Credential::Verified(_)) | (CallerCheck::None, _) => Ok(()),
        (CallerCheck::Token { .. }, Credential::Forwarded(_) | Credential::Anonymous) => {
            Err(Refusal::CredentialMissing)
        }
    }
}

impl Related {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Admits a caller. The scope is left to the provider: these operations are many, and the caller's own credential goes with
    /// the request.
    pub fn admit(self, credential: &Credential) -> Result<Arc<Upstream>, Refusal> {
        trusted(&self.upstream.check, credential).map(|()| self.upstream)
    }
}

impl Governed {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Admits a caller: its credential has to be of the kind that the upstream asks for, and a token has to carry the scope.
    pub fn admit(self, credential: Credential) -> Result<Admitted, Refusal> {
        trusted(&self.upstream.check, &credential)?;
        if let Credential::Verified(verified) = &credential
            && !verified.caller().has_scope(self.scope)
        {
            return Err(Refusal::Scope(self.scope));
        }
        Ok(Admitted {
            governed: self,
            credential,
        })
    }
}

impl Admitted {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.governed.upstream
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.governed.operation
    }

    /// What the head said of the body, which must be read before the request is decided.
    pub fn body_size(&self) -> BodySize {
        self.governed.size
    }

    /// Whether a body of the size that the head declares may be read at all.
    pub fn judge_size(&self) -> Result<(), Refusal> {
        let limit = self.governed.upstream.body.max;
        match self.governed.size {
            BodySize::Known(size) if size > limit => Err(Refusal::TooLarge(limit)),
            BodySize::Known(_) | BodySize::None | BodySize::Unknown => Ok(()),
        }
    }

    fn path(&self) -> String {
        let Governed {
            upstream,
            operation,
            session,
            ..
        } = &self.governed;
        let path = upstream.dialect.session_path(*operation, session).unwrap_or_default();
        format!("{}{path}", upstream.target.base_path)
    }

    /// What stands for the session in the cache and in the log.
    pub fn session_hash(&self) -> [u8; 16] {
        self.governed.session_hash
    }

    /// The read that this caller may have. Answers are shared among verified callers where the gateway has verified them, since
    /// the provider's answer does not depend on who asks; otherwise each credential has its own, and no credential none.
    pub fn read(self, gateway: &Gateway) -> Read {
        let session = self.session_hash();
        let variant = match &self.credential {
            Credential::Verified(_) => Some([0; 16]),
            Credential::Forwarded(credential) => Some(gateway.hashed(&[b"credential", credential])),
            Credential::Anonymous => None,
        };
        let path = self.path();
        let upstream = self.governed.upstream;
        let cached = variant.filter(|_| upstream.cache.is_some());
        let key = cached.map(|variant| CacheKey {
            upstream: upstream.index,
            session,
            variant,
        });
        Read { upstream, path, key }
    }

    /// The read of the session as it is now, for the judgement of a write.
    pub fn evidence_path(&self) -> String {
        let Governed { upstream, session, .. } = &self.governed;
        let path = upstream
            .dialect
            .session_path(Operation::ReadSession, session)
            .unwrap_or_default();
        format!("{}{path}", upstream.target.base_path)
    }

    /// The session's metadata as this answer to [`Admitted::evidence_path`] shows it.
    pub fn current_metadata(&self, answer: &Answer) -> Option<Vec<Field>> {
        let document = Document::parse(answer.body.clone()).ok()?;
        self.governed.upstream.dialect.current_metadata(&document)
    }

    /// Judges a write by its whole body. `current` is the evidence that an earlier call asked for.
    pub fn decide(&self, body: Bytes, current: Option<&[Field]>) -> Result<Decided, Refusal> {
        if self.governed.operation != Operation::UpdateSession {
            return if body.is_empty() {
                Ok(Decided::Forward(self.write(None, Vec::new())))
            } else {
                Err(Refusal::UnexpectedBody)
            };
        }
        let Upstream { dialect, policy, .. } = &*self.governed.upstream;
        let document = Document::parse(body.clone()).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let patch = dialect.read_patch(&document)?;
        match (policy.evaluate(&patch, current), policy.mode) {
            (Judgement::Need(need), _) => Ok(Decided::Need(need)),
            (Judgement::Refuse(violations), Mode::Enforce) => Err(Refusal::Violations(violations)),
            (Judgement::Refuse(violations), Mode::Audit) => Ok(Decided::Forward(self.write(Some(body), violations))),
            (Judgement::Permit(_), Mode::Audit) => Ok(Decided::Forward(self.write(Some(body), Vec::new()))),
            (Judgement::Permit(permit), Mode::Enforce) => {
                let edited = dialect.apply(&document, permit.edits());
                Ok(Decided::Forward(self.write(Some(edited), Vec::new())))
            }
        }
    }

    fn write(&self, body: Option<Bytes>, findings: Vec<Violation>) -> Write {
        Write {
            upstream: self.governed.upstream.clone(),
            operation: self.governed.operation,
            path: self.path(),
            session: self.session_hash(),
            body,
            findings,
        }
    }
}

impl Read {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The path at the provider.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name of the cached answer; none where the read is not cached.
    pub fn key(&self) -> Option<&CacheKey> {
        self.key.as_ref()
    }
}

impl Write {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The method, the path and the body to send.
    pub fn request(&self) -> (Method, &str, Option<Bytes>) {
        let method = match self.operation {
            Operation::UpdateSession => Method::PATCH,
            Operation::DeleteSession => Method::DELETE,
            Operation::RevokeSession => Method::POST,
            Operation::ReadSession | Operation::ReadRelated | Operation::ChangeRelated | Operation::Other => {
                Method::GET
            }
        };
        (method, &self.path, self.body.clone())
    }

    /// The session that it changes, as the cache names it.
    pub fn session(&self) -> [u8; 16] {
        self.session
    }

    /// What is wrong with it, where the policy only records.
    pub fn findings(&self) -> &[Violation] {
        &self.findings
    }
}
