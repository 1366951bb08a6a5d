//! What a write invalidates.

use crate::coherence::WriteScope;

/// What a write invalidates. The number identifies the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One session of an upstream.
    Session(u64, [u8; 16]),
    /// Every session of an upstream.
    Upstream(u64),
}

impl Scope {
    /// Which limit applies to the marks of writes in this scope.
    pub fn write_scope(self) -> WriteScope {
        match self {
            Scope::Session(..) => WriteScope::Session,
            Scope::Upstream(_) => WriteScope::Upstream,
        }
    }

    /// Which limit applies to a mark that several writes share.
    pub fn shared_write_scope(self) -> WriteScope {
        match self {
            Scope::Session(..) => WriteScope::Unverified,
            Scope::Upstream(_) => WriteScope::Upstream,
        }
    }
}
