//! The time in tokens and headers.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the epoch; 0 for a time before it.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
