//! Times on the store's clock.

use std::time::Duration;

/// Milliseconds on the store's clock.
pub type Millis = u64;

/// A duration in milliseconds; saturates.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
/// Microseconds on the store's clock: fine enough to tell which of two fetches began first.
pub type Micros = u64;
