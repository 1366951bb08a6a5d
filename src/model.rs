//! The nouns of the domain: operations, callers, changes, violations, rejections.
//!
//! Nothing here knows an encoding, a provider or the outside world.

mod patch;
mod rejection;
mod violations;

pub use patch::{
    Challenge, ChallengeKind, Check, CheckKind, Edit, Field, Lifetime, MetadataChange, SessionPatch,
    SessionTokenPresence, SignedDuration, Value,
};
pub use rejection::Rejection;
pub use violations::{Violations, truncated};

use crate::telemetry::Label;
use enum_map::Enum;
use std::fmt;
use strum::{IntoStaticStr, VariantArray};

/// What a request does to sessions and refresh tokens: the `operation` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Operation {
    /// Reads one session.
    ReadSession,
    /// Changes one session, such as its metadata.
    UpdateSession,
    /// Deletes one session.
    DeleteSession,
    /// Revokes one session and its refresh tokens.
    RevokeSession,
    /// Creates a session.
    CreateSession,
    /// Lists sessions.
    ListSessions,
    /// Deletes all sessions of a user.
    DeleteUserSessions,
    /// Revokes one session of a user, or all of them, and their refresh tokens.
    RevokeAccess,
    /// Reads one refresh token.
    ReadRefreshToken,
    /// Changes one refresh token's metadata.
    UpdateRefreshToken,
    /// Deletes one refresh token.
    DeleteRefreshToken,
    /// Lists refresh tokens.
    ListRefreshTokens,
    /// Revokes several refresh tokens.
    RevokeRefreshTokens,
    /// Deletes all refresh tokens of a user.
    DeleteUserRefreshTokens,
    /// May change sessions that the request does not name. Pass-through; makes every cached session of the upstream
    /// stale.
    ChangeRelated,
    /// Anything else.
    Other,
}

impl Operation {
    /// Whether the operation only reads.
    pub fn reads(self) -> bool {
        match self {
            Operation::ReadSession
            | Operation::ListSessions
            | Operation::ReadRefreshToken
            | Operation::ListRefreshTokens => true,
            Operation::UpdateSession
            | Operation::DeleteSession
            | Operation::RevokeSession
            | Operation::CreateSession
            | Operation::DeleteUserSessions
            | Operation::RevokeAccess
            | Operation::UpdateRefreshToken
            | Operation::DeleteRefreshToken
            | Operation::RevokeRefreshTokens
            | Operation::DeleteUserRefreshTokens
            | Operation::ChangeRelated
            | Operation::Other => false,
        }
    }

    /// Whether the operation is invalid without a session ID.
    pub fn needs_session(self) -> bool {
        match self {
            Operation::ReadSession | Operation::UpdateSession | Operation::DeleteSession | Operation::RevokeSession => {
                true
            }
            Operation::CreateSession
            | Operation::ListSessions
            | Operation::DeleteUserSessions
            | Operation::RevokeAccess
            | Operation::ReadRefreshToken
            | Operation::UpdateRefreshToken
            | Operation::DeleteRefreshToken
            | Operation::ListRefreshTokens
            | Operation::RevokeRefreshTokens
            | Operation::DeleteUserRefreshTokens
            | Operation::ChangeRelated
            | Operation::Other => false,
        }
    }
}

/// A session ID of valid form. It is never logged in clear.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// Accepts 1 to `max` characters of `A-Z a-z 0-9 _ -`: every server reads these alike.
    pub fn parse(text: &str, max: usize) -> Option<SessionId> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let fits = !text.is_empty() && text.len() <= max && text.bytes().all(plain);
        fits.then(|| SessionId(text.into()))
    }

    /// The ID in the provider's spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// Who sends a request, from a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`; empty if absent.
    pub subject: String,
    /// The token's scopes.
    pub scopes: Vec<String>,
    /// When the token expires, in seconds since the epoch.
    pub expires_at: u64,
}

impl Caller {
    /// Whether the token has this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }
}

/// The rule that a write violates: the `rule` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Rule {
    /// The body changes nothing.
    EmptyBody,
    /// The metadata, or a value in it, has the wrong type.
    Type,
    /// Too many entries.
    Count,
    /// A key is too long.
    KeyLength,
    /// A key has characters that are not allowed.
    KeyCharacters,
    /// A value is too short or too long.
    ValueLength,
    /// The key is not in the list of allowed keys.
    Allowed,
    /// A required key is missing.
    Required,
    /// A protected key would be added, changed or removed.
    Protected,
    /// The value does not match the regular expression.
    Pattern,
    /// The value is not in the list of allowed values.
    OneOf,
    /// All metadata would be removed, on purpose or as a side effect of normalization.
    Wipe,
    /// Two keys become the same after normalization.
    Collision,
    /// The provider's own constraint.
    Provider,
    /// The session's lifetime is missing or out of bounds.
    Lifetime,
    /// The session's token is missing.
    SessionToken,
    /// The check is not in the list of allowed checks.
    Check,
    /// The write requests that one-time codes are returned to the caller.
    ReturnCode,
    /// The link in an email leads to a scheme or host that is not allowed.
    UrlTemplate,
}

/// One violation of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, in the caller's own spelling: `session_metadata.Team`.
    pub path: String,
    /// The rule.
    pub rule: Rule,
    /// What was found and what is allowed. Never contains a value from the body.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.message, self.rule.name())
    }
}

/// The maximum length of a key in a path, in bytes.
const MAX_KEY_SHOWN: usize = 300;

/// The path of an entry: `name.key` if the key is plain, `name["key"]` otherwise.
pub fn field_path(name: &str, key: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    // A caller's key may be as long as its body.
    let key = truncated(key.to_owned(), MAX_KEY_SHOWN);
    if !key.is_empty() && key.chars().all(plain) { format!("{name}.{key}") } else { format!("{name}[{key:?}]") }
}
