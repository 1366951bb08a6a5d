//! Why the gateway answers by itself.

use super::Violations;
use std::time::Duration;
use strum::{IntoStaticStr, VariantNames};

/// Why the gateway answers by itself instead of the provider. Dialects give each the provider's shape.
#[derive(Debug, Clone, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Rejection {
    /// The bytes of the request are not framed in the one way that everybody reads alike: what is wrong.
    Framing(String),
    /// The head of the request is larger than what is read: by which bound.
    HeadTooLarge(String),
    /// The target of the request has more than this number of bytes.
    TargetTooLong(usize),
    /// The path is written in a way that two parts of the way could read differently.
    Path,
    /// The path belongs to a governed surface, but names no operation of it.
    UnknownOperation,
    /// The operation does not exist with this method; these do.
    Method(String),
    /// The query holds something else than these, each once and in a plain spelling.
    Query(&'static [&'static str]),
    /// A header that may not stand on a governed request, or stands twice.
    Header(&'static str),
    /// The session id cannot be one of the provider's.
    SessionId,
    /// The refresh token's id cannot be one of the provider's.
    RefreshTokenId,
    /// The user's id cannot be one of the provider's.
    UserId,
    /// No upstream is declared for this host and path.
    NoUpstream,
    /// No credential.
    CredentialMissing,
    /// A credential that is not a bearer token of the expected form.
    CredentialMalformed,
    /// The token has ended.
    TokenExpired,
    /// The token's signature, or key, is not the issuer's.
    TokenSignature,
    /// The token is for another audience: the one expected.
    TokenAudience(String),
    /// The token is rejected for another reason.
    TokenInvalid(&'static str),
    /// The token lacks the scope of the operation.
    Scope(&'static str),
    /// The issuer's keys are not known yet.
    KeysUnavailable,
    /// The token names a key that is not known, and may be when the issuer's keys are fetched again: after this time.
    KeyPending(Duration),
    /// The operation takes no body.
    UnexpectedBody,
    /// The length of the body must be declared above this number of bytes.
    LengthRequired(usize),
    /// The body is larger than this number of bytes.
    TooLarge(usize),
    /// The content type is not one that is read.
    ContentType,
    /// The body has a content coding.
    ContentCoding,
    /// The body did not arrive within this time.
    BodyTimeout(Duration),
    /// The body is not what its content type says: what was found, and where.
    Malformed(String),
    /// The policy does not allow the change.
    #[strum(serialize = "policy")]
    Violations(Violations),
    /// The session was deleted or revoked through the gateway.
    Deleted,
    /// Too many writes on one session at the same time.
    TooManyWrites,
    /// The write's mark could not be placed in the store, and the configuration says that it must be.
    StoreUnavailable,
    /// The provider could not be reached, or broke off.
    UpstreamFailed,
    /// The provider did not answer within this time.
    UpstreamTimeout(Duration),
    /// The provider's address is not known, or the gateway is stopping.
    Unavailable,
    /// As many requests are in flight at the provider as may be.
    UpstreamBusy,
    /// As many of them come from the source of this one as may be.
    SourceBusy,
    /// The gateway is short of memory.
    Overloaded,
    /// The provider's response is larger than this number of bytes.
    ResponseTooLarge(usize),
}

impl Rejection {
    /// The name in metrics and in the log.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Every name, in the order of declaration.
    pub fn names() -> &'static [&'static str] {
        Rejection::VARIANTS
    }

    /// After how many seconds it may be otherwise, where that is so soon that it is worth saying.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Rejection::KeyPending(rest) => Some(rest.as_secs().saturating_add(1)),
            Rejection::KeysUnavailable
            | Rejection::Unavailable
            | Rejection::Overloaded
            | Rejection::TooManyWrites
            | Rejection::StoreUnavailable
            | Rejection::UpstreamBusy
            | Rejection::SourceBusy => Some(1),
            _ => None,
        }
    }

    /// Whether it is the gateway or the provider that failed, not the caller.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Rejection::KeysUnavailable
                | Rejection::KeyPending(_)
                | Rejection::UpstreamFailed
                | Rejection::UpstreamTimeout(_)
                | Rejection::Unavailable
                | Rejection::UpstreamBusy
                | Rejection::Overloaded
                | Rejection::ResponseTooLarge(_)
                | Rejection::StoreUnavailable
        )
    }
}
