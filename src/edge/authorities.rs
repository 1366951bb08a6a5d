//! Authorities of HTTP/2 that are no hosts, on connections over a socket in the file system: some clients send the socket's path
//! (`run%2Fgate.sock`). The library resets such a stream before anybody sees a request. So [`NO_HOST`] takes the place of what is no
//! host in frames that carry heads, before the library gets them, and the gateway takes that for a request without a host.
//!
//! All other frames, and heads that need no change, pass as they came. Where a connection is not understood, nothing is changed on it
//! any more: the library rejects what it does not take.
//!
//! [`NO_HOST`]: crate::wire::hpack::NO_HOST

use super::frame::{CONTINUATION, END_HEADERS, FrameHead, HAS_PRIORITY, HEAD, HEADERS, PADDED, PREFACE};
use crate::wire::hpack;
use std::io;
use std::task::{Poll, ready};
use tokio::io::ReadBuf;

/// Of HEADERS: a priority stands before the fields, in so many bytes.
const PRIORITY_LENGTH: usize = 5;
/// The largest frame that the gateway takes.
const LARGEST: usize = 16_384;
/// How much is read at once.
const PART: usize = 8192;
/// How much of a head is held: the frames of a larger one pass.
const MOST: usize = 256 << 10;

/// What a client sends on a connection, and how much of it the library may have.
#[derive(Debug)]
pub(super) struct Authorities {
    heads: hpack::Authorities,
    /// What has come, from the beginning of a frame on.
    held: Vec<u8>,
    /// How much of that are whole frames of a head that is not whole.
    whole: usize,
    /// How much of what comes next passes as it is.
    passes: usize,
    /// What may be handed out, and how much of it was.
    out: Vec<u8>,
    given: usize,
    /// Whether the connection is not understood.
    lost: bool,
}

/// The frames of a head.
struct Head<'b> {
    first: FrameHead,
    priority: &'b [u8],
    fields: Vec<u8>,
}

impl Authorities {
    /// Those of a connection that begins with the client's preface.
    pub fn new() -> Authorities {
        Authorities {
            heads: hpack::Authorities::default(),
            held: Vec::new(),
            whole: 0,
            passes: PREFACE.len(),
            out: Vec::new(),
            given: 0,
            lost: false,
        }
    }

    /// Hands out what the library may have, from what can be read of the connection.
    pub fn poll_read(
        &mut self,
        buffer: &mut ReadBuf,
        mut read: impl FnMut(&mut ReadBuf) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        while !self.give(buffer) {
            let mut bytes = [0; PART];
            let mut part = ReadBuf::new(&mut bytes);
            ready!(read(&mut part))?;
            if part.filled().is_empty() {
                self.end();
                self.give(buffer);
                return Poll::Ready(Ok(()));
            }
            self.come(part.filled());
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes came from the client.
    fn come(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while self.next().unwrap_or_else(|| self.lose()) {}
    }

    /// Nothing more comes: what is left are parts of frames.
    fn end(&mut self) {
        self.lose();
    }

    /// Hands out what may be; whether there was anything.
    fn give(&mut self, buffer: &mut ReadBuf) -> bool {
        let left = self.out.get(self.given..).unwrap_or_default();
        let part = left.get(..buffer.remaining()).unwrap_or(left);
        buffer.put_slice(part);
        self.given += part.len();
        let any = !part.is_empty();
        if self.given == self.out.len() {
            (self.out, self.given) = (Vec::new(), 0);
        }
        any
    }

    /// From here on everything passes.
    fn lose(&mut self) -> bool {
        self.lost = true;
        self.release(self.held.len());
        false
    }

    fn release(&mut self, length: usize) {
        self.out.extend(self.held.drain(..length.min(self.held.len())));
    }

    /// Goes one frame on; whether there may be another one, and none where what comes is not understood.
    fn next(&mut self) -> Option<bool> {
        if self.lost {
            return None;
        }
        if self.passes > 0 {
            let part = self.passes.min(self.held.len());
            self.release(part);
            self.passes -= part;
            return Some(part > 0);
        }
        let Some(frame) = FrameHead::of(self.held.get(self.whole..).unwrap_or_default()) else {
            return Some(false);
        };
        match (self.whole, frame.kind) {
            (0, HEADERS) => {}
            (0, CONTINUATION) => return None,
            (0, _) => {
                self.passes = HEAD + frame.length;
                return Some(true);
            }
            (_, CONTINUATION) => {}
            (..) => return None,
        }
        let end = self.whole + HEAD + frame.length;
        if frame.length > LARGEST || end > MOST {
            return None;
        }
        if self.held.len() < end {
            return Some(false);
        }
        self.whole = end;
        if frame.flags & END_HEADERS != 0 {
            self.mend()?;
        }
        Some(true)
    }

    /// A head is whole.
    fn mend(&mut self) -> Option<()> {
        let length = std::mem::take(&mut self.whole);
        let head = Head::of(self.held.get(..length)?)?;
        match self.heads.mend(&head.fields).ok()? {
            None => self.release(length),
            Some(fields) => {
                head.with(&fields, &mut self.out);
                self.held.drain(..length);
            }
        }
        Some(())
    }
}

impl<'b> Head<'b> {
    /// Takes whole frames apart; none where they are no head.
    fn of(bytes: &'b [u8]) -> Option<Head<'b>> {
        let first = FrameHead::of(bytes)?;
        let (payload, mut rest) = bytes.get(HEAD..)?.split_at_checked(first.length)?;
        let payload = match payload {
            [padding, payload @ ..] if first.flags & PADDED != 0 => {
                payload.get(..payload.len().checked_sub(usize::from(*padding))?)?
            }
            payload => payload,
        };
        let before = if first.flags & HAS_PRIORITY != 0 { PRIORITY_LENGTH } else { 0 };
        let (priority, fields) = payload.split_at_checked(before)?;
        let mut head = Head { first, priority, fields: fields.to_vec() };
        while !rest.is_empty() {
            let frame = FrameHead::of(rest).filter(|frame| frame.stream == first.stream)?;
            let (payload, behind) = rest.get(HEAD..)?.split_at_checked(frame.length)?;
            head.fields.extend_from_slice(payload);
            rest = behind;
        }
        Some(head)
    }

    /// Writes frames of the same head with other fields.
    fn with(&self, fields: &[u8], out: &mut Vec<u8>) {
        let FrameHead { flags, stream, .. } = self.first;
        let (one, mut rest) = fields.split_at(fields.len().min(LARGEST - self.priority.len()));
        let end = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
        let length = self.priority.len() + one.len();
        let frame = FrameHead { kind: HEADERS, flags: flags & !(PADDED | END_HEADERS) | end(rest), stream, length };
        out.extend(frame.bytes());
        out.extend_from_slice(self.priority);
        out.extend_from_slice(one);
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(LARGEST));
            let frame = FrameHead { kind: CONTINUATION, flags: end(behind), stream, length: part.len() };
            out.extend(frame.bytes());
            out.extend_from_slice(part);
            rest = behind;
        }
    }
}

#[cfg(test)]
mod tests;
