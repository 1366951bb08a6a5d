//! What holds memory on behalf of a connection: requests, request bodies, unread responses.

use super::{GUARANTEED, MemoryShare, OutOfMemory, STREAM_COST};
use crate::memory::{Level, Reservation};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The permit of a request in progress, until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit {
    pub(super) share: Arc<MemoryShare>,
    pub(super) _held: Reservation,
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.share.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Response bytes that the client has not read, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnreadBytes {
    pub(super) share: Arc<MemoryShare>,
    pub(super) held: Reservation,
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
pub(crate) struct BodyBytes(pub(super) Reservation);

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
