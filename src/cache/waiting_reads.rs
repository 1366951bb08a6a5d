//! Reads that wait for fetches of other processes.

use crate::coherence::reading::FlightKey;
use crate::gateway::CacheKey;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

pub(super) type WaitKey = (CacheKey, FlightKey);

/// Reads that wait for fetches of other processes. For each fetch one read, the leader, polls the store; the others
/// wait for it.
#[derive(Default)]
pub(super) struct WaitingReads {
    leaders: Mutex<HashMap<WaitKey, watch::Receiver<()>>>,
    pub readers: Arc<()>,
}

/// The leader, which polls the store. Dropping it wakes the reads that wait for it.
pub(super) struct WaitLeader<'a> {
    waiting: &'a WaitingReads,
    pub wait_key: WaitKey,
    _wake: watch::Sender<()>,
}

impl Drop for WaitLeader<'_> {
    fn drop(&mut self) {
        self.waiting.leaders.lock().remove(&self.wait_key);
    }
}

impl WaitingReads {
    /// Becomes the leader for this fetch, or returns a receiver to wait for the leader.
    pub fn lead_or_follow(&self, wait_key: WaitKey) -> Result<WaitLeader<'_>, watch::Receiver<()>> {
        let mut leaders = self.leaders.lock();
        if let Some(woken) = leaders.get(&wait_key) {
            return Err(woken.clone());
        }
        let (wake, woken) = watch::channel(());
        leaders.insert(wait_key, woken);
        Ok(WaitLeader { waiting: self, wait_key, _wake: wake })
    }
}
