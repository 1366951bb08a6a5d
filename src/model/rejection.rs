//! Why the gateway responds in place of the provider.

use super::Violations;
use std::time::Duration;
use strum::{IntoStaticStr, VariantNames};

/// Why the gateway responds in place of the provider. Dialects render each in the provider's shape.
#[derive(Debug, Clone, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Rejection {
    /// The request is not valid strict HTTP: what is wrong.
    Framing(String),
    /// The request's head exceeds a limit: which one.
    HeadTooLarge(String),
    /// The request target has more bytes than this limit.
    TargetTooLong(usize),
    /// The path is not canonical: servers could read it in different ways.
    Path,
    /// The path is protected, but no operation has it.
    UnknownOperation,
    /// The path has no operation with this method: the allowed methods.
    Method(String),
    /// The query has anything but these parameters, each at most once and in canonical form.
    Query(&'static [&'static str]),
    /// A header is not accepted on this request: its name, and what is wrong with it.
    Header(&'static str, &'static str),
    /// The session ID is not valid at the provider.
    SessionId,
    /// The refresh token ID is not valid at the provider.
    RefreshTokenId,
    /// The user ID is not valid at the provider.
    UserId,
    /// No upstream matches this host and path.
    NoUpstream,
    /// No credential.
    CredentialMissing,
    /// The credential is not a well-formed bearer token.
    CredentialMalformed,
    /// The token has expired.
    TokenExpired,
    /// The token's signature is invalid.
    TokenSignature,
    /// The token is for another audience: the expected one.
    TokenAudience(String),
    /// The token is invalid for this other reason.
    TokenInvalid(&'static str),
    /// The token lacks this scope, which the operation needs.
    Scope(&'static str),
    /// The issuer's keys have not been loaded yet.
    KeysUnavailable,
    /// The token names an unknown key. The issuer's keys are fetched again after this time.
    KeyPending(Duration),
    /// The operation takes no body.
    UnexpectedBody,
    /// A body larger than this many bytes needs a declared length.
    LengthRequired(usize),
    /// The body is larger than this many bytes.
    TooLarge(usize),
    /// The content type is not supported.
    ContentType,
    /// The body has a content encoding.
    ContentCoding,
    /// The body did not arrive within this time.
    BodyTimeout(Duration),
    /// The body does not parse: what is wrong, and where.
    Malformed(String),
    /// The policy does not allow the write.
    #[strum(serialize = "policy")]
    Violations(Violations),
    /// The session was deleted or revoked through the gateway.
    Deleted,
    /// Too many writes are in flight on this session.
    TooManyWrites,
    /// The write's invalidation mark could not be set, and the configuration requires it.
    StoreUnavailable,
    /// The provider could not be reached, or its response broke off.
    UpstreamFailed,
    /// The provider did not respond within this time.
    UpstreamTimeout(Duration),
    /// The provider's address is not known, or the gateway is shutting down.
    Unavailable,
    /// The upstream has its maximum number of requests in flight.
    UpstreamBusy,
    /// The source address has its maximum number of requests in flight at the upstream.
    SourceBusy,
    /// The gateway is short of memory.
    Overloaded,
    /// The provider's response is larger than this many bytes.
    #[strum(serialize = "answer_too_large")]
    ResponseTooLarge(usize),
}

impl Rejection {
    /// The name in metrics and logs.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Every name, in the order of declaration.
    pub fn names() -> &'static [&'static str] {
        Rejection::VARIANTS
    }

    /// The value of `Retry-After`, in seconds, if a retry may soon succeed.
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

    /// Whether the gateway or the provider failed, rather than the caller.
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
