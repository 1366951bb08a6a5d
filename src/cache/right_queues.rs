//! The queues of the writes of this process that need the exclusive right of a session.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most writes that hold the right of a session or wait for it, in this process.
const MAX_PRESENT: usize = 64;

/// A session of an upstream.
pub type SessionName = (u64, [u8; 16]);

/// A queue for each session with a write that holds its right or waits for it.
#[derive(Debug, Default)]
pub(super) struct RightQueues {
    by_session: Mutex<HashMap<SessionName, Queue>>,
}

#[derive(Debug)]
struct Queue {
    /// Fair: the permit goes to the write that has waited longest.
    turn: Arc<Semaphore>,
    present: usize,
}

/// The first place in a queue, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// Whether others were there first.
    pub waited: bool,
    _turn: OwnedSemaphorePermit,
    _presence: Presence,
}

/// Counts a write in a queue.
#[derive(Debug)]
struct Presence {
    queues: Arc<RightQueues>,
    name: SessionName,
}

impl RightQueues {
    /// Joins the queue of a session; the future waits for the first place. `None` if the queue is full.
    pub fn enter(self: &Arc<RightQueues>, name: SessionName) -> Option<impl Future<Output = Place> + use<>> {
        let mut by_session = self.by_session.lock();
        let new = || Queue { turn: Arc::new(Semaphore::new(1)), present: 0 };
        let queue = by_session.entry(name).or_insert_with(new);
        if queue.present >= MAX_PRESENT {
            return None;
        }
        let waited = queue.present > 0;
        queue.present += 1;
        let (turn, presence) = (queue.turn.clone(), Presence { queues: self.clone(), name });
        Some(async move {
            loop {
                // The semaphore is never closed.
                if let Ok(turn) = turn.clone().acquire_owned().await {
                    return Place { waited, _turn: turn, _presence: presence };
                }
            }
        })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut by_session = self.queues.by_session.lock();
        if let Some(queue) = by_session.get_mut(&self.name) {
            queue.present -= 1;
            if queue.present == 0 {
                by_session.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn writes_queue_in_order_and_in_bounded_number() {
        let (queues, name) = (Arc::new(RightQueues::default()), (1, [0; 16]));
        let first = queues.enter(name).unwrap().await;
        assert!(!first.waited);
        let mut waiting: Vec<_> = (1..MAX_PRESENT).map(|_| Box::pin(queues.enter(name).unwrap())).collect();
        assert!(waiting.iter_mut().all(|place| place.now_or_never().is_none()));
        assert!(queues.enter(name).is_none(), "the queue is full");
        assert!(!queues.enter((2, [0; 16])).unwrap().await.waited, "that of another session is empty");
        drop((waiting.remove(0), first));
        let mut third = waiting.remove(1);
        let second = waiting.remove(0).now_or_never().unwrap();
        assert!(second.waited && third.as_mut().now_or_never().is_none());
        drop(second);
        assert!(third.now_or_never().is_some());
        drop(waiting);
        assert!(queues.by_session.lock().is_empty());
    }
}
