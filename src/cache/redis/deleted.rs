//! Which sessions of a list count as deleted. Each session's state may be on a server of its own, so each is asked for by itself,
//! many at the same time.

use super::scripts::DELETED;
use super::{RedisStore, entry};
use crate::coherence::{OWN, Tenant};
use crate::telemetry::StoreFailure;
use redis::Value;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// How many are asked for at the same time, unless the store may have less under way.
const AT_ONCE: usize = 32;

impl RedisStore {
    pub(super) async fn try_deleted(
        &self,
        upstream: u64,
        tenant: &Tenant,
        sessions: &[[u8; 16]],
    ) -> Result<Vec<bool>, StoreFailure> {
        let purged = self.purged(upstream, self.read_by()).await?;
        // As where one session is read.
        let whole = *tenant != OWN || purged > 0;
        let (tenant, purged) = (entry::asker(tenant), entry::purged(purged));
        let mut deleted = Vec::with_capacity(sessions.len());
        for some in sessions.chunks(AT_ONCE.min(self.max_in_flight)) {
            let permits = u32::try_from(some.len()).map_err(|_| StoreFailure::Busy)?;
            let _permits = self.permits.try_acquire_many(permits).map_err(|_| StoreFailure::Busy)?;
            let asked = some.iter().map(|session| self.is_deleted(session, whole, &tenant, &purged)).collect();
            for one in all(asked).await {
                deleted.push(one?);
            }
        }
        Ok(deleted)
    }

    async fn is_deleted(
        &self,
        session: &[u8; 16],
        whole: bool,
        tenant: &str,
        purged: &str,
    ) -> Result<bool, StoreFailure> {
        let state = entry::state(&self.namespace, session);
        let tenants = entry::tenants(&state);
        let keys: &[&str] = if whole { &[&state, &tenants] } else { &[&state] };
        match self.run(&DELETED, keys, &[tenant, purged], self.read_by()).await?.0 {
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            _ => Err(StoreFailure::ProtocolError),
        }
    }
}

/// Something that is waited for, and what came of it.
type Waiting<F> = (Pin<Box<F>>, Option<<F as Future>::Output>);

/// Waits for all at the same time.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<Waiting<F>> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, done) in waiting.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if waiting.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}
