//! Which writes need the exclusive right to change a session's metadata, and what the right is for.

use super::DecodedResponse;
use super::decoded::{DecodedRequest, Write, WriteDecision};
use crate::coherence::TenantId;
use crate::model::MetadataChange;
use crate::policy::Mode;

/// Whether a write needs the exclusive right to change the metadata of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RightNeed {
    /// No: it changes no metadata, or no decision depends on the current state.
    None,
    /// It is decided by the current state. If the store is down, `on_unreachable` says whether it goes on without.
    IfStoreWorks,
    /// Yes, whatever `on_unreachable` says: without it, it may remove what other callers own.
    Required,
}

impl DecodedRequest {
    /// Whether a write needs the exclusive right. Deletions and revocations never do.
    pub fn needs_right(&self, decision: &WriteDecision) -> RightNeed {
        // Audit mode rejects nothing because of other writes.
        let audits = self.policy().mode == Mode::Audit && self.authorized.grant.is_none();
        // Anyone can send writes without a valid credential. They must not block the writes of others.
        let verified = self.authorized.credential.is_verified();
        match decision {
            // Also of a caller who owns no keys: a write replaces all metadata.
            _ if self.upstream().scope_owns_keys && self.changes_metadata() => RightNeed::Required,
            WriteDecision::NeedsCurrent if self.changes_metadata() && verified && !audits => RightNeed::IfStoreWorks,
            WriteDecision::NeedsCurrent | WriteDecision::Forward(_) => RightNeed::None,
        }
    }

    /// Whether it changes the metadata of a session or a refresh token that exists.
    pub(super) fn changes_metadata(&self) -> bool {
        let changes = |metadata: &MetadataChange| match metadata {
            MetadataChange::Absent => false,
            MetadataChange::Wipe | MetadataChange::Replace(_) | MetadataChange::Malformed(_) => true,
        };
        let patch = self.patch().ok().flatten().filter(|patch| !patch.creates);
        !self.governed().route.effect.ends_session() && patch.is_some_and(|patch| changes(&patch.metadata))
    }

    /// The provider's tenant that the request is for.
    pub fn tenant(&self) -> &TenantId {
        &self.governed().tenant
    }

    /// The keyed hash of what the right is for: the session, or the refresh token.
    pub fn right_hash(&self) -> Option<[u8; 16]> {
        self.session_hash().or(self.refresh_token)
    }

    /// The keyed hashes of what it ends, as far as the request names it: a session or refresh tokens. What a user's
    /// revocation ends is not known.
    pub(super) fn ends(&self) -> Vec<[u8; 16]> {
        let route = self.governed().route;
        match (self.session_hash(), self.refresh_token) {
            (Some(session), _) if route.effect.ends_session() => vec![session],
            (None, Some(refresh_token)) if route.method == "DELETE" => vec![refresh_token],
            _ => self.revoked.clone(),
        }
    }
}

impl Write {
    /// The keyed hashes of what the write has ended, by the provider's response: rights to change it end too.
    pub fn ended(&self, response: &DecodedResponse) -> &[[u8; 16]] {
        if response.status().is_success() { &self.ends } else { &[] }
    }

    /// The provider's tenant that the write is for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}
