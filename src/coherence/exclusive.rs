//! The exclusive right to change a session's metadata.
//!
//! Invalidation marks are no locks: any number of writes may be in flight on a session. A write that is decided by the
//! session's current state needs more: no other write may change that state between its read and its end. It takes the
//! *exclusive right* first. The right expires on its own, so a holder sends its write only while more of the right is
//! left than the write may take: see [`may_send`].
//!
//! What a write reads may be older than what the provider has acknowledged: some replica of it lags. So the newest
//! version is kept that a write was acknowledged with, or that a read has shown meanwhile. A write is decided by no older
//! state: see [`is_outdated`].
//!
//! A deletion needs no right and never waits for one. It ends the right, since there is nothing left to change.

use super::clock::Millis;
use super::generation::Token;
use super::reading::ConnectionId;
use super::settled::FLOOR_KEPT;
use super::tenant_id::TenantId;
use strum::IntoStaticStr;

/// How long a right is reserved for the write that found it taken first, in milliseconds: longer than the pause between
/// two attempts. Without it, writes of the replica that holds the right would always be faster.
pub const RESERVED: Millis = 500;

/// The exclusive right to change one session's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ExclusiveRight {
    holder: Option<Holder>,
    next: Option<Reservation>,
    newest: Vec<Newest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Holder {
    writer: Token,
    /// Sessions of several tenants may have the same ID and share a right. The deletion of one ends no other's.
    tenant: TenantId,
    deadline: Millis,
}

/// Who may take the right next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reservation {
    writer: Token,
    deadline: Millis,
}

/// The newest version known of a tenant's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Newest {
    tenant: TenantId,
    version: u64,
    deadline: Millis,
}

/// A step. Repeating it does no harm, and neither does a step that is executed late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RightStep {
    /// Takes the right, or makes it last longer. Otherwise reserves it, unless another write has.
    Take {
        /// The tenant of the session.
        tenant: TenantId,
        /// How long it lasts from now, in milliseconds.
        lifetime: Millis,
    },
    /// Makes the right last longer, but only if it is still held.
    Renew {
        /// The tenant of the session.
        tenant: TenantId,
        /// How long it lasts from now, in milliseconds.
        lifetime: Millis,
    },
    /// Gives the right back, or its reservation.
    GiveBack {
        /// The tenant of the session.
        tenant: TenantId,
        /// The version that the provider has acknowledged the write with, if it shows one.
        version: Option<u64>,
    },
    /// Records the version that a read has shown. It matters only to writes: without a right or a version known, nothing
    /// is recorded.
    Saw {
        /// The tenant of the session.
        tenant: TenantId,
        /// The version.
        version: u64,
    },
    /// Ends the right of any write: the session of this tenant was deleted.
    End {
        /// The tenant.
        tenant: TenantId,
    },
}

impl RightStep {
    /// The name, as stores know it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The tenant of the session.
    pub fn tenant(self) -> TenantId {
        match self {
            RightStep::Take { tenant, .. }
            | RightStep::Renew { tenant, .. }
            | RightStep::GiveBack { tenant, .. }
            | RightStep::Saw { tenant, .. }
            | RightStep::End { tenant } => tenant,
        }
    }

    /// How long the right lasts from the step on, in milliseconds; 0 if the step takes none.
    pub fn lifetime(self) -> Millis {
        match self {
            RightStep::Take { lifetime, .. } | RightStep::Renew { lifetime, .. } => lifetime,
            RightStep::GiveBack { .. } | RightStep::Saw { .. } | RightStep::End { .. } => 0,
        }
    }

    /// The version that the step tells of.
    pub fn version(self) -> Option<u64> {
        match self {
            RightStep::GiveBack { version, .. } => version,
            RightStep::Saw { version, .. } => Some(version),
            RightStep::Take { .. } | RightStep::Renew { .. } | RightStep::End { .. } => None,
        }
    }
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RightReply {
    /// The write holds the right.
    Held {
        /// For at least so long, in milliseconds.
        left: Millis,
        /// The newest version known of the session.
        newest: Option<u64>,
    },
    /// It does not. Another write holds the right, or has reserved it, for at most so long; 0 if none has.
    NotHeld(Millis),
}

impl ExclusiveRight {
    /// Executes a step of a write. Stores must run it atomically.
    pub fn step(&mut self, writer: Token, step: RightStep, now: Millis) -> RightReply {
        self.prune(now);
        match step {
            RightStep::Take { tenant, lifetime } if self.is_free_for(writer) => {
                self.next = self.next.filter(|next| next.writer != writer);
                self.hold(writer, tenant, now.saturating_add(lifetime))
            }
            RightStep::Take { .. } if self.next.is_none_or(|next| next.writer == writer) => {
                self.next = Some(Reservation { writer, deadline: now.saturating_add(RESERVED) });
            }
            RightStep::Renew { lifetime, .. } => {
                if let Some(holder) = self.holder.filter(|holder| holder.writer == writer) {
                    self.hold(writer, holder.tenant, now.saturating_add(lifetime));
                }
            }
            RightStep::GiveBack { tenant, version } => {
                // Rights follow each other like their writes. So if the holder's version is lower, versions do not only
                // rise: the clocks of the provider's servers differ.
                if version.is_some() && self.holder.is_some_and(|holder| holder.writer == writer) {
                    self.newest.retain(|newest| newest.tenant != tenant);
                }
                self.holder = self.holder.filter(|holder| holder.writer != writer);
                self.next = self.next.filter(|next| next.writer != writer);
                self.record_version(tenant, version, now);
            }
            RightStep::Saw { tenant, version } if self.holder.is_some() || self.newest(tenant).is_some() => {
                self.record_version(tenant, Some(version), now);
            }
            // A session that is created again may have lower versions.
            RightStep::End { tenant } => {
                self.holder = self.holder.filter(|holder| holder.tenant != tenant);
                self.newest.retain(|newest| newest.tenant != tenant);
            }
            RightStep::Saw { .. } => {}
            RightStep::Take { .. } => {}
        }
        self.reply(writer, step.tenant(), now)
    }

    /// Whether no write holds the right or has reserved it.
    pub fn is_free(&mut self, now: Millis) -> bool {
        self.prune(now);
        self.holder.is_none() && self.next.is_none()
    }

    /// Whether nothing is recorded, so that a store may drop it.
    pub fn is_idle(&mut self, now: Millis) -> bool {
        self.is_free(now) && self.newest.is_empty()
    }

    fn prune(&mut self, now: Millis) {
        self.holder = self.holder.filter(|holder| holder.deadline > now);
        self.next = self.next.filter(|next| next.deadline > now);
        self.newest.retain(|newest| newest.deadline > now);
    }

    fn newest(&self, tenant: TenantId) -> Option<u64> {
        self.newest.iter().find(|newest| newest.tenant == tenant).map(|newest| newest.version)
    }

    /// Records a version, unless a higher one is known.
    fn record_version(&mut self, tenant: TenantId, version: Option<u64>, now: Millis) {
        let Some(version) = version.filter(|version| Some(*version) >= self.newest(tenant)) else { return };
        self.newest.retain(|newest| newest.tenant != tenant);
        self.newest.push(Newest { tenant, version, deadline: now.saturating_add(FLOOR_KEPT) });
    }

    fn is_free_for(&self, writer: Token) -> bool {
        match self.holder {
            Some(holder) => holder.writer == writer,
            None => self.next.is_none_or(|next| next.writer == writer),
        }
    }

    /// A right that is held is never shortened.
    fn hold(&mut self, writer: Token, tenant: TenantId, deadline: Millis) {
        let before = self.holder.map_or(0, |holder| holder.deadline);
        self.holder = Some(Holder { writer, tenant, deadline: deadline.max(before) });
    }

    fn reply(&self, writer: Token, tenant: TenantId, now: Millis) -> RightReply {
        let next = self.next.filter(|next| next.writer != writer).map_or(0, |next| next.deadline);
        match self.holder {
            Some(holder) if holder.writer == writer => {
                RightReply::Held { left: holder.deadline.saturating_sub(now), newest: self.newest(tenant) }
            }
            Some(holder) => RightReply::NotHeld(holder.deadline.saturating_sub(now)),
            None => RightReply::NotHeld(next.saturating_sub(now)),
        }
    }
}

/// Whether a right was held without a gap until the store renewed it, over the connection `renewed`. It was taken over
/// `taken`, and the store had confirmed before that it lasts for `left`; `elapsed` is the time since before it was
/// asked that time, on the writer's own clock. After a gap another write may have changed what this one has read, and
/// a late [`RightStep::Take`] may have taken the right again.
pub fn is_continuous(taken: ConnectionId, renewed: ConnectionId, left: Millis, elapsed: Millis) -> bool {
    taken.number == renewed.number && elapsed < left
}

/// Whether a write was decided by a state that is older than the `newest` known. `read` is the version of that state;
/// `None` if the provider shows none there, which tells nothing.
pub fn is_outdated(read: Option<u64>, newest: Option<u64>) -> bool {
    read.zip(newest).is_some_and(|(read, newest)| read < newest)
}

/// Whether a write may be sent that takes at most `needed`. The store has confirmed over `taken`, which was the
/// connection at that time, that its right lasts for `left`; `elapsed` is the time since before it was asked, on the
/// writer's own clock. A store that loses what it has confirmed does so when its connection changes: then somebody else
/// may hold the right. `current` is the connection now.
pub fn may_send(
    taken: ConnectionId,
    current: Option<ConnectionId>,
    left: Millis,
    elapsed: Millis,
    needed: Millis,
) -> bool {
    current.is_some_and(|current| current.number == taken.number) && elapsed.saturating_add(needed) < left
}

#[cfg(test)]
mod tests;
