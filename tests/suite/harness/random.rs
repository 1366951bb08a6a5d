//! Numbers for runs that should differ, and can be repeated.

use proptest::prelude::ProptestConfig;
use std::time::SystemTime;

/// xorshift64*.
pub struct Random(u64);

impl Random {
    /// The numbers of one of several who share a seed.
    pub fn of(seed: u64, number: u64) -> Random {
        Random((seed ^ (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// A seed. It is printed, so that a run can be repeated with `SESSIONGATE_SEED`, as far as the scheduler lets it.
pub fn seed() -> u64 {
    let given = std::env::var("SESSIONGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1);
    println!("SESSIONGATE_SEED={seed}");
    seed
}

/// Ten times as many where `SESSIONGATE_LONG` is set.
pub fn proptest_cases(count: u32) -> ProptestConfig {
    let long = std::env::var_os("SESSIONGATE_LONG").is_some();
    ProptestConfig {
        // A failure is printed with its input; nothing is written beside the sources.
        failure_persistence: None,
        ..ProptestConfig::with_cases(if long { count * 10 } else { count })
    }
}
