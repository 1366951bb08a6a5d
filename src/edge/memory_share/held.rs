//! What holds memory on behalf of a connection: requests, request bodies, unread responses.

use super::{MemoryShare, OutOfMemory};
use crate::memory::{Level, Reservation};
use crate::telemetry::MemoryKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes that a request in progress costs (measured: 17 to 28 KiB), and a queued one.
const REQUEST_COST: usize = 24 << 10;
const QUEUED_COST: usize = 4 << 10;
/// Bytes that an HTTP/2 stream costs in the library beside its request.
const STREAM_COST: usize = 1 << 10;
/// Bytes of a body or response that are always allowed, so that every request in progress can finish.
const GUARANTEED: usize = 64 << 10;
/// Unread response bytes at which a client that does not read gets no more streams.
const MAX_UNREAD: usize = 16 << 20;
/// HTTP/2 streams served at once before the client has read a response to its end; each one that it reads allows one
/// more.
const INITIAL_STREAMS: usize = 8;

/// Whether a request may be served.
#[derive(Debug)]
pub(crate) enum RequestDecision {
    /// Now.
    Serve(RequestPermit),
    /// Later, when other requests end.
    Queue,
    /// Not at all: memory is short.
    Reject,
}

impl MemoryShare {
    /// Decides whether to serve a request. Each connection may have one unless memory is exceeded, and a client that
    /// does not read gets no more. A connection begins with few streams, until its client shows that it reads. Queued
    /// requests are served when others end, or gradually: `queue_checks` says how often this one was checked in the
    /// queue.
    pub fn try_serve(self: &Arc<MemoryShare>, queue_checks: u32) -> RequestDecision {
        let blocked = self.blocked.load(Ordering::Relaxed);
        let in_progress = self.in_progress.load(Ordering::Relaxed);
        let first = in_progress == 0;
        let most = self.completed.load(Ordering::Relaxed).saturating_add(INITIAL_STREAMS);
        match self.shares.memory.level() {
            _ if self.is_shed() => RequestDecision::Reject,
            Level::Exceeded => RequestDecision::Reject,
            Level::Normal | Level::High | Level::Full if first => RequestDecision::Serve(self.permit()),
            Level::Full => RequestDecision::Reject,
            _ if blocked && self.unread.load(Ordering::Relaxed) >= MAX_UNREAD => RequestDecision::Reject,
            Level::High if blocked && self.is_stuck() => RequestDecision::Reject,
            Level::Normal | Level::High if in_progress >= most << queue_checks.min(16) => RequestDecision::Queue,
            Level::Normal | Level::High => RequestDecision::Serve(self.permit()),
        }
    }

    fn permit(self: &Arc<MemoryShare>) -> RequestPermit {
        self.in_progress.fetch_add(1, Ordering::Relaxed);
        RequestPermit {
            share: self.clone(),
            _held: Reservation::new(&self.shares.memory, MemoryKind::Requests, REQUEST_COST),
        }
    }

    /// The memory of a queued request, until this is dropped.
    pub fn queued(&self) -> Reservation {
        Reservation::new(&self.shares.memory, MemoryKind::Requests, QUEUED_COST)
    }

    /// The memory of a response, until this is dropped.
    pub fn response(self: &Arc<MemoryShare>) -> UnreadBytes {
        UnreadBytes { share: self.clone(), held: Reservation::new(&self.shares.memory, MemoryKind::Responses, 0) }
    }

    /// The memory of a request body, until this is dropped.
    pub fn body(&self) -> BodyBytes {
        BodyBytes(Reservation::new(&self.shares.memory, MemoryKind::RequestBodies, 0))
    }
}

/// The permit of a request in progress, until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit {
    share: Arc<MemoryShare>,
    _held: Reservation,
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.share.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Response bytes that the client has not read, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnreadBytes {
    share: Arc<MemoryShare>,
    held: Reservation,
}

impl UnreadBytes {
    /// Sets the number of unread bytes. Fails if that is more than before and memory is short.
    pub fn set(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let level = self.share.level();
        let short = level == Level::Exceeded || level == Level::Full && self.share.is_blocked();
        if short && bytes > self.held.bytes().max(GUARANTEED) {
            return Err(OutOfMemory);
        }
        let before = self.held.bytes();
        self.held.set(bytes);
        if bytes > before {
            self.share.unread.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.share.unread.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Accounts for open HTTP/2 streams. Never fails, since their number is limited.
    pub fn set_streams(&mut self, streams: usize) {
        let _ = self.set(streams * STREAM_COST);
    }
}

impl Drop for UnreadBytes {
    fn drop(&mut self) {
        self.share.unread.fetch_sub(self.held.bytes(), Ordering::Relaxed);
    }
}

/// Bytes held of a request body.
#[derive(Debug)]
pub(crate) struct BodyBytes(Reservation);

impl BodyBytes {
    /// Sets the number of bytes. Fails if that is more than before and memory is at `level` or above.
    pub fn set(&mut self, share: &MemoryShare, bytes: usize, level: Level) -> Result<(), OutOfMemory> {
        if bytes > self.0.bytes().max(GUARANTEED) && share.level() >= level {
            return Err(OutOfMemory);
        }
        self.0.set(bytes);
        Ok(())
    }
}
