//! Announces each replica's version of the store protocol to the others.

use super::store::RedisStore;

/// The version of the store protocol: the layout of keys and the scripts.
const PROTOCOL: u32 = 2;
/// TTL of an announcement, in milliseconds.
const ANNOUNCED: u64 = 30_000;

impl RedisStore {
    /// Announces a replica of this version. Returns whether the store confirmed it.
    pub async fn announce(&self) -> bool {
        let key = format!("{}1:protocol:{PROTOCOL}", self.namespace);
        let mut command = redis::cmd("SET");
        command.arg(&key).arg(PROTOCOL).arg("PX").arg(ANNOUNCED);
        self.route.execute(&key, &command, self.timeouts.write).await.is_ok()
    }
}
