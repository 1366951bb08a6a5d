//! The epoch of an upstream: its generation, and when the upstream was last purged.

use super::entry::{Epoch, read_epoch, read_opened};
use super::scripts::OPEN;
use super::store::{EPOCH_TTL, RedisStore, remaining};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{Millis, NEVER_LIFTED};
use crate::telemetry::StoreFailure;
use redis::Value;
use std::time::Instant;

impl RedisStore {
    /// The current epoch; creates a generation if there is none.
    async fn open_epoch(
        &self,
        key: &str,
        purged: Millis,
        token: &str,
        deadline: Instant,
    ) -> Result<(Epoch, ConnectionId), StoreFailure> {
        let kept = EPOCH_TTL.to_string();
        let (value, connection_id) = self.run(&OPEN, &[key], &[token, &kept], deadline).await?;
        let Value::BulkString(text) = value else { return Err(StoreFailure::ProtocolError) };
        let generation = if text == b"W" { None } else { Some(read_opened(&text).ok_or(StoreFailure::ProtocolError)?) };
        Ok((Epoch { generation, purged }, connection_id))
    }

    pub(super) async fn read_epoch(
        &self,
        key: &str,
        token: &str,
        deadline: Instant,
    ) -> Result<(Epoch, ConnectionId), StoreFailure> {
        let (epoch, connection_id) = self.get_epoch(key, deadline).await?;
        match epoch {
            None => Box::pin(self.open_epoch(key, 0, token, deadline)).await,
            // Only the server knows whether its marks have expired.
            Some(Epoch { generation: None, purged }) => Box::pin(self.open_epoch(key, purged, token, deadline)).await,
            Some(epoch) => Ok((epoch, connection_id)),
        }
    }

    /// Reads the epoch's stored state.
    async fn get_epoch(&self, key: &str, deadline: Instant) -> Result<(Option<Epoch>, ConnectionId), StoreFailure> {
        let command = redis::cmd("GET").arg(key).to_owned();
        let (value, connection_id) = self.route.execute(key, &command, remaining(deadline)).await?;
        match &value {
            Value::Nil => Ok((None, connection_id)),
            Value::BulkString(text) => Ok((Some(read_epoch(text).ok_or(StoreFailure::ProtocolError)?), connection_id)),
            _ => Err(StoreFailure::ProtocolError),
        }
    }

    /// When the upstream was last purged.
    pub(super) async fn purged(&self, scope: u64, deadline: Instant) -> Result<Millis, StoreFailure> {
        let (epoch, _) = self.get_epoch(&self.epoch_of(scope).key, deadline).await?;
        Ok(epoch.map_or(0, |epoch| epoch.purged))
    }

    /// The same for a deletion that must be recorded in any case. If the epoch cannot be read, no purge of the upstream
    /// will lift the deletion.
    pub(super) async fn purged_before(&self, scope: u64, deadline: Instant) -> Millis {
        self.purged(scope, deadline).await.unwrap_or(NEVER_LIFTED)
    }
}
