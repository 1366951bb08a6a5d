//! What a writer makes of steps that the store did not confirm.

use super::Millis;
use super::reading::ConnectionId;

/// How far before its end a mark is no longer relied on, in milliseconds.
pub const MARGIN: Millis = 1_000;

/// The mark of a write in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// The store has confirmed it over this link.
    Confirmed(ConnectionId),
    /// It may or may not stand.
    Unknown,
}

/// How an answered write whose end the store did not confirm may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfirmed {
    /// At once: its mark stands, keeps every reader from the cache, and runs out by itself.
    Acknowledge,
    /// Not before the end was tried again: the mark may be lost, and with it what keeps readers from older responses.
    TryAgain,
}

/// Decides about a write whose end the store did not confirm. `connection_id` is the one that there is now; `elapsed`
/// is the time since the mark was placed.
pub fn unconfirmed(placed: Placed, connection_id: Option<ConnectionId>, elapsed: Millis, guard: Millis) -> Unconfirmed {
    match (placed, connection_id) {
        (Placed::Confirmed(then), Some(now)) if then.number == now.number && elapsed.saturating_add(MARGIN) < guard => {
            Unconfirmed::Acknowledge
        }
        (Placed::Confirmed(_) | Placed::Unknown, _) => Unconfirmed::TryAgain,
    }
}
