//! What a connection proves of who opened it.

/// What a connection proves of who opened it. It qualifies a caller, and never replaces the caller's token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerIdentity {
    /// The names in the verified client certificate; `None` without one.
    pub certificate: Option<CertificateNames>,
    /// The user ID of the process at the other end of a Unix socket.
    pub uid: Option<u32>,
}

/// The names in a client certificate. One that cannot be read has the default: no names, and expired.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateNames {
    /// The subject, as RFC 4514 writes it.
    pub subject: String,
    /// The subject alternative names after their types: `DNS:…`, `URI:…`, `email:…`, `IP:…`.
    pub alternative: Vec<String>,
    /// The last second in which the certificate is valid, since the epoch.
    pub not_after: u64,
}
