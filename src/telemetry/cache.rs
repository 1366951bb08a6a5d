//! Labels of the cache and its store, and what observes a store.

use enum_map::Enum;
use std::time::Duration;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// Something that happened in the cache: the `event` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum CacheEvent {
    /// A read bypassed the cache because a write was in flight.
    BypassMarked,
    /// A read bypassed the cache because the store failed.
    BypassFailed,
    /// A read bypassed the cache because 10,000 reads were already waiting.
    BypassWaiting,
    /// A read took over the lease of a read that did not finish within `lease_wait`.
    LeaseLost,
    /// A cached response from before the connection to the store was fetched again: it may be older than an
    /// invalidation mark that the store lost.
    Fenced,
    /// A cached response could not be decrypted or decoded: it was encrypted with a key that is not in `seal_keys`, or
    /// is corrupt.
    Unreadable,
    /// A response was not stored because it is older than an acknowledged write: the provider returned a lower version
    /// than it had acknowledged.
    TooOld,
    /// A stale response was served while it was fetched again.
    StaleWhileRevalidate,
    /// A stale response was served because the provider failed.
    StaleIfError,
    /// A write was sent without an invalidation mark, because the mark could not be set.
    InvalidationFailed,
    /// A write was rejected because its invalidation mark could not be set.
    WriteRejected,
    /// A write was acknowledged, but the store did not confirm its end: other replicas may serve older data for up to
    /// `ttl`. Also with `reject`, if the store is lost between mark and end.
    Unconfirmed,
    /// A write took longer than its invalidation mark lasted, or the store lost the mark.
    MarkLost,
}

/// What an operator purged: the `purged` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum Purged {
    /// One session.
    Session,
    /// All sessions of an upstream.
    Upstream,
}

/// A step that a store executes: the `step` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum StoreOperation {
    /// Begin a read: find an entry or take the lease.
    Acquire,
    /// Store a response.
    Fill,
    /// Evict an entry, or deny it to one credential.
    Retire,
    /// End a lease.
    Release,
    /// Set a write's invalidation mark.
    Begin,
    /// End a write's invalidation mark.
    End,
    /// Take, renew, give back or end the exclusive right of a session.
    Right,
    /// Look up which sessions of a list are deleted.
    Deleted,
}

/// How a store failed: the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage, thiserror::Error)]
#[strum(serialize_all = "snake_case")]
pub enum StoreFailure {
    /// No connection.
    #[error("the store is not connected")]
    Disconnected,
    /// Too many commands in flight.
    #[error("too many commands in flight")]
    Busy,
    /// No reply in time.
    #[error("the store timed out")]
    Timeout,
    /// The connection broke.
    #[error("the connection to the store broke")]
    Broken,
    /// The server replied with an error.
    #[error("the store returned an error")]
    ServerError,
    /// The keys of a session are migrating between servers of a cluster, and are not all on the same one.
    #[error("the keys are migrating to another server")]
    Moving,
    /// The reply does not follow the protocol.
    #[error("the store returned an invalid response")]
    ProtocolError,
}

/// Why a server of the store rejects the gateway: the `code` label, which is the error code of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "UPPERCASE")]
pub enum StoreRefusal {
    /// Its memory is full, and it evicts nothing.
    Oom,
    /// It is a replica.
    Readonly,
    /// It cannot save to its disk, and rejects writes until it can.
    Misconf,
    /// Fewer replicas are connected than `min-replicas-to-write` demands.
    Noreplicas,
    /// The user lacks a right.
    Noperm,
    /// It demands a login.
    Noauth,
    /// The user name or the password is wrong, or the user is off.
    Wrongpass,
    /// It loads its data.
    Loading,
    /// A script of somebody else blocks it.
    Busy,
    /// It is a replica without its primary.
    Masterdown,
    /// The cluster does not serve all slots.
    Clusterdown,
    /// Another code: the log has it.
    #[strum(serialize = "other")]
    Other,
    /// No reply of the server: network, DNS, TLS, sentinels or a timeout.
    #[strum(serialize = "none")]
    None,
}

impl StoreRefusal {
    /// The label of a code.
    pub fn of(code: &str) -> StoreRefusal {
        let same = |refusal: &&StoreRefusal| <&str>::from(**refusal) == code;
        StoreRefusal::VARIANTS.iter().find(same).copied().unwrap_or(StoreRefusal::Other)
    }
}

/// The direction of bytes between the gateway and the store: the `direction` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum Direction {
    /// From the store.
    Read,
    /// To the store.
    Written,
}

/// Receives the events of a shared store, for metrics.
pub trait StoreObserver: Send + Sync {
    /// A step ended.
    fn step(&self, step: StoreOperation, took: Duration, failure: Option<StoreFailure>);
    /// A connection to a server opened, and a write over it succeeded.
    fn connected(&self);
    /// A connection to a server closed.
    fn disconnected(&self);
    /// An attempt to connect failed.
    fn connect_failed(&self, refusal: StoreRefusal);
    /// An entry of this many bytes was read.
    fn read(&self, bytes: usize);
    /// An entry of this many bytes was written.
    fn written(&self, bytes: usize);
}
