//! The store in Redis, or in a server that speaks its protocol, shared by all replicas. Its servers run the scripts
//! that execute the steps of [`crate::coherence`], over connections that background tasks keep up.
//!
//! A step is one round trip. A session's state and responses share one hash tag; the epoch of its upstream has another
//! one and is read at the same time. So a read sends the last epoch that it knows, and repeats the step in the rare
//! case that the epoch has changed.

mod acquire;
mod announce;
mod connect;
mod deleted;
mod entry;
mod epoch;
mod node;
mod outage;
mod right;
mod route;
mod scripts;
mod seal;
mod server;
mod store;
mod trial;

pub use connect::SetupError;
pub use store::RedisStore;
pub use trial::{Evicts, ServerTrial, try_servers};

use super::{AcquireRequest, Acquisition, FillResult, Scope, Store, StoreError, StoreOutage, StoreUsage, Stored};
use crate::coherence::exclusive::{RightReply, RightStep};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{
    DEFAULT_TENANT, Entry, FLOOR_KEPT, MAX_DENIED, MAX_SESSION_WRITES, MAX_TENANTS, MAX_UPSTREAM_WRITES, Millis,
    NEVER_LIFTED, RetireCause, Retired, Settled, TenantId, Token, WriteEnd, WriteScope,
};
use crate::gateway::CacheKey;
use crate::telemetry::{StoreFailure, StoreOperation};
use async_trait::async_trait;
use entry::Keys;
use redis::Value;
use scripts::{BEGIN, END, FILL, RELEASE, RETIRE};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use store::{EPOCH_TTL, STATE_TTL, remaining};

impl RedisStore {
    async fn try_fill(
        &self,
        key: &CacheKey,
        reader: Token,
        entry: &Entry<Stored>,
        kept: Millis,
    ) -> Result<FillResult, StoreFailure> {
        let keys = Keys::new(&self.namespace, key);
        let mut text = entry::head(entry, self.seal.digest(entry.digest));
        self.seal.seal(&keys.variant, &mut text, &entry.response);
        self.listener.written(text.len());
        let names = [keys.state.as_str(), &keys.variant];
        let (reader, kept) = (entry::token(reader), kept.to_string());
        let missing = if entry.missing { "missing" } else { "" };
        let command = FILL.run(&names, &[reader.as_bytes(), &text, kept.as_bytes(), missing.as_bytes()]);
        match self.route.execute(&keys.state, &command, remaining(self.write_deadline())).await?.0 {
            Value::Int(0 | 1) => Ok(FillResult::Fetched),
            Value::BulkString(instead) => {
                self.listener.read(instead.len());
                let opened = self.seal.open(&keys.variant, &instead, entry::HEAD_LENGTH);
                Ok(opened.map_or(FillResult::Unreadable, |response| FillResult::Stored(Arc::new(response))))
            }
            _ => Err(StoreFailure::ProtocolError),
        }
    }

    async fn try_retire(&self, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreFailure> {
        let keys = Keys::new(&self.namespace, key);
        let (reader, kept, most) = (entry::token(reader), retired.kept.to_string(), MAX_DENIED.to_string());
        let (denied, observed) = match retired.cause {
            RetireCause::Invalidated => (String::new(), None),
            RetireCause::Denied(caller) => (entry::caller(&caller), None),
            RetireCause::Superseded(seen) => {
                (String::new(), Some(entry::observed(&seen, self.seal.digest(seen.digest))))
            }
        };
        let mut arguments = vec![reader.as_str(), &kept, &denied, &most];
        arguments.extend(observed.iter().flatten().map(String::as_str));
        self.run(&RETIRE, &[&keys.variant], &arguments, self.write_deadline()).await.map(drop)
    }

    async fn try_begin(
        &self,
        scope: Scope,
        writer: Token,
        guard: Millis,
        write_scope: WriteScope,
    ) -> Result<ConnectionId, StoreError> {
        let (most, beyond) = match write_scope {
            WriteScope::Session => (MAX_SESSION_WRITES, "refuse"),
            WriteScope::Unverified => (MAX_SESSION_WRITES, "crowd"),
            WriteScope::Upstream => (MAX_UPSTREAM_WRITES, "crowd"),
        };
        let kept = kept(scope);
        let key = self.state_key(scope);
        let (writer, guard, most, kept) = (entry::token(writer), guard.to_string(), most.to_string(), kept.to_string());
        let arguments = [writer.as_str(), &guard, &most, beyond, &kept];
        match self.run(&BEGIN, &[&key], &arguments, self.write_deadline()).await? {
            (Value::Int(1), connection_id) => Ok(connection_id),
            (Value::Int(0), _) => Err(StoreError::TooManyWrites),
            _ => Err(StoreFailure::ProtocolError.into()),
        }
    }

    async fn try_end(&self, scope: Scope, writer: Token, settled: Settled) -> Result<WriteEnd, StoreError> {
        let (Scope::Session(upstream, _), Some(_)) = (scope, settled.deleted_for) else {
            return Ok(self.end_under(scope, writer, settled, 0).await?);
        };
        // The epoch may be on another server; if that one hangs, this step still has its own time.
        let asked = || self.purged_before(upstream, Instant::now() + self.timeouts.write / 2);
        // This process's copy may be outdated. A step that is lost may still be executed and end the mark, so the first
        // attempt must already record a deletion that no earlier purge lifts.
        let mut purged = asked().await;
        let ended = self.end_under(scope, writer, settled, purged).await?;
        // A purge that ended before the deletion was recorded must not lift it.
        for _ in 0..MAX_PURGES {
            let last = if purged < NEVER_LIFTED { asked().await } else { purged };
            if last <= purged {
                break;
            }
            purged = last;
            self.end_under(scope, writer, settled, purged).await.map_err(StoreError::Partial)?;
        }
        Ok(ended)
    }

    /// Ends a write. Its deletion is lifted by purges of the upstream after `purged`.
    async fn end_under(
        &self,
        scope: Scope,
        writer: Token,
        settled: Settled,
        purged: Millis,
    ) -> Result<WriteEnd, StoreFailure> {
        let key = self.state_key(scope);
        // Most writes change nothing in the tenants' key.
        let own = settled.tenant == DEFAULT_TENANT;
        let says = settled.lifted || settled.deleted_for.is_some() || (settled.version.is_some() && !own);
        let tenants = matches!(scope, Scope::Session(..)).then(|| entry::tenants(&key)).filter(|_| says);
        let keys: Vec<&str> = [Some(&key), tenants.as_ref()].into_iter().flatten().map(String::as_str).collect();
        let unchanged = if settled.unchanged { "unchanged" } else { "" };
        let floor = format!("{:020}", settled.version.unwrap_or_default());
        let (writer, deleted, kept) = (entry::token(writer), deleted(scope, settled), kept(scope).to_string());
        let (tenant, purged) = (entry::caller(&settled.tenant), entry::purged(purged));
        let (floor_kept, most) = (FLOOR_KEPT.to_string(), MAX_TENANTS.to_string());
        let arguments = [writer.as_str(), &floor, unchanged, &deleted, &kept, &tenant, &purged, &floor_kept, &most];
        let ended = match self.run(&END, &keys, &arguments, self.write_deadline()).await {
            // While the slot migrates, a step cannot use a key that does not exist yet. The state records the default
            // tenant's deletion too; for other tenants the mark stays until theirs can be recorded.
            Err(StoreFailure::Moving) if own && !settled.lifted => {
                self.run(&END, &[&key], &arguments, self.write_deadline()).await?
            }
            ended => ended?,
        };
        match ended.0 {
            Value::Int(0) => Ok(WriteEnd::OthersInFlight),
            Value::Int(1) => Ok(WriteEnd::Reopened),
            Value::Int(2) => Ok(WriteEnd::MarkLost),
            _ => Err(StoreFailure::ProtocolError),
        }
    }
}

/// The most purges that may occur while a deletion is recorded.
const MAX_PURGES: usize = 8;

/// TTL of the state of a scope.
fn kept(scope: Scope) -> Millis {
    match scope {
        Scope::Session(..) => STATE_TTL,
        Scope::Upstream(_) => EPOCH_TTL,
    }
}

/// How long the session counts as deleted, as the script expects it.
fn deleted(scope: Scope, settled: Settled) -> String {
    match scope {
        Scope::Session(..) if settled.lifted => "lifted".to_owned(),
        Scope::Upstream(_) if settled.lifted => "purged".to_owned(),
        Scope::Session(..) | Scope::Upstream(_) => settled.deleted_for.unwrap_or_default().to_string(),
    }
}

#[async_trait]
impl Store for RedisStore {
    fn token(&self) -> Token {
        // A counter mixed by SplitMix64: each token is unique.
        let mixed = |number: u64| {
            let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            number ^ (number >> 31)
        };
        let tokens_drawn = self.tokens_drawn.fetch_add(1, Ordering::Relaxed);
        let token = mixed(self.seed.wrapping_add(tokens_drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        // Zero is the shared mark of unverified writes.
        Token(u128::from(token.max(1)))
    }

    async fn acquire(&self, key: &CacheKey, request: AcquireRequest) -> Result<Acquisition, StoreError> {
        self.observed(StoreOperation::Acquire, self.try_acquire(key, request)).await
    }

    async fn fill(
        &self,
        key: &CacheKey,
        reader: Token,
        entry: Entry<Stored>,
        kept: Millis,
    ) -> Result<FillResult, StoreError> {
        self.observed(StoreOperation::Fill, self.try_fill(key, reader, &entry, kept)).await
    }

    async fn retire(&self, key: &CacheKey, reader: Token, retired: Retired) -> Result<(), StoreError> {
        self.observed(StoreOperation::Retire, self.try_retire(key, reader, retired)).await
    }

    async fn release(&self, key: &CacheKey, reader: Token) -> Result<(), StoreError> {
        let keys = Keys::new(&self.namespace, key);
        let own = entry::token(reader);
        let released = async { self.run(&RELEASE, &[&keys.variant], &[&own], self.write_deadline()).await.map(drop) };
        self.observed(StoreOperation::Release, released).await
    }

    async fn begin(
        &self,
        scope: Scope,
        writer: Token,
        guard: Millis,
        write_scope: WriteScope,
    ) -> Result<ConnectionId, StoreError> {
        self.observed(StoreOperation::Begin, self.try_begin(scope, writer, guard, write_scope)).await
    }

    async fn end(&self, scope: Scope, writer: Token, settled: Settled) -> Result<WriteEnd, StoreError> {
        self.observed(StoreOperation::End, self.try_end(scope, writer, settled)).await
    }

    async fn right(
        &self,
        _: u64,
        session: &[u8; 16],
        writer: Token,
        step: RightStep,
    ) -> Result<(RightReply, ConnectionId), StoreError> {
        self.observed(StoreOperation::Right, self.try_right(session, writer, step)).await
    }

    async fn rights_count_in(&self, session: &[u8; 16], after: Duration) -> Duration {
        // A store that starts empty knows no older replica at first.
        let after = after.max(announce::ANNOUNCED_AGAIN);
        match self.route.server(&entry::state(&self.namespace, session)) {
            Some((server, owned)) => server.rights_count_in(owned, after).await,
            None => after,
        }
    }

    async fn has_older_replica(&self) -> Result<bool, StoreError> {
        self.observed(StoreOperation::Right, self.try_has_older_replica()).await
    }

    async fn deleted(&self, upstream: u64, tenant: &TenantId, sessions: &[[u8; 16]]) -> Result<Vec<bool>, StoreError> {
        self.observed(StoreOperation::Deleted, self.try_deleted(upstream, tenant, sessions)).await
    }

    fn connection_id(&self, scope: Scope) -> Option<ConnectionId> {
        self.route.connection_id(&self.state_key(scope))
    }

    fn outage(&self, scope: Scope) -> Option<StoreOutage> {
        self.route.outage(&self.state_key(scope))
    }

    fn usage(&self) -> StoreUsage {
        StoreUsage::default()
    }
}
