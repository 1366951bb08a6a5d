//! Lines about what clients do are written once per minute, so that no client can fill the log.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// How often such a line is written, at most.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Counts events, and says when to log them.
#[derive(Debug, Default)]
pub struct LogInterval(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// Events that are not logged yet.
    count: u64,
    /// When some were last logged.
    logged: Option<Instant>,
}

impl LogInterval {
    /// Counts an event. Returns how many to log now; `None` if a line was written in the last minute.
    pub fn count(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock();
        counted.count += 1;
        if counted.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LOG_INTERVAL) {
            return None;
        }
        counted.logged = Some(now);
        Some(std::mem::take(&mut counted.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_logged_once_per_minute() {
        let (interval, start) = (LogInterval::default(), Instant::now());
        let at = [0, 1, 59, 60, 61, 300].map(|seconds| interval.count(start + Duration::from_secs(seconds)));
        assert_eq!(at, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
