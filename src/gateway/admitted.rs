//! What an admitted caller may have: a read, or a write that was judged.

use super::{Answer, BodySize, Credential, Gateway, Governed, Upstream};
use crate::model::{Field, Operation, Refusal, SessionId, Violation};
use crate::policy::{Judgement, Mode, Need};
use crate::wire::json::Document;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;

/// A caller that may do what it asks for.
#[derive(Debug)]
pub struct Admitted {
    pub(super) governed: Governed,
    pub(super) credential: Credential,
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
    pub(super) upstream: Arc<Upstream>,
    pub(super) id: SessionId,
    path: String,
    key: Option<CacheKey>,
    verified: bool,
}

/// A write that may be forwarded: these bytes and no others.
#[derive(Debug)]
pub struct Write {
    pub(super) upstream: Arc<Upstream>,
    pub(super) operation: Operation,
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
        let Governed { upstream, operation, session, .. } = &self.governed;
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
        let verified = matches!(self.credential, Credential::Verified(_));
        let upstream = self.governed.upstream.name.as_str();
        let variant = match &self.credential {
            // No hash: it is the same for all of them, and on the way of every hit.
            Credential::Verified(_) => Some((self.governed.upstream.index as u128).to_be_bytes()),
            Credential::Forwarded(credential) if !credential.trim_ascii().is_empty() => {
                Some(gateway.hashed(&[b"credential", upstream.as_bytes(), credential]))
            }
            Credential::Forwarded(_) | Credential::Anonymous => None,
        };
        let path = self.path();
        let Governed { upstream, session: id, .. } = self.governed;
        let cached = variant.filter(|_| upstream.cache.is_some());
        let key = cached.map(|variant| CacheKey { upstream: upstream.scope, session, variant });
        Read { upstream, id, path, key, verified }
    }

    /// The read of the session as it is now, for the judgement of a write.
    pub fn evidence_path(&self) -> String {
        let Governed { upstream, session, .. } = &self.governed;
        let path = upstream.dialect.session_path(Operation::ReadSession, session).unwrap_or_default();
        format!("{}{path}", upstream.target.base_path)
    }

    /// Whether the policy only records, so that a write passes also where the evidence cannot be had.
    pub fn only_records(&self) -> bool {
        self.governed.upstream.policy.mode == Mode::Audit
    }

    /// The write as it came, where the policy only records and could not judge it.
    pub fn unjudged(&self, body: Bytes) -> Result<Write, Refusal> {
        if self.only_records() { Ok(self.write(Some(body), Vec::new())) } else { Err(Refusal::UpstreamFailed) }
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

    /// Whether the gateway has verified the caller, so that it may answer in the provider's place.
    pub fn is_verified(&self) -> bool {
        self.verified
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
            Operation::CreateSession | Operation::ListSessions => Method::POST,
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
