//! What a request does to sessions and refresh tokens.

use enum_map::Enum;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What a request does to sessions and refresh tokens: the `operation` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
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
