//! Returns freed memory to the system.
//!
//! The allocator searches for free pages only while memory is allocated, and each thread has its own. So without
//! requests it would keep what a burst left for minutes.

use super::Level;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

/// The least freed memory that is worth a sweep, in bytes.
const MIN_FREED: usize = 4 << 20;
/// The same for sweeps in consecutive ticks.
const LARGE_FREED: usize = 32 << 20;
/// Ticks between sweeps otherwise.
const TICKS_BETWEEN: usize = 4;
/// Sweeps per occasion: some memory is free only a little later.
const SWEEPS: usize = 3;
/// How long a sweep tries to reach all threads.
const SEARCH_TIME: Duration = Duration::from_millis(20);
/// More than the address space, and not more than the allocator requests from the system.
const IMPOSSIBLE_SIZE: usize = (usize::MAX >> 16).saturating_sub(1 << 20);

/// Decides when to sweep. Called periodically.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The peak since the last reason to sweep, in bytes.
    peak: usize,
    left: usize,
    /// Ticks between the remaining sweeps, and until the next one.
    interval: usize,
    wait: usize,
    /// Receives whether the running sweep has reached all threads.
    running: Option<Receiver<bool>>,
}

impl Sweep {
    /// Records the bytes in use.
    pub fn observe(&mut self, observe: usize) {
        self.peak = self.peak.max(observe);
    }

    /// Starts a sweep in a task of its own if one is due, none is running and the level is normal. `held` is the bytes
    /// in use.
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

    /// Whether a sweep is due.
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

    /// The last sweep did not reach all threads.
    fn repeat(&mut self) {
        self.left = self.left.max(1);
    }
}

/// Sweeps the allocator's memory of each worker thread of the current tokio runtime, and returns whether all were
/// reached. A task cannot choose its thread, so there is one task per thread, and they move until all threads were
/// visited.
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

/// Sweeps each thread that this task runs on and that was not swept before.
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

/// Makes the allocator return this thread's free memory. If an allocation fails, mimalloc first returns all free
/// memory; its periodic purge keeps the free parts of blocks in use.
fn sweep() {
    let mut none = Vec::<u8>::new();
    let _ = black_box(none.try_reserve_exact(IMPOSSIBLE_SIZE));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    /// The ticks at which a sweep is due.
    fn due(sweep: &mut Sweep, ticks: usize, observe: impl Fn(usize) -> usize) -> Vec<usize> {
        (0..ticks).filter(|tick| sweep.is_due(observe(*tick))).collect()
    }

    #[test]
    fn sweeps_are_due_after_large_releases() {
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
    fn constant_churn_causes_occasional_sweeps() {
        let mut sweep = Sweep::default();
        let observe = |tick| if tick % 2 == 0 { 20 * MB } else { MB };
        assert_eq!(due(&mut sweep, 20, observe), [1, 5, 9, 13, 17]);
        sweep.observe(100 * MB);
        assert!(sweep.is_due(MB), "that was much");
    }

    #[test]
    fn gradual_releases_are_swept_too() {
        let mut sweep = Sweep::default();
        sweep.observe(9 * MB);
        assert_eq!(due(&mut sweep, 20, |tick| 8_usize.saturating_sub(tick) * MB), [3, 7, 11, 15]);
    }

    #[test]
    fn short_peaks_are_noticed() {
        let mut sweep = Sweep::default();
        sweep.observe(9 * MB);
        sweep.observe(MB);
        assert!(sweep.is_due(MB));
    }

    #[test]
    fn sweeps_do_not_block() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut sweep = Sweep::default();
            sweep.observe(50 * MB);
            sweep.tick(MB, Level::High);
            assert!(sweep.running.is_none(), "there is something better to do");
            sweep.tick(MB, Level::Normal);
            assert!(sweep.running.is_some());
            let left = sweep.left;
            // No task has run yet.
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
        // On a busy machine not all threads run soon.
        runtime.block_on(async { while !sweep_all().await {} });
    }
}
