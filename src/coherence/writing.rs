//! What a writer does if the store does not confirm a step.

use super::Millis;
use super::reading::ConnectionId;

/// How long before its deadline a mark is no longer relied on, in milliseconds.
pub const MARGIN: Millis = 1_000;

/// Whether a write's invalidation mark was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkPlacement {
    /// The store confirmed it over this connection.
    Confirmed(ConnectionId),
    /// It may or may not be set.
    Unknown,
}

/// When to acknowledge a write if the store did not confirm the end of its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnconfirmedAction {
    /// At once: the mark is still set, makes every reader bypass the cache, and expires on its own.
    Acknowledge,
    /// Only after another attempt to end the mark: it may be lost, and older responses may be served.
    TryAgain,
}

/// Decides about a write if the store did not confirm the end of its mark. `connection_id` is the current connection;
/// `elapsed` is the time since the mark was set.
pub fn unconfirmed(
    placed: MarkPlacement,
    connection_id: Option<ConnectionId>,
    elapsed: Millis,
    guard: Millis,
) -> UnconfirmedAction {
    match (placed, connection_id) {
        (MarkPlacement::Confirmed(then), Some(now))
            if then.number == now.number && elapsed.saturating_add(MARGIN) < guard =>
        {
            UnconfirmedAction::Acknowledge
        }
        (MarkPlacement::Confirmed(_) | MarkPlacement::Unknown, _) => UnconfirmedAction::TryAgain,
    }
}
