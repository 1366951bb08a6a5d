//! Memory that was given up goes back to the system.
//!
//! The allocator looks for pages that are free only while memory is taken from it, and each thread has pages of its own. So without
//! requests it would keep for minutes what a burst of them has left.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How much has to be free that was held before, in bytes, for a sweep to be worth its time.
const WORTH: usize = 4 << 20;
/// How many sweeps there are: some of what is held no more is free only a little later.
const SWEEPS: usize = 3;
/// How long a sweep looks for threads that it has not reached.
const SEARCH: Duration = Duration::from_millis(20);
/// More than there is of addresses, and no more than the allocator asks the system for.
const TOO_MUCH: usize = (usize::MAX >> 16).saturating_sub(1 << 20);

/// When to sweep. Asked regularly, so that no sweep follows another at once.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The most that was held since the last time that there was a reason to sweep, in bytes.
    high: usize,
    left: usize,
}

impl Sweep {
    /// So many bytes are held.
    pub fn held(&mut self, held: usize) {
        self.high = self.high.max(held);
    }

    /// Whether to sweep now.
    pub fn is_due(&mut self, held: usize) -> bool {
        self.held(held);
        if self.high - held >= WORTH {
            (self.high, self.left) = (held, SWEEPS);
        }
        let due = self.left > 0;
        self.left = self.left.saturating_sub(1);
        due
    }

    /// The last sweep has not reached all.
    pub fn again(&mut self) {
        self.left = self.left.max(1);
    }
}

/// Sweeps what the allocator keeps for each thread of the tokio runtime that this is called in, and says whether it has reached all
/// of them. Nothing says which thread a task runs on: so there is one for each, and they move about until all threads were met.
pub async fn sweep_all() -> bool {
    let threads = Handle::current().metrics().num_workers();
    let met = Arc::new(Mutex::new(HashSet::new()));
    let until = Instant::now() + SEARCH;
    let tasks: Vec<_> = (0..threads).map(|_| tokio::spawn(meet(met.clone(), threads, until))).collect();
    for task in tasks {
        // It ends early only with the runtime.
        let _ = task.await;
    }
    met.lock().len() >= threads
}

/// Sweeps each thread that this comes to and that was not met before.
async fn meet(met: Arc<Mutex<HashSet<ThreadId>>>, threads: usize, until: Instant) {
    loop {
        let is_new = met.lock().insert(thread::current().id());
        if is_new {
            sweep();
        }
        if met.lock().len() >= threads || Instant::now() >= until {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Has the allocator give back what is free of this thread's. Where mimalloc gets no memory it first does that, and all of it: what
/// it does now and then by itself leaves the free parts of pieces that are in use.
fn sweep() {
    let mut none = Vec::<u8>::new();
    let _ = black_box(none.try_reserve_exact(TOO_MUCH));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    #[test]
    fn some_sweeps_are_due_when_much_was_given_up() {
        let mut sweep = Sweep::default();
        assert!(!sweep.is_due(0), "nothing was held");
        sweep.held(50 * MB);
        assert!(!sweep.is_due(50 * MB), "it is held still");
        assert!(!sweep.is_due(47 * MB), "little is free");
        let due = [(); 4].map(|()| sweep.is_due(MB));
        assert_eq!(due, [true, true, true, false]);
        sweep.again();
        assert_eq!([(); 2].map(|()| sweep.is_due(MB)), [true, false]);
    }

    #[test]
    fn what_is_given_up_little_by_little_is_swept_too() {
        let mut sweep = Sweep::default();
        sweep.held(9 * MB);
        let due = (0..9).rev().map(|held| sweep.is_due(held * MB));
        assert_eq!(due.filter(|due| *due).count(), 5);
    }

    #[test]
    fn what_came_and_went_between_two_looks_is_noticed() {
        let mut sweep = Sweep::default();
        sweep.held(9 * MB);
        sweep.held(MB);
        assert!(sweep.is_due(MB));
    }

    #[test]
    fn a_sweep_reaches_all_threads() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        // On a busy machine not all have their turn soon.
        runtime.block_on(async { while !sweep_all().await {} });
    }
}
