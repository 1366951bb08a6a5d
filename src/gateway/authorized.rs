//! A request whose caller is authorized, before its body is read.

use super::credential::Credential;
use super::governed::Governed;
use super::head::BodySize;
use super::matched_credential::MatchedCredential;
use super::upstream::Upstream;
use crate::grant::Grant;
use crate::model::{Operation, Rejection};
use crate::wire::carrier::Carrier;
use std::sync::Arc;

/// A governed request whose caller is authorized.
#[derive(Debug)]
pub struct AuthorizedRequest {
    pub(super) governed: Governed,
    pub(super) credential: Credential,
    /// The grant of its caller; `None` if the upstream has no grants.
    pub(super) grant: Option<Arc<Grant>>,
}

/// The key of a cached response. It can be made only from an authorized read, and contains no ID in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// The scope: the hash of the upstream's provider.
    pub upstream: u64,
    /// The keyed hash of the session ID.
    pub session: [u8; 16],
    /// The hash of what else the response depends on.
    pub variant: [u8; 16],
}

impl Governed {
    /// Authorizes the caller: its grant must allow the operation, and a verified token must have the operation's scopes.
    pub fn authorize(self, caller: MatchedCredential) -> Result<AuthorizedRequest, Rejection> {
        caller.check(self.route.operation)?;
        let grant = caller.grant().cloned();
        let MatchedCredential { credential, .. } = caller;
        if let Credential::Verified(verified) = &credential
            && let Some(missing) = self.route.scopes.iter().find(|scope| !verified.caller().has_scope(scope))
        {
            return Err(Rejection::Scope(missing));
        }
        Ok(AuthorizedRequest { governed: self, credential, grant })
    }
}

impl AuthorizedRequest {
    /// Whether the caller's grant lets it read what this request is about.
    pub(super) fn may_read(&self) -> bool {
        let reads = if self.governed.route.names_refresh_token() {
            [Operation::ReadRefreshToken, Operation::ListRefreshTokens]
        } else {
            [Operation::ReadSession, Operation::ListSessions]
        };
        self.grant.as_ref().is_none_or(|grant| reads.iter().any(|own| grant.operations.contains(*own)))
    }

    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.governed.upstream
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.governed.route.operation
    }

    /// The call's encoding.
    pub fn carrier(&self) -> Carrier {
        self.governed.carrier
    }

    /// The size of the body, as the head declares it.
    pub fn body_size(&self) -> BodySize {
        self.governed.size
    }

    /// The maximum size of the body, and the rejection of a larger one.
    pub fn body_limit(&self) -> (usize, Rejection) {
        let limits = self.governed.upstream.body;
        match self.governed.size {
            BodySize::None | BodySize::Unknown if self.governed.route.call.is_none() => {
                (limits.max_undeclared, Rejection::LengthRequired(limits.max_undeclared))
            }
            BodySize::Declared(_) | BodySize::None | BodySize::Unknown => (limits.max, Rejection::TooLarge(limits.max)),
        }
    }

    /// Rejects a body whose declared size exceeds the limit.
    pub fn check_size(&self) -> Result<(), Rejection> {
        let limit = self.governed.upstream.body.max;
        match self.governed.size {
            BodySize::Declared(size) if size > limit => Err(Rejection::TooLarge(limit)),
            BodySize::Declared(_) | BodySize::None | BodySize::Unknown => Ok(()),
        }
    }
}
