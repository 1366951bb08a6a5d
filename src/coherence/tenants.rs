//! State per tenant of a provider: whether the session was deleted, and the version below which responses are too old.
//!
//! Tenants behind one address may have sessions with the same ID. Marks and generations are shared by all of them: a
//! tenant may have several names, and a write by one name must end the hits by every other. Deletions and versions
//! belong to one tenant.
//!
//! The default tenant's state is in the session's own state, as the previous version of the gateway stores it. That
//! version stores all deletions there. So a deletion that is only there may be any tenant's: for the default tenant it
//! is a 404, and other tenants go to the provider.

use super::clock::Millis;
use super::settled::{FLOOR_KEPT, Settled};
use super::tenant_id::{DEFAULT_TENANT, TenantId};

/// The maximum number of tenants with state for one session. Beyond it, the deletion that expires first is forgotten.
pub const MAX_TENANTS: usize = 64;

/// A time after any purge: a deletion with it is never lifted.
pub const NEVER_LIFTED: Millis = 9_999_999_999_999;

/// Whether a tenant's session is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionState {
    /// Not as far as the store knows.
    No,
    /// Deleted.
    Deleted,
    /// Deleted for some tenant, but it is not known for which.
    Unknown,
}

/// The state of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct TenantState {
    tenant: TenantId,
    floor: Option<u64>,
    floor_until: Millis,
    deleted_until: Millis,
    /// The upstream's last purge before the deletion. A later purge lifts it.
    purged: Millis,
}

/// The state of each tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tenants(Vec<TenantState>);

impl Tenants {
    /// Drops what has expired.
    pub fn prune(&mut self, now: Millis) {
        for facts in &mut self.0 {
            facts.floor = facts.floor.filter(|_| facts.floor_until > now);
        }
        self.0.retain(|facts| facts.floor.is_some() || facts.deleted_until > now);
    }

    /// Records the outcome of a write for its tenant. The default tenant's floor is in the session's own state.
    pub fn settle(&mut self, settled: Settled, now: Millis) {
        self.prune(now);
        if settled.lifted {
            self.0.iter_mut().for_each(|facts| facts.deleted_until = 0);
            self.prune(now);
        }
        let version = settled.version.filter(|version| *version > 0 && settled.tenant != DEFAULT_TENANT);
        if version.is_none() && settled.deleted_for.is_none() {
            return;
        }
        self.change(settled.tenant, |facts| {
            if version.is_some() {
                facts.floor = facts.floor.max(version);
                facts.floor_until = now.saturating_add(FLOOR_KEPT);
            }
            if let Some(long) = settled.deleted_for {
                // Of two concurrent deletions, the one recorded last may have read the purge time first.
                let before = if facts.deleted_until > now { facts.purged } else { 0 };
                facts.purged = settled.purged.max(before);
                facts.deleted_until = facts.deleted_until.max(now.saturating_add(long));
            }
        });
    }

    /// Changes a tenant's state, and creates it if needed.
    fn change(&mut self, tenant: TenantId, change: impl FnOnce(&mut TenantState)) {
        if let Some(facts) = self.0.iter_mut().find(|facts| facts.tenant == tenant) {
            return change(facts);
        }
        if self.0.len() >= MAX_TENANTS {
            let ends = |facts: &TenantState| (facts.deleted_until, facts.floor_until);
            let first = self.0.iter().enumerate().min_by_key(|(_, facts)| ends(facts)).map(|(at, _)| at);
            if let Some(at) = first {
                self.0.remove(at);
            }
        }
        let mut facts = TenantState { tenant, floor: None, floor_until: 0, deleted_until: 0, purged: 0 };
        change(&mut facts);
        self.0.push(facts);
    }

    /// The version below which this tenant's responses are too old. The default tenant's is in the session's own state.
    pub fn floor(&self, tenant: &TenantId, now: Millis) -> Option<u64> {
        let facts = self.0.iter().find(|facts| facts.tenant == *tenant)?;
        facts.floor.filter(|_| facts.floor_until > now)
    }

    /// Whether the session is deleted for a tenant. `shared` is the deletion's expiry in the session's own state,
    /// `purged` the time of the upstream's last purge.
    pub fn deletion_state(
        &self,
        tenant: &TenantId,
        shared: Option<Millis>,
        purged: Millis,
        now: Millis,
    ) -> DeletionState {
        let counts = |facts: &TenantState| facts.deleted_until > now && facts.purged >= purged;
        if self.0.iter().any(|facts| facts.tenant == *tenant && counts(facts)) {
            return DeletionState::Deleted;
        }
        let known = |until| self.0.iter().any(|facts| facts.tenant == DEFAULT_TENANT && facts.deleted_until == until);
        match shared.filter(|until| *until > now && !known(*until)) {
            None => DeletionState::No,
            Some(_) if *tenant == DEFAULT_TENANT => DeletionState::Deleted,
            Some(_) => DeletionState::Unknown,
        }
    }

    /// Whether any deletion is recorded.
    pub fn must_keep(&self, now: Millis) -> bool {
        self.0.iter().any(|facts| facts.deleted_until > now)
    }

    /// Whether anything is recorded.
    pub fn should_keep(&self, now: Millis) -> bool {
        self.must_keep(now) || self.0.iter().any(|facts| facts.floor.is_some() && facts.floor_until > now)
    }

    /// The heap memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<TenantState>()
    }
}
