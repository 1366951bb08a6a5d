//! Memory that was given up goes back to the system.
//!
//! The allocator looks for pages that are free only while memory is taken from it, and each thread has pages of its own. So without
//! requests it would keep for minutes what a burst of them has left.

use std::hint::black_box;

/// How much has to be free that was held before, in bytes, for a sweep to be worth its time.
const WORTH: usize = 4 << 20;
/// How much a sweep has to bring, in bytes, for more of them.
const GAIN: usize = 1 << 20;
/// How many sweeps there are in any case: pages that one finds free go back to the system with the next.
const SWEEPS: usize = 3;
/// How often an allocator's thread takes memory until it has looked through all its pages. mimalloc does so every 10,000 times, of
/// which it counts those that are larger than `SMALL`.
const TIMES: usize = 10_100;
const SMALL: usize = 1 << 10;

/// When to sweep. Asked regularly, so that no sweep follows another at once.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The most that was held since the last time, in bytes.
    high: usize,
    /// What was resident the last time, in bytes.
    resident: usize,
    left: usize,
}

impl Sweep {
    /// So many bytes are held.
    pub fn held(&mut self, held: usize) {
        self.high = self.high.max(held);
    }

    /// Whether to sweep now.
    pub fn is_due(&mut self, held: usize, resident: usize) -> bool {
        let freed = self.high.saturating_sub(held) >= WORTH;
        let gained = self.left > 0 && resident + GAIN <= self.resident;
        if freed || gained {
            self.left = SWEEPS;
        }
        (self.high, self.resident) = (held, resident);
        let due = self.left > 0;
        self.left = self.left.saturating_sub(1);
        due
    }
}

/// Sweeps what the allocator keeps for each thread of the tokio runtime that this is called in. Nothing says which thread a task runs
/// on: so there are some more tasks.
pub fn sweep_all() {
    for _ in 0..4 * tokio::runtime::Handle::current().metrics().num_workers() {
        tokio::spawn(async { sweep() });
    }
}

/// Has the allocator look through the pages of this thread. Takes less than a millisecond.
fn sweep() {
    for _ in 0..TIMES {
        drop(black_box(Vec::<u8>::with_capacity(2 * SMALL)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    #[test]
    fn a_sweep_is_due_when_much_was_given_up_and_as_long_as_it_brings_something() {
        let mut sweep = Sweep::default();
        assert!(!sweep.is_due(0, 20 * MB), "nothing was held");
        sweep.held(50 * MB);
        assert!(!sweep.is_due(50 * MB, 90 * MB), "it is held still");
        sweep.held(49 * MB);
        assert!(!sweep.is_due(48 * MB, 90 * MB), "little is free");
        let resident = [90, 80, 70, 70, 70, 70].map(|resident| sweep.is_due(MB, resident * MB));
        assert_eq!(resident, [true, true, true, true, true, false]);
    }

    #[test]
    fn what_came_and_went_between_two_looks_is_noticed() {
        let mut sweep = Sweep::default();
        sweep.held(9 * MB);
        sweep.held(MB);
        assert!(sweep.is_due(MB, 30 * MB));
    }
}
