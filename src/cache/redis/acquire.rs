//! Begins a read: reads the session's state and the upstream's epoch, and combines them.

use super::entry::{self, AcquireReply, Epoch, Keys, read_reply};
use super::scripts::ACQUIRE;
use super::store::{KnownEpoch, OpenEpoch, RedisStore, STATE_TTL};
use crate::cache::{AcquireRequest, Acquisition};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{Acquired, DEFAULT_TENANT, Generation, Micros, Millis};
use crate::gateway::{CacheKey, ProviderResponse};
use crate::telemetry::{CacheEvent, StoreFailure};
use redis::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The most attempts of a read if the epoch changes, or if a purge may have lifted a deletion.
const MAX_TRIES: usize = 4;

impl RedisStore {
    pub(super) async fn try_acquire(
        &self,
        key: &CacheKey,
        request: AcquireRequest,
    ) -> Result<Acquisition, StoreFailure> {
        let _permits = self.permits.try_acquire_many(2).map_err(|_| StoreFailure::Busy)?;
        let keys = Keys::new(&self.namespace, key);
        let known_epoch = self.epoch_of(key.upstream);
        let token = entry::token(request.reader);
        let steal = request.steal.map(entry::token).unwrap_or_default();
        let (kept, lease) = (STATE_TTL.to_string(), self.lease.load(Ordering::Relaxed).to_string());
        let mode = mode(request);
        let (caller, tenant, deadline) =
            (entry::caller(&request.caller), entry::caller(&request.tenant), self.read_deadline());
        // The state has everything of the default tenant, except whether a purge lifted a deletion. While the keys of a
        // session migrate to another server, a step on a missing key would have to wait, so the tenants' key is left
        // out.
        let mut with_tenants = request.tenant != DEFAULT_TENANT;
        let (mut moment, mut leased) = (Micros::MAX, false);
        for _ in 0..MAX_TRIES {
            let assumed = match self.last_epoch(&known_epoch, &token, deadline).await? {
                Ok(seen) => seen,
                // Boxed, as what else is rare, so that the future of a hit stays small.
                Err(purged) => {
                    return Box::pin(self.acquire_marked(&keys, &token, &tenant, purged, deadline)).await;
                }
            };
            let (generation, purged) = (entry::generation(assumed.generation), entry::purged(assumed.purged));
            let arguments = [token.as_str(), &steal, &generation, &kept, &lease, mode, &caller, &tenant, &purged];
            let names = keys.names(with_tenants);
            let (session, epoch) = tokio::join!(
                self.run(&ACQUIRE, &names, &arguments, deadline),
                self.read_epoch(&known_epoch.key, &token, deadline)
            );
            let ((value, session_link), (epoch, epoch_link)) = (session?, epoch?);
            let connection_id = combined(session_link, epoch_link);
            let AcquireReply { now, acquired, unreadable } = self.reply(value, assumed.generation, &keys)?;
            moment = now;
            // Even if the epoch is marked: a write that changes nothing restores its generation.
            leased |= mode.is_empty() && matches!(acquired, Acquired::Lead { .. });
            let acquired = match under_epoch(acquired, assumed, &epoch, with_tenants) {
                Ok(acquired) => acquired,
                Err(now) => {
                    // A deletion under a purge that is later than assumed: the tenants say whether the purge lifted it.
                    with_tenants |= now.generation == assumed.generation;
                    *known_epoch.last.lock() = Some(now);
                    continue;
                }
            };
            self.count_found(&acquired, unreadable, connection_id);
            return Ok(Acquisition { acquired, connection_id, now, leased });
        }
        // The upstream is written faster than the read can retry.
        Ok(Acquisition { acquired: Acquired::Bypass, connection_id: ConnectionId::default(), now: moment, leased })
    }

    /// Parses the reply of the script, and decrypts its entry.
    fn reply(&self, value: Value, epoch: Generation, keys: &Keys) -> Result<AcquireReply, StoreFailure> {
        let Value::BulkString(text) = value else { return Err(StoreFailure::ProtocolError) };
        let open = |entry: &[u8]| {
            self.listener.read(entry.len());
            self.seal.open(&keys.variant, entry, entry::HEAD_LENGTH)
        };
        read_reply(&text, epoch, open).ok_or(StoreFailure::ProtocolError)
    }

    fn count_found(&self, found: &Acquired<Arc<ProviderResponse>>, unreadable: bool, connection_id: ConnectionId) {
        if unreadable && !matches!(found, Acquired::Deleted | Acquired::Bypass) {
            self.counters.count(CacheEvent::Unreadable);
        }
        if let Acquired::Hit(entry, ..) = found
            && entry.fetched_at() < connection_id.fence
        {
            self.counters.count(CacheEvent::Fenced);
        }
    }

    /// The last known epoch, or the current one on the first read. If it is marked: when the upstream was last purged.
    async fn last_epoch(
        &self,
        known: &KnownEpoch,
        token: &str,
        deadline: Instant,
    ) -> Result<Result<OpenEpoch, Millis>, StoreFailure> {
        let last = *known.last.lock();
        if let Some(seen) = last {
            return Ok(Ok(seen));
        }
        let (epoch, _) = Box::pin(self.read_epoch(&known.key, token, deadline)).await?;
        let Some(generation) = epoch.generation else { return Ok(Err(epoch.purged)) };
        let seen = OpenEpoch { generation, purged: epoch.purged };
        *known.last.lock() = Some(seen);
        Ok(Ok(seen))
    }

    /// Begins a read while the epoch is marked: nothing is a hit, but a deleted session is.
    async fn acquire_marked(
        &self,
        keys: &Keys,
        token: &str,
        tenant: &str,
        purged: Millis,
        deadline: Instant,
    ) -> Result<Acquisition, StoreFailure> {
        let (none, kept) = (Generation(0), STATE_TTL.to_string());
        let with_tenants = tenant != entry::caller(&DEFAULT_TENANT) || purged > 0;
        let (generation, purged) = (entry::generation(none), entry::purged(purged));
        let arguments = [token, "", &generation, &kept, "0", "fresh", "", tenant, &purged];
        let names = keys.names(with_tenants);
        let (value, connection_id) = self.run(&ACQUIRE, &names, &arguments, deadline).await?;
        let Value::BulkString(text) = value else { return Err(StoreFailure::ProtocolError) };
        let reply = read_reply(&text, none, |_| None).ok_or(StoreFailure::ProtocolError)?;
        let deleted = matches!(reply.acquired, Acquired::Deleted);
        let acquired = if deleted { Acquired::Deleted } else { Acquired::Bypass };
        Ok(Acquisition { acquired, connection_id, now: reply.now, leased: false })
    }
}

/// The script's word for how a read uses the cache.
fn mode(request: AcquireRequest) -> &'static str {
    match request {
        AcquireRequest { fresh: true, .. } => "fresh",
        AcquireRequest { no_store: true, .. } => "unstored",
        AcquireRequest { .. } => "",
    }
}

/// What a read found, if the epoch is the assumed one or does not matter; otherwise the epoch to try again with.
fn under_epoch(
    acquired: Acquired<Arc<ProviderResponse>>,
    assumed: OpenEpoch,
    epoch: &Epoch,
    with_tenants: bool,
) -> Result<Acquired<Arc<ProviderResponse>>, OpenEpoch> {
    match epoch.generation {
        // A deletion depends on the upstream's last purge, not on its generation.
        _ if matches!(acquired, Acquired::Deleted)
            && (epoch.purged > assumed.purged || (epoch.purged > 0 && !with_tenants)) =>
        {
            Err(OpenEpoch { purged: epoch.purged, ..assumed })
        }
        _ if matches!(acquired, Acquired::Deleted | Acquired::Bypass) => Ok(acquired),
        Some(now) if now == assumed.generation => Ok(acquired),
        Some(generation) => Err(OpenEpoch { generation, purged: epoch.purged }),
        None => Ok(Acquired::Bypass),
    }
}

/// Combines two connections: a result over both is valid as long as both are.
fn combined(one: ConnectionId, other: ConnectionId) -> ConnectionId {
    let number = one.number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ other.number;
    ConnectionId { number, fence: one.fence.max(other.fence) }
}
