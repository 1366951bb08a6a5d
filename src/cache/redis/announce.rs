//! What replicas tell each other of themselves: the version of the protocol that they speak with the store.

use super::store::RedisStore;

/// The version of the protocol: of what stands in the store, and of what is done with it.
const PROTOCOL: u32 = 2;
/// For how long a replica counts as there, in milliseconds.
const ANNOUNCED: u64 = 30_000;

impl RedisStore {
    /// Says that there is a replica of this version. Whether the store has heard it.
    pub async fn announce(&self) -> bool {
        let key = format!("{}1:protocol:{PROTOCOL}", self.namespace);
        let mut command = redis::cmd("SET");
        command.arg(&key).arg(PROTOCOL).arg("PX").arg(ANNOUNCED);
        self.route.execute(&key, &command, self.timeouts.write).await.is_ok()
    }
}
