//! The tenant's global rate limit (Auth0's page "Rate limit policy").

use std::time::{Duration, Instant, SystemTime};

use crate::sandbox::clock::unix_seconds;

/// A token-bucket rate limit (Auth0's page "Rate limit policy").
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Requests that a full bucket allows at once.
    pub burst: u32,
    /// Requests per second that refill the bucket; with 0 it is never refilled.
    pub per_second: u32,
}

/// A token bucket.
pub(super) struct Bucket {
    rate: Rate,
    level: f64,
    filled: Instant,
}

/// The values of the `x-ratelimit-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// UNIX seconds at which the bucket gets its next token, which need not end the wait (Auth0's page "Rate limit
    /// policy").
    pub(super) reset: u64,
}

impl Bucket {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, level: f64::from(rate.burst), filled: now }
    }

    /// Takes a token from the bucket. `Err` if it is empty.
    pub(super) fn spend(&mut self, now: Instant, wall: SystemTime) -> Result<Quota, Quota> {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = elapsed.mul_add(f64::from(self.rate.per_second), self.level).min(f64::from(self.rate.burst));
        self.filled = now;
        if self.level < 1.0 {
            return Err(self.quota(wall));
        }
        self.level -= 1.0;
        Ok(self.quota(wall))
    }

    fn quota(&self, wall: SystemTime) -> Quota {
        let wait = match self.rate.per_second {
            0 => Duration::from_secs(60),
            rate => Duration::from_secs_f64((1.0 - self.level.fract()) / f64::from(rate)),
        };
        Quota {
            limit: self.rate.burst,
            // The level is between 0 and a u32, and the cast rounds down as it should.
            remaining: self.level as u32,
            reset: unix_seconds(wall + wait) + 1,
        }
    }
}
