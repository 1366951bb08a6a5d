//! Callers.

/// Who sends a request, from a verified token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// The issuer of the token.
    pub issuer: String,
    /// The client that the token was issued to; `None` if the token names none.
    pub client_id: Option<String>,
    /// The token's `sub`; empty if absent.
    pub subject: String,
    /// The token's scopes.
    pub scopes: Vec<String>,
    /// The roles, from the declared claim.
    pub roles: Vec<String>,
    /// The groups, from the declared claim.
    pub groups: Vec<String>,
    /// The organization, from the declared claim.
    pub organization: Option<String>,
    /// The caller's own session, from the declared claim.
    pub session: Option<String>,
    /// The values of the other claims that grants match, by name.
    pub claims: Vec<(String, Vec<String>)>,
    /// When the token expires, in seconds since the epoch.
    pub expires_at: u64,
}

impl Caller {
    /// How much memory its texts need, in bytes.
    pub fn text_size(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let claims = self.claims.iter().map(|(name, values)| name.len() + texts(values) + 2 * size_of::<String>());
        let optional = [&self.client_id, &self.organization, &self.session].into_iter().flatten();
        let lists = [&self.scopes, &self.roles, &self.groups].into_iter().map(|list| texts(list));
        self.issuer.len()
            + self.subject.len()
            + optional.map(String::len).sum::<usize>()
            + lists.chain(claims).sum::<usize>()
    }

    /// Whether the token has this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }

    /// The values of a claim that grants match by name.
    pub fn claim(&self, name: &str) -> &[String] {
        self.claims.iter().find(|(own, _)| own == name).map_or(&[], |(_, values)| values)
    }
}
