//! Announces each replica's version of the store protocol to the others, and sees which older versions they have.

use super::store::{RedisStore, SeenFleet};
use crate::telemetry::StoreFailure;
use redis::Value;
use std::time::{Duration, Instant};

/// The version of the store protocol: the layout of keys and the scripts.
const PROTOCOL: u32 = 3;
/// The versions before it that announce themselves, and that take no exclusive rights.
const OLDER: [u32; 2] = [1, 2];
/// TTL of an announcement, in milliseconds.
const ANNOUNCED: u64 = 30_000;
/// After so long, replicas have announced themselves to a store that has started empty.
pub(super) const ANNOUNCED_AGAIN: Duration = Duration::from_secs(15);
/// How long it is remembered which versions there are.
const SEEN: Duration = Duration::from_secs(1);

impl RedisStore {
    /// Announces a replica of this version. Returns whether the store confirmed it.
    pub async fn announce(&self) -> bool {
        let key = self.announcement(PROTOCOL);
        let mut command = redis::cmd("SET");
        command.arg(&key).arg(PROTOCOL).arg("PX").arg(ANNOUNCED);
        self.route.execute(&key, &command, self.timeouts.write).await.is_ok()
    }

    /// Whether a replica announces an older version.
    pub(super) async fn try_has_older_replica(&self) -> Result<bool, StoreFailure> {
        let seen = *self.fleet.lock();
        if let Some(seen) = seen.filter(|seen| seen.at.elapsed() < SEEN) {
            return Ok(seen.older);
        }
        let (at, mut older) = (Instant::now(), false);
        for version in OLDER {
            let key = self.announcement(version);
            let command = redis::cmd("GET").arg(&key).to_owned();
            let (value, _) = self.route.execute(&key, &command, self.timeouts.read).await?;
            older |= value != Value::Nil;
        }
        let before = self.fleet.lock().replace(SeenFleet { older, at }).is_some_and(|before| before.older);
        match (before, older) {
            (false, true) => {
                tracing::warn!("a replica of an older version is running; writes of owned keys are rejected")
            }
            (true, false) => tracing::info!("no replica of an older version is running any more"),
            (false, false) | (true, true) => {}
        }
        Ok(older)
    }

    fn announcement(&self, version: u32) -> String {
        format!("{}1:protocol:{version}", self.namespace)
    }
}
