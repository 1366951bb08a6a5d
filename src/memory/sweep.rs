//! Memory that was given up goes back to the system.
//!
//! The allocator looks for pages that are free only while memory is taken from it, and each thread has pages of its
//! own. So without requests it would keep for minutes what a burst of them has left.

use super::Level;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

/// How much has to be free that was held before, in bytes, for a sweep to be worth its time.
const MIN_FREED: usize = 4 << 20;
/// The same for sweeps that follow each other with each turn.
const LARGE_FREED: usize = 32 << 20;
/// After how many turns there may be another sweep otherwise.
const TICKS_BETWEEN: usize = 4;
/// How many sweeps there are: some of what is held no more is free only a little later.
const SWEEPS: usize = 3;
/// How long a sweep looks for threads that it has not reached.
const SEARCH_TIME: Duration = Duration::from_millis(20);
/// More than there is of addresses, and no more than the allocator asks the system for.
const IMPOSSIBLE_SIZE: usize = (usize::MAX >> 16).saturating_sub(1 << 20);

/// When to sweep. It has its turn regularly, so that no sweep follows another at once.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The most that was held since the last time that there was a reason to sweep, in bytes.
    peak: usize,
    left: usize,
    /// How many turns there are between two of those that are left, and to the next.
    interval: usize,
    wait: usize,
    /// Says of the sweep that runs whether it has reached all.
    running: Option<Receiver<bool>>,
}

impl Sweep {
    /// So many bytes are held.
    pub fn observe(&mut self, observe: usize) {
        self.peak = self.peak.max(observe);
    }

    /// Sweeps, where it is time to, in a task of its own: nobody waits for it, and it waits for none that still runs.
    /// So many bytes are held, which is this level: where that is much there is something better to do.
    pub fn tick(&mut self, observe: usize, level: Level) {
        self.observe(observe);
        match self.running.as_mut().map(|running| running.try_recv()) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(false)) => self.repeat(),
            Some(Ok(true) | Err(TryRecvError::Closed)) | None => {}
        }
        self.running = None;
        if level == Level::Normal && self.is_due(observe) {
            let (done, running) = oneshot::channel();
            self.running = Some(running);
            tokio::spawn(async move { done.send(sweep_all().await) });
        }
    }

    /// Whether to sweep now.
    fn is_due(&mut self, observe: usize) -> bool {
        self.observe(observe);
        let fell = self.peak - observe;
        self.wait = self.wait.saturating_sub(1);
        if fell >= LARGE_FREED {
            (self.peak, self.left, self.interval, self.wait) = (observe, SWEEPS, 1, 0);
        } else if fell >= MIN_FREED && self.wait == 0 {
            (self.peak, self.left, self.interval) = (observe, SWEEPS, TICKS_BETWEEN);
        }
        let due = self.left > 0 && self.wait == 0;
        if due {
            self.left -= 1;
            self.wait = self.interval;
        }
        due
    }

    /// The last sweep has not reached all.
    fn repeat(&mut self) {
        self.left = self.left.max(1);
    }
}

/// Sweeps what the allocator keeps for each thread of the tokio runtime that this is called in, and says whether it has
/// reached all of them. Nothing says which thread a task runs on: so there is one for each, and they move about until
/// all threads were met.
async fn sweep_all() -> bool {
    let threads = Handle::current().metrics().num_workers();
    let swept = Arc::new(Mutex::new(HashSet::new()));
    let until = Instant::now() + SEARCH_TIME;
    let tasks: Vec<_> = (0..threads).map(|_| tokio::spawn(sweep_threads(swept.clone(), threads, until))).collect();
    for task in tasks {
        // It ends early only with the runtime.
        let _ = task.await;
    }
    swept.lock().len() >= threads
}

/// Sweeps each thread that this comes to and that was not met before.
async fn sweep_threads(swept: Arc<Mutex<HashSet<ThreadId>>>, threads: usize, until: Instant) {
    loop {
        let is_new = swept.lock().insert(thread::current().id());
        if is_new {
            sweep();
        }
        if swept.lock().len() >= threads || Instant::now() >= until {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Has the allocator give back what is free of this thread's. Where mimalloc gets no memory it first does that, and all
/// of it: what it does now and then by itself leaves the free parts of pieces that are in use.
fn sweep() {
    let mut none = Vec::<u8>::new();
    let _ = black_box(none.try_reserve_exact(IMPOSSIBLE_SIZE));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    /// On which of so many turns a sweep is due.
    fn due(sweep: &mut Sweep, ticks: usize, observe: impl Fn(usize) -> usize) -> Vec<usize> {
        (0..ticks).filter(|tick| sweep.is_due(observe(*tick))).collect()
    }

    #[test]
    fn some_sweeps_are_due_when_much_was_given_up() {
        let mut sweep = Sweep::default();
        assert!(!sweep.is_due(0), "nothing was held");
        sweep.observe(50 * MB);
        assert!(!sweep.is_due(50 * MB), "it is held still");
        assert!(!sweep.is_due(47 * MB), "little is free");
        assert_eq!(due(&mut sweep, 9, |_| MB), [0, 1, 2]);
        sweep.repeat();
        assert_eq!(due(&mut sweep, 9, |_| MB), [0]);
    }

    #[test]
    fn what_comes_and_goes_all_the_time_is_swept_now_and_then() {
        let mut sweep = Sweep::default();
        let observe = |tick| if tick % 2 == 0 { 20 * MB } else { MB };
        assert_eq!(due(&mut sweep, 20, observe), [1, 5, 9, 13, 17]);
        sweep.observe(100 * MB);
        assert!(sweep.is_due(MB), "that was much");
    }

    #[test]
    fn what_is_given_up_little_by_little_is_swept_too() {
        let mut sweep = Sweep::default();
        sweep.observe(9 * MB);
        assert_eq!(due(&mut sweep, 20, |tick| 8_usize.saturating_sub(tick) * MB), [3, 7, 11, 15]);
    }

    #[test]
    fn what_came_and_went_between_two_looks_is_noticed() {
        let mut sweep = Sweep::default();
        sweep.observe(9 * MB);
        sweep.observe(MB);
        assert!(sweep.is_due(MB));
    }

    #[test]
    fn nobody_waits_for_a_sweep() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut sweep = Sweep::default();
            sweep.observe(50 * MB);
            sweep.tick(MB, Level::High);
            assert!(sweep.running.is_none(), "there is something better to do");
            sweep.tick(MB, Level::Normal);
            assert!(sweep.running.is_some());
            let left = sweep.left;
            // No task has had its turn.
            sweep.tick(MB, Level::Normal);
            assert_eq!(sweep.left, left, "one at a time");
            while sweep.running.is_some() || sweep.left > 0 {
                sweep.tick(MB, Level::Normal);
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn a_sweep_reaches_all_threads() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        // On a busy machine not all have their turn soon.
        runtime.block_on(async { while !sweep_all().await {} });
    }
}
