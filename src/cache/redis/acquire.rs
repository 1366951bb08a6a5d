//! A read begins: what is asked, and what is made of the responses.

use super::entry::{self, Keys, read_reply};
use super::scripts::ACQUIRE;
use super::store::{KnownEpoch, OpenEpoch, RedisStore, STATE_TTL};
use crate::cache::{AcquireRequest, Acquisition};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{Acquired, DEFAULT_TENANT, Generation, Micros, Millis};
use crate::gateway::CacheKey;
use crate::telemetry::{CacheEvent, StoreFailure};
use redis::Value;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How often a reader asks again because the epoch has changed, or to know whether a purge has lifted a deletion.
const MAX_TRIES: usize = 4;

impl RedisStore {
    pub(super) async fn try_acquire(
        &self,
        key: &CacheKey,
        request: AcquireRequest,
    ) -> Result<Acquisition, StoreFailure> {
        let _permits = self.permits.try_acquire_many(2).map_err(|_| StoreFailure::Busy)?;
        let keys = Keys::new(&self.namespace, key);
        let epoch = self.epoch_of(key.upstream);
        let (epoch_key, known) = (epoch.key.as_str(), &epoch.last);
        let token = entry::token(request.reader);
        let steal = request.steal.map(entry::token).unwrap_or_default();
        let (kept, lease) = (STATE_TTL.to_string(), self.lease.load(Ordering::Relaxed).to_string());
        let mode = match request {
            AcquireRequest { fresh: true, .. } => "fresh",
            AcquireRequest { unstored: true, .. } => "unstored",
            AcquireRequest { .. } => "",
        };
        let (caller, tenant, deadline) =
            (entry::caller(&request.caller), entry::caller(&request.tenant), self.read_deadline());
        // Of the own tenant everything stands in the state, but for what a purge may have lifted. Where the keys of a
        // session are on their way to another server, a step on one that does not exist would have to wait.
        let mut with_tenants = request.tenant != DEFAULT_TENANT;
        let (mut moment, mut leased) = (Micros::MAX, false);
        for _ in 0..MAX_TRIES {
            let assumed = match self.last_epoch(&epoch, &token, deadline).await? {
                Ok(seen) => seen,
                Err(purged) => return self.acquire_marked(&keys, &token, &tenant, purged, deadline).await,
            };
            let (generation, purged) = (entry::generation(assumed.generation), entry::purged(assumed.purged));
            let arguments = [token.as_str(), &steal, &generation, &kept, &lease, mode, &caller, &tenant, &purged];
            let names = keys.names(with_tenants);
            let session = self.run(&ACQUIRE, &names, &arguments, deadline);
            let (session, epoch) = tokio::join!(session, self.read_epoch(epoch_key, &token, deadline));
            let ((value, session_link), (epoch, epoch_link)) = (session?, epoch?);
            let connection_id = combined(session_link, epoch_link);
            let Value::BulkString(text) = value else { return Err(StoreFailure::ProtocolError) };
            let open = |entry: &[u8]| {
                self.listener.read(entry.len());
                self.seal.open(&keys.variant, entry, entry::HEAD_LENGTH)
            };
            let reply = read_reply(&text, assumed.generation, open).ok_or(StoreFailure::ProtocolError)?;
            moment = reply.now;
            // Also where the epoch turns out to be marked: a write that changes nothing gives its generation back.
            leased |= mode.is_empty() && matches!(reply.acquired, Acquired::Lead { .. });
            let acquired = match epoch.generation {
                // A deletion hangs on the last purge of the upstream, and not on its generation.
                _ if matches!(reply.acquired, Acquired::Deleted)
                    && (epoch.purged > assumed.purged || (epoch.purged > 0 && !with_tenants)) =>
                {
                    *known.lock() = Some(OpenEpoch { purged: epoch.purged, ..assumed });
                    with_tenants = true;
                    continue;
                }
                _ if matches!(reply.acquired, Acquired::Deleted | Acquired::Bypass) => reply.acquired,
                Some(now) if now == assumed.generation => {
                    if reply.unreadable {
                        self.counters.count(CacheEvent::Unreadable);
                    }
                    reply.acquired
                }
                Some(generation) => {
                    *known.lock() = Some(OpenEpoch { generation, purged: epoch.purged });
                    continue;
                }
                None => Acquired::Bypass,
            };
            if let Acquired::Hit(entry, ..) = &acquired
                && entry.fetched_at() < connection_id.fence
            {
                self.counters.count(CacheEvent::Fenced);
            }
            return Ok(Acquisition { acquired, connection_id, now: reply.now, leased });
        }
        // Writes of the upstream follow one another faster than a read can ask.
        Ok(Acquisition { acquired: Acquired::Bypass, connection_id: ConnectionId::default(), now: moment, leased })
    }

    /// The epoch that was seen last, or what it is now where this is the first read of all; where it is marked, when
    /// the upstream was purged last.
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
        let (epoch, _) = self.read_epoch(&known.key, token, deadline).await?;
        let Some(generation) = epoch.generation else { return Ok(Err(epoch.purged)) };
        let seen = OpenEpoch { generation, purged: epoch.purged };
        *known.last.lock() = Some(seen);
        Ok(Ok(seen))
    }

    /// The same while all that is known of the epoch is that it is marked: nothing is a hit, but what is deleted is.
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

/// What was found over two links holds as long as both do.
fn combined(one: ConnectionId, other: ConnectionId) -> ConnectionId {
    let number = one.number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ other.number;
    ConnectionId { number, fence: one.fence.max(other.fence) }
}
