//! The coherence state of one session, or of one upstream's epoch.

use super::clock::Millis;
use super::generation::{Generation, Token};
use super::settled::FLOOR_KEPT;
use super::tenant_id::{DEFAULT_TENANT, TenantId};
use super::tenants::{DeletionState, Tenants};

/// The mark of a write in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WriteMark {
    pub writer: Token,
    pub deadline: Millis,
}

/// The coherence state of one session, or of one upstream's epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CoherenceState {
    pub(super) marks: Vec<WriteMark>,
    pub(super) generation: Option<Generation>,
    /// The generation before the only write in flight. It is restored if that write changes nothing.
    pub(super) before: Option<Generation>,
    /// For a session: the default tenant's version floor. For an epoch: the time of the upstream's last purge.
    pub(super) floor: Option<u64>,
    pub(super) floor_set: Millis,
    /// The expiry of the default tenant's deletion. If nothing else records a deletion, it may be any tenant's: the
    /// previous version of the gateway writes only this.
    pub(super) deleted_until: Option<Millis>,
    pub(super) tenants: Tenants,
}

impl CoherenceState {
    /// Drops what has expired. A state that loses its last mark this way has no generation, because what was fetched
    /// meanwhile has none.
    pub(super) fn prune(&mut self, now: Millis) {
        let marks = self.marks.len();
        self.marks.retain(|mark| mark.deadline > now);
        if self.marks.len() < marks {
            self.before = None;
        }
        if self.deleted_until.is_some_and(|until| until <= now) {
            self.deleted_until = None;
        }
        self.tenants.prune(now);
    }

    /// Whether a store must not evict this state: it has a mark or a deletion.
    pub fn must_keep(&self, now: Millis) -> bool {
        self.is_marked(now) || self.deleted_until.is_some_and(|until| until > now) || self.tenants.must_keep(now)
    }

    /// Whether the session is deleted for a tenant. `purged` is the time of the upstream's last purge: see
    /// [`CoherenceState::purged`].
    pub fn deletion_state(&self, tenant: &TenantId, purged: Millis, now: Millis) -> DeletionState {
        self.tenants.deletion_state(tenant, self.deleted_until, purged, now)
    }

    /// The version below which responses are too old for a tenant.
    pub(super) fn floor(&self, tenant: &TenantId, now: Millis) -> Option<u64> {
        if *tenant == DEFAULT_TENANT { self.floor } else { self.tenants.floor(tenant, now) }
    }

    /// For an epoch: the time of the upstream's last purge; 0 if never.
    pub fn purged(&self) -> Millis {
        self.floor.unwrap_or_default()
    }

    /// For an epoch: lifts all deletions from before now.
    pub fn purge(&mut self, now: Millis) {
        self.floor = Some(now.max(self.purged().saturating_add(1)));
    }

    /// The heap memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.tenants.bytes()
    }

    /// Whether a write is in flight.
    pub fn is_marked(&self, now: Millis) -> bool {
        self.marks.iter().any(|mark| mark.deadline > now)
    }

    /// Whether a store with enough memory should keep this state: it must, or the state knows which responses are too
    /// old. Providers may return older responses for a while after they acknowledged a write.
    pub fn should_keep(&self, now: Millis) -> bool {
        let floor = self.floor.is_some() && now.saturating_sub(self.floor_set) < FLOOR_KEPT;
        self.must_keep(now) || floor || self.tenants.should_keep(now)
    }

    /// The generation. `None` during a write, or before the first read after it.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// Invalidates everything fetched until now.
    pub fn renew(&mut self) {
        self.generation = None;
        self.before = None;
    }

    /// The generation, minted now if there is none.
    pub(super) fn mint_generation(&mut self, mint: &mut impl FnMut() -> Generation) -> Generation {
        *self.generation.get_or_insert_with(mint)
    }
}
