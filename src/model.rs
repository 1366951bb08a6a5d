//! The nouns of the domain: what callers ask for, what they change, and what is wrong with it.
//!
//! Nothing here knows a wire format, a provider or the outside world.

mod patch;
mod rejection;
mod violations;

pub use patch::{
    Challenge, ChallengeKind, Check, CheckKind, Edit, Field, Length, Lifetime, MetadataChange, SessionPatch,
    SessionTokenPresence, Value,
};
pub use rejection::Rejection;
pub use violations::{Violations, truncated};

use crate::telemetry::Label;
use enum_map::Enum;
use std::fmt;
use strum::{IntoStaticStr, VariantArray};

/// What a request does to sessions and to what belongs to them. A closed set: it is also the `operation` label of the
/// metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Operation {
    /// Reads one session.
    ReadSession,
    /// Changes one session (its metadata).
    UpdateSession,
    /// Deletes one session.
    DeleteSession,
    /// Revokes one session and what hangs on it (refresh tokens).
    RevokeSession,
    /// Creates a session.
    CreateSession,
    /// Lists sessions.
    ListSessions,
    /// Deletes all sessions of a user.
    DeleteUserSessions,
    /// Revokes one session of a user, or all, and what hangs on them.
    RevokeAccess,
    /// Reads one refresh token.
    ReadRefreshToken,
    /// Changes one refresh token (its metadata).
    UpdateRefreshToken,
    /// Deletes one refresh token.
    DeleteRefreshToken,
    /// Lists refresh tokens.
    ListRefreshTokens,
    /// Revokes several refresh tokens.
    RevokeRefreshTokens,
    /// Deletes all refresh tokens of a user.
    DeleteUserRefreshTokens,
    /// May change sessions that the request does not name. Forwarded; makes every cached session of the upstream stale.
    ChangeRelated,
    /// Anything else.
    Other,
}

impl Operation {
    /// Whether it changes nothing.
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

    /// Whether there is nothing to do without a session that it is named for.
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

/// A session's identifier whose form was checked. It is never logged in clear.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// Accepts 1 to `max` characters of `A-Z a-z 0-9 _ -`, which no part of the way can read in two ways.
    pub fn parse(text: &str, max: usize) -> Option<SessionId> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let fits = !text.is_empty() && text.len() <= max && text.bytes().all(plain);
        fits.then(|| SessionId(text.into()))
    }

    /// The identifier as the provider spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// Who sends a request, as a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`; empty where the token has none.
    pub subject: String,
    /// The token's scopes.
    pub scopes: Vec<String>,
    /// When the token ends, in seconds since the epoch.
    pub expires_at: u64,
}

impl Caller {
    /// Whether the token carries `scope`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }
}

/// The rule that a request broke. A closed set: it is also the `rule` label of the metrics.
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
    /// The key is not among the allowed ones.
    Allowed,
    /// A required key is missing.
    Required,
    /// A protected key would be added, changed or removed.
    Protected,
    /// The value does not match its pattern.
    Pattern,
    /// The value is not one of those declared.
    OneOf,
    /// Removing all metadata is not allowed, or would be a side effect.
    Wipe,
    /// Two keys become one.
    Collision,
    /// The provider's own validation.
    Provider,
    /// How long a session may live.
    Lifetime,
    /// The session's token has to be shown.
    SessionToken,
    /// The check is not among the allowed ones.
    Check,
    /// One-time codes may not be handed to callers.
    ReturnCode,
    /// A link may only lead to declared places.
    UrlTemplate,
}

/// One thing that is wrong with a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, in the caller's own spelling: `session_metadata.Team`.
    pub path: String,
    /// The rule.
    pub rule: Rule,
    /// What was found and what is allowed. It never holds a value.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.message, self.rule.name())
    }
}

/// How many bytes of a key are shown.
const SHOWN: usize = 300;

/// The path of a metadata entry: dotted where the key is plain, quoted otherwise.
pub fn field_path(name: &str, key: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    // It is shown, and may be as long as a body.
    let key = truncated(key.to_owned(), SHOWN);
    if !key.is_empty() && key.chars().all(plain) { format!("{name}.{key}") } else { format!("{name}[{key:?}]") }
}
