//! The outcome of a write.

use super::clock::Millis;
use super::tenant_id::TenantId;

/// How long the version of an acknowledged write is remembered, in milliseconds.
pub const FLOOR_KEPT: Millis = 600_000;

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Settled {
    /// The version that the provider gave the session. Older responses are not stored.
    pub version: Option<u64>,
    /// Whether the write certainly changed nothing, so entries from before it stay valid.
    pub unchanged: bool,
    /// How long the session counts as deleted, whatever a provider that deletes late still responds.
    pub deleted_for: Option<Millis>,
    /// Whether the session's deletion is lifted for all tenants; for an upstream, the deletions of all its sessions.
    pub lifted: bool,
    /// The tenant of the version and the deletion.
    pub tenant: TenantId,
    /// The upstream's last purge before the deletion. The store sets it.
    pub purged: Millis,
}
