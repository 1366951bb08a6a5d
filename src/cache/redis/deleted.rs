//! Finds the deleted sessions of a list. Each session may be on another server, so each is queried separately, many at
//! a time.

use super::entry;
use super::scripts::DELETED;
use super::store::RedisStore;
use crate::coherence::{DEFAULT_TENANT, TenantId};
use crate::telemetry::StoreFailure;
use futures_util::future::join_all;
use redis::Value;

/// The most concurrent queries, unless the store's own limit is lower.
const CONCURRENT: usize = 32;

impl RedisStore {
    pub(super) async fn try_deleted(
        &self,
        upstream: u64,
        tenant: &TenantId,
        sessions: &[[u8; 16]],
    ) -> Result<Vec<bool>, StoreFailure> {
        let purged = self.purged(upstream, self.read_deadline()).await?;
        // As for a single read.
        let with_tenants = *tenant != DEFAULT_TENANT || purged > 0;
        let (tenant, purged) = (entry::caller(tenant), entry::purged(purged));
        let mut deleted = Vec::with_capacity(sessions.len());
        for some in sessions.chunks(CONCURRENT.min(self.max_in_flight)) {
            let permits = u32::try_from(some.len()).map_err(|_| StoreFailure::Busy)?;
            let _permits = self.permits.try_acquire_many(permits).map_err(|_| StoreFailure::Busy)?;
            let asked = some.iter().map(|session| self.is_deleted(session, with_tenants, &tenant, &purged));
            for one in join_all(asked).await {
                deleted.push(one?);
            }
        }
        Ok(deleted)
    }

    async fn is_deleted(
        &self,
        session: &[u8; 16],
        with_tenants: bool,
        tenant: &str,
        purged: &str,
    ) -> Result<bool, StoreFailure> {
        let state = entry::state(&self.namespace, session);
        let tenants = entry::tenants(&state);
        let keys: &[&str] = if with_tenants { &[&state, &tenants] } else { &[&state] };
        match self.run(&DELETED, keys, &[tenant, purged], self.read_deadline()).await?.0 {
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            _ => Err(StoreFailure::ProtocolError),
        }
    }
}
