//! What holds memory in the name of a connection: requests, their bodies, and what waits for a client to read it.

use super::{MemoryShare, MemoryShort, RESERVED, STREAM};
use crate::memory::{Held, Level};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A request that was taken on, until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit {
    pub(super) share: Arc<MemoryShare>,
    pub(super) _held: Held,
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.share.serving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What waits for a client to read it, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnreadBytes {
    pub(super) share: Arc<MemoryShare>,
    pub(super) held: Held,
}

impl UnreadBytes {
    /// So many bytes wait from now on. Where that is more than before, there may be too little memory for it.
    pub fn set(&mut self, bytes: usize) -> Result<(), MemoryShort> {
        let level = self.share.level();
        let short = level == Level::Over || level == Level::Full && self.share.blocks();
        if short && bytes > self.held.bytes().max(RESERVED) {
            return Err(MemoryShort);
        }
        let before = self.held.bytes();
        self.held.set(bytes);
        if bytes > before {
            self.share.waiting.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.share.waiting.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The same for streams of HTTP/2 that are open, whose number is limited.
    pub fn set_streams(&mut self, streams: usize) {
        let _ = self.set(streams * STREAM);
    }
}

impl Drop for UnreadBytes {
    fn drop(&mut self) {
        self.share.waiting.fetch_sub(self.held.bytes(), Ordering::Relaxed);
    }
}

/// The body of a request, as far as it is held.
#[derive(Debug)]
pub(crate) struct Body(pub(super) Held);

impl Body {
    /// So much of it is held from now on. Where that is more than before, there may be too little memory for it at this
    /// level.
    pub fn set(&mut self, share: &MemoryShare, bytes: usize, level: Level) -> Result<(), MemoryShort> {
        if bytes > self.0.bytes().max(RESERVED) && share.level() >= level {
            return Err(MemoryShort);
        }
        self.0.set(bytes);
        Ok(())
    }
}
