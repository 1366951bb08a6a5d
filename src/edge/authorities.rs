//! Rewrites the authority of HTTP/2 requests that arrive over a Unix socket. Some clients send the socket's path as
//! `:authority` (`run%2Fgate.sock`), and the HTTP/2 library resets such a stream before any hook sees the request. So
//! request heads are re-encoded before the library reads them, with [`NO_HOST`] in place of an authority that is not a
//! host.
//!
//! All other frames are forwarded unchanged. If a head cannot be parsed, the library receives an invalid header block
//! instead, which makes it close the connection, and nothing after it.
//!
//! [`NO_HOST`]: crate::wire::hpack::NO_HOST

use super::frame::{CONTINUATION, END_HEADERS, FRAME_HEAD_LENGTH, FrameHead, HAS_PRIORITY, HEADERS, PADDED, PREFACE};
use crate::wire::hpack;
use std::io;
use std::task::{Poll, ready};
use tokio::io::ReadBuf;

/// Bytes of the priority fields that precede the header block of a HEADERS frame with the PRIORITY flag.
const PRIORITY_LENGTH: usize = 5;
/// The largest frame that is accepted, in bytes.
const MAX_FRAME_LENGTH: usize = 16_384;
/// Bytes per read.
const READ_LENGTH: usize = 8192;
/// The most CONTINUATION frames of one head.
const MAX_CONTINUATIONS: usize = 64;
/// A header block with an invalid index: the library closes the connection.
const INVALID_FIELDS: &[u8] = &[0x80];

/// Rewrites one connection's inbound bytes.
#[derive(Debug)]
pub(super) struct AuthorityRewriter {
    heads: hpack::AuthorityRewriter,
    /// The largest header block, in bytes.
    max_head_length: usize,
    /// The head that has begun but not ended.
    head: Option<HeaderBlock>,
    /// Bytes received but not processed yet. They start at a frame boundary, unless `untouched` is set.
    pending: Vec<u8>,
    /// How many of the next bytes are forwarded unchanged: the preface, or the rest of a frame.
    untouched: usize,
    /// Bytes for the library, and how many of them it has read.
    out: Vec<u8>,
    written: usize,
    /// A head could not be parsed: everything that follows is discarded.
    failed: bool,
    /// Memory in use when it was last reported, in bytes.
    reported: usize,
}

/// The parts of a head received so far.
#[derive(Debug)]
struct HeaderBlock {
    first: FrameHead,
    priority: Vec<u8>,
    fields: Vec<u8>,
    continuations: usize,
}

impl AuthorityRewriter {
    /// For a connection that begins with the client's preface and whose heads have at most `max_head_length` bytes.
    pub fn new(max_head_length: usize) -> AuthorityRewriter {
        AuthorityRewriter {
            heads: hpack::AuthorityRewriter::default(),
            max_head_length,
            head: None,
            pending: Vec::new(),
            untouched: PREFACE.len(),
            out: Vec::new(),
            written: 0,
            failed: false,
            reported: 0,
        }
    }

    /// Fills `buffer` with processed bytes. `read` supplies more bytes from the connection.
    pub fn poll_read(
        &mut self,
        buffer: &mut ReadBuf,
        mut read: impl FnMut(&mut ReadBuf) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        while !self.give(buffer) {
            let mut bytes = [0; READ_LENGTH];
            let mut part = ReadBuf::new(&mut bytes);
            ready!(read(&mut part))?;
            if part.filled().is_empty() {
                // End of the connection: what is left is an incomplete frame.
                self.forward(self.pending.len());
                self.give(buffer);
                return Poll::Ready(Ok(()));
            }
            self.receive(part.filled());
        }
        Poll::Ready(Ok(()))
    }

    /// The memory in use at the last call and now, in bytes; `None` if unchanged.
    pub fn memory_change(&mut self) -> Option<(usize, usize)> {
        let head = self.head.as_ref().map_or(0, |head| head.fields.capacity());
        let now = self.pending.capacity() + self.out.capacity() + head + self.heads.size();
        let before = std::mem::replace(&mut self.reported, now);
        (before != now).then_some((before, now))
    }

    /// Processes bytes from the client.
    fn receive(&mut self, bytes: &[u8]) {
        if self.failed {
            return;
        }
        self.pending.extend_from_slice(bytes);
        while self.next().unwrap_or_else(|| self.fail()) {}
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
    }

    /// Moves processed bytes into `buffer`. Returns whether there were any.
    fn give(&mut self, buffer: &mut ReadBuf) -> bool {
        let left = self.out.get(self.written..).unwrap_or_default();
        let part = left.get(..buffer.remaining()).unwrap_or(left);
        buffer.put_slice(part);
        self.written += part.len();
        let any = !part.is_empty();
        if self.written == self.out.len() {
            (self.out, self.written) = (Vec::new(), 0);
        }
        any
    }

    /// Emits a frame for which the library closes the connection.
    fn fail(&mut self) -> bool {
        self.failed = true;
        (self.pending, self.head) = (Vec::new(), None);
        let frame = FrameHead { kind: HEADERS, flags: END_HEADERS, stream: 1, length: INVALID_FIELDS.len() };
        self.out.extend(frame.bytes());
        self.out.extend_from_slice(INVALID_FIELDS);
        false
    }

    fn forward(&mut self, length: usize) {
        self.out.extend(self.pending.drain(..length.min(self.pending.len())));
    }

    /// Processes one frame. Returns whether there may be another one in `pending`; `None` if the frame cannot be
    /// parsed.
    fn next(&mut self) -> Option<bool> {
        if self.untouched > 0 {
            let part = self.untouched.min(self.pending.len());
            self.forward(part);
            self.untouched -= part;
            return Some(part > 0);
        }
        let Some(frame) = FrameHead::of(&self.pending) else {
            return Some(false);
        };
        match (&self.head, frame.kind) {
            (None, HEADERS) => {}
            (Some(head), CONTINUATION) if head.first.stream == frame.stream => {}
            (Some(_), _) | (None, CONTINUATION) => return None,
            (None, _) => {
                self.untouched = FRAME_HEAD_LENGTH + frame.length;
                return Some(true);
            }
        }
        if frame.length > MAX_FRAME_LENGTH {
            return None;
        }
        let end = FRAME_HEAD_LENGTH + frame.length;
        let Some(payload) = self.pending.get(FRAME_HEAD_LENGTH..end) else {
            return Some(false);
        };
        let head = match self.head.take() {
            None => HeaderBlock::of(frame, payload)?,
            Some(head) => head.with(payload)?,
        };
        if head.fields.len() > self.max_head_length {
            return None;
        }
        self.pending.drain(..end);
        if frame.flags & END_HEADERS == 0 {
            self.head = Some(head);
        } else {
            head.write(&self.heads.rewrite(&head.fields, self.max_head_length).ok()?, &mut self.out);
        }
        Some(true)
    }
}

impl HeaderBlock {
    /// Parses a HEADERS frame. `None` if it is malformed.
    fn of(first: FrameHead, payload: &[u8]) -> Option<HeaderBlock> {
        let payload = match payload {
            [padding, payload @ ..] if first.flags & PADDED != 0 => {
                payload.get(..payload.len().checked_sub(usize::from(*padding))?)?
            }
            [] if first.flags & PADDED != 0 => return None,
            payload => payload,
        };
        let before = if first.flags & HAS_PRIORITY != 0 { PRIORITY_LENGTH } else { 0 };
        let (priority, fields) = payload.split_at_checked(before)?;
        Some(HeaderBlock { first, priority: priority.to_vec(), fields: fields.to_vec(), continuations: 0 })
    }

    /// Appends a CONTINUATION frame. `None` if there are too many.
    fn with(mut self, payload: &[u8]) -> Option<HeaderBlock> {
        self.fields.extend_from_slice(payload);
        self.continuations += 1;
        (self.continuations <= MAX_CONTINUATIONS).then_some(self)
    }

    /// Writes this head's frames with other fields.
    fn write(&self, fields: &[u8], out: &mut Vec<u8>) {
        let FrameHead { flags, stream, .. } = self.first;
        let (one, mut rest) = fields.split_at(fields.len().min(MAX_FRAME_LENGTH - self.priority.len()));
        let end = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
        let length = self.priority.len() + one.len();
        let frame = FrameHead { kind: HEADERS, flags: flags & !(PADDED | END_HEADERS) | end(rest), stream, length };
        out.extend(frame.bytes());
        out.extend_from_slice(&self.priority);
        out.extend_from_slice(one);
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(MAX_FRAME_LENGTH));
            let frame = FrameHead { kind: CONTINUATION, flags: end(behind), stream, length: part.len() };
            out.extend(frame.bytes());
            out.extend_from_slice(part);
            rest = behind;
        }
    }
}

#[cfg(test)]
mod tests;
