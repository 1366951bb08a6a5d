//! What the provider shows of a session or a refresh token before it is changed.

use crate::dialect::StoredMetadata;

/// Whom a session or a refresh token must belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// The user with this ID.
    User(String),
    /// The session with this ID: a refresh token belongs to one.
    Session(String),
}

/// What the provider shows of a session or a refresh token before it is changed. Only
/// [`super::DecodedRequest::current_state`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentState {
    /// The metadata; `None` if it shows none.
    pub(super) metadata: Option<StoredMetadata>,
    pub(super) user: Option<String>,
    /// The session of a refresh token.
    pub(super) session: Option<String>,
    /// The version of the session, if it shows one.
    pub version: Option<u64>,
}

impl CurrentState {
    pub(super) fn belongs_to(&self, owner: &Owner) -> bool {
        match owner {
            Owner::User(user) => self.user.as_ref() == Some(user),
            Owner::Session(session) => self.session.as_ref() == Some(session),
        }
    }
}
