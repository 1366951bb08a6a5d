//! Callers.

/// Who sends a request, from a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The client that the token was issued to; `None` if the token names none. It only identifies the caller: nothing
    /// is allowed because of it.
    pub client_id: Option<String>,
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
