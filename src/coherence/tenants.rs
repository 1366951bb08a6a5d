//! What belongs to one tenant of a provider: that its session was deleted, and the version below which responses are
//! too old.
//!
//! Tenants behind one address may have sessions with the same id. Marks and generations are shared by all of them: a
//! tenant may have several names, and a write by one name has to end the hits by every other. What a caller is *shown*
//! belongs to the tenant.
//!
//! What the provider's own tenant is shown stands in the session's state, as the version before has it. That version
//! keeps all deletions there, so one that is in the state alone may be any tenant's: it is the own tenant's 404, and
//! others go to the provider.

use super::{FLOOR_KEPT, Millis, Settled};

/// Names a tenant of a provider.
pub type TenantId = [u8; 16];

/// The tenant that the provider's own name is for.
pub const DEFAULT_TENANT: TenantId = [0; 16];

/// For how many tenants something is remembered of one session. With one more, the deletion that ends first is
/// forgotten.
pub const MAX_TENANTS: usize = 64;

/// Later than any purge of an upstream: a deletion that none lifts.
pub const NEVER_LIFTED: Millis = 9_999_999_999_999;

/// Whether a session is gone, as far as a tenant is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionState {
    /// Nothing says so.
    No,
    /// It was deleted.
    Deleted,
    /// It was deleted for some tenant, nobody knows for which.
    Unknown,
}

/// What is remembered for one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct TenantState {
    tenant: TenantId,
    floor: Option<u64>,
    floor_until: Millis,
    deleted_until: Millis,
    /// The last purge of the upstream before the deletion: a later one lifts it.
    purged: Millis,
}

/// What is remembered for each tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tenants(Vec<TenantState>);

impl Tenants {
    /// Drops what is over.
    pub fn prune(&mut self, now: Millis) {
        for facts in &mut self.0 {
            facts.floor = facts.floor.filter(|_| facts.floor_until > now);
        }
        self.0.retain(|facts| facts.floor.is_some() || facts.deleted_until > now);
    }

    /// Remembers what a write says of its tenant. The floor of the own tenant stands in the state.
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
                // Of two at the same time, the one that is recorded last may have looked for the last purge first.
                let before = if facts.deleted_until > now { facts.purged } else { 0 };
                facts.purged = settled.purged.max(before);
                facts.deleted_until = facts.deleted_until.max(now.saturating_add(long));
            }
        });
    }

    /// Changes what is remembered for a tenant.
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

    /// The version below which a tenant's responses are too old; the own tenant's stands in the state.
    pub fn floor(&self, tenant: &TenantId, now: Millis) -> Option<u64> {
        let facts = self.0.iter().find(|facts| facts.tenant == *tenant)?;
        facts.floor.filter(|_| facts.floor_until > now)
    }

    /// Whether the session is gone for a tenant. `shared` is until when the state says so, `purged` when the upstream
    /// was purged last.
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

    /// Whether a deletion is remembered.
    pub fn must_keep(&self, now: Millis) -> bool {
        self.0.iter().any(|facts| facts.deleted_until > now)
    }

    /// Whether anything is remembered.
    pub fn should_keep(&self, now: Millis) -> bool {
        self.must_keep(now) || self.0.iter().any(|facts| facts.floor.is_some() && facts.floor_until > now)
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<TenantState>()
    }
}
