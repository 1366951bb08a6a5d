//! The names of the claims that say who a caller is.

/// The names of the claims that say who a caller is. What has no name here is not read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimNames {
    /// The scopes: in a string with spaces, or in a list.
    pub scopes: String,
    /// The client, in the order in which they are tried.
    pub client_id: Vec<String>,
    /// Whether a declared claim names the client, and no other one may do so.
    pub client_is_declared: bool,
    /// Whether the client decides what the caller may do. If so, a malformed name of it makes the token invalid.
    pub client_decides: bool,
    /// The roles.
    pub roles: Option<String>,
    /// The groups.
    pub groups: Option<String>,
    /// The organization.
    pub organization: Option<String>,
    /// The caller's own session.
    pub session: Option<String>,
    /// Others, whose values are kept by name.
    pub others: Vec<String>,
}
