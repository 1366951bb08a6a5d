//! The begin and the end of a write.

use super::clock::Millis;
use super::generation::{Generation, Token};
use super::settled::Settled;
use super::state::{CoherenceState, WriteMark};
use super::tenant_id::DEFAULT_TENANT;

/// The maximum number of writes in flight on one session.
pub const MAX_SESSION_WRITES: usize = 64;
/// The maximum number of distinct marks of writes that may change any session of an upstream. Further writes share one
/// mark, which is never removed and expires.
pub const MAX_UPSTREAM_WRITES: usize = 256;
/// The writer of a shared mark that is never removed and expires: for writes beyond the maximum number of distinct
/// marks, and for writes that share a mark and have an unknown outcome.
pub const SHARED_WRITER: Token = Token(0);

/// What the end of a write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteEnd {
    /// Other writes are in flight. The last of them makes the session cacheable again.
    OthersInFlight,
    /// Responses may be stored again.
    Reopened,
    /// Responses may be stored again, but the write's own mark was gone: it had expired, or the store lost it.
    MarkLost,
}

/// The maximum number of writes is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many writes in flight")]
pub struct TooManyWrites;

/// What a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteScope {
    /// One session. The number of writes in flight is limited.
    Session,
    /// One session, by unverified callers. They share a mark, for which there is always room.
    Unverified,
    /// Any session of an upstream. Such a write is never rejected because of others.
    Upstream,
}

/// Begins a write, which may be forwarded once this is done. `guard` is longer than any write can take, in
/// milliseconds. Repeating it, for the same write or one that shares its mark, extends the mark and never shortens it.
///
/// # Errors
///
/// If too many writes are in flight on the session.
pub fn begin(
    state: &mut CoherenceState,
    writer: Token,
    guard: Millis,
    now: Millis,
    scope: WriteScope,
) -> Result<(), TooManyWrites> {
    state.prune(now);
    let others = state.marks.iter().filter(|mark| mark.writer != writer).count();
    let writer = match scope {
        WriteScope::Session if others >= MAX_SESSION_WRITES => return Err(TooManyWrites),
        WriteScope::Unverified if others >= MAX_SESSION_WRITES => SHARED_WRITER,
        WriteScope::Upstream if others >= MAX_UPSTREAM_WRITES => SHARED_WRITER,
        WriteScope::Session | WriteScope::Unverified | WriteScope::Upstream => writer,
    };
    let own = state.marks.iter().find(|mark| mark.writer == writer).map(|mark| mark.deadline);
    state.marks.retain(|mark| mark.writer != writer);
    // With concurrent writes, nothing is certain any more.
    let alone = state.marks.is_empty();
    let generation = state.generation.take();
    let before = if own.is_some() { state.before } else { generation };
    state.before = before.filter(|_| alone);
    let deadline = now.saturating_add(guard).max(own.unwrap_or_default());
    state.marks.push(WriteMark { writer, deadline });
    Ok(())
}

/// Ends a write whose outcome is known. The write may be acknowledged once this is done. If the outcome is unknown, do
/// not call this: the mark expires on its own.
pub fn end(
    state: &mut CoherenceState,
    writer: Token,
    settled: Settled,
    now: Millis,
    mint: impl FnOnce() -> Generation,
) -> WriteEnd {
    state.prune(now);
    state.deleted_until = state.deleted_until.filter(|_| !settled.lifted);
    if settled.tenant == DEFAULT_TENANT {
        state.floor = state.floor.max(settled.version);
        state.floor_set = now;
        state.deleted_until = state.deleted_until.max(settled.deleted_for.map(|long| now.saturating_add(long)));
    }
    state.tenants.settle(settled, now);
    if !settled.unchanged {
        // This also holds if other marks remain: the state before them has changed.
        state.before = None;
    }
    let marks = state.marks.len();
    state.marks.retain(|mark| mark.writer != writer);
    let found = state.marks.len() < marks;
    if !state.marks.is_empty() {
        return WriteEnd::OthersInFlight;
    }
    let before = state.before.take().filter(|_| found && settled.unchanged);
    state.generation = Some(before.unwrap_or_else(mint));
    if found { WriteEnd::Reopened } else { WriteEnd::MarkLost }
}
