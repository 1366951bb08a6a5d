//! Heads of HTTP/2 on connections over a socket in the file system, which need not name a host: some clients send the
//! socket's path as their authority (`run%2Fgate.sock`). The library resets such a stream before anybody sees a
//! request. So heads are written anew before the library gets them, with [`NO_HOST`] where they name no host.
//!
//! All other frames pass as they came. The library sees only heads that were understood here: in place of any other it
//! gets one that ends the connection, and nothing behind it.
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
/// How many frames may continue a head.
const CONTINUED: usize = 64;
/// An index that no table has.
const UNREADABLE: &[u8] = &[0x80];

/// What a client sends on a connection, and how much of it the library may have.
#[derive(Debug)]
pub(super) struct Authorities {
    heads: hpack::Authorities,
    /// How large a head may be.
    most: usize,
    /// The head that is coming.
    head: Option<HeaderBlock>,
    /// What has come, from the beginning of a frame on.
    held: Vec<u8>,
    /// How much of what comes next passes as it is.
    passes: usize,
    /// What may be handed out, and how much of it was.
    out: Vec<u8>,
    given: usize,
    /// Whether the connection is not understood.
    lost: bool,
    /// How much memory was in use when it was looked at last.
    noted: usize,
}

/// What the frames of a head have brought so far.
#[derive(Debug)]
struct HeaderBlock {
    first: FrameHead,
    priority: Vec<u8>,
    fields: Vec<u8>,
    continued: usize,
}

impl Authorities {
    /// Those of a connection that begins with the client's preface, whose heads may be so large.
    pub fn new(most: usize) -> Authorities {
        Authorities {
            heads: hpack::Authorities::default(),
            most,
            head: None,
            held: Vec::new(),
            passes: PREFACE.len(),
            out: Vec::new(),
            given: 0,
            lost: false,
            noted: 0,
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
                // What is left are parts of a frame.
                self.release(self.held.len());
                self.give(buffer);
                return Poll::Ready(Ok(()));
            }
            self.come(part.filled());
        }
        Poll::Ready(Ok(()))
    }

    /// How much memory was in use when this was called last, and how much is now; nothing where that is the same.
    pub fn grown(&mut self) -> Option<(usize, usize)> {
        let head = self.head.as_ref().map_or(0, |head| head.fields.capacity());
        let now = self.held.capacity() + self.out.capacity() + head + self.heads.size();
        let before = std::mem::replace(&mut self.noted, now);
        (before != now).then_some((before, now))
    }

    /// Bytes came from the client.
    fn come(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        self.held.extend_from_slice(bytes);
        while self.next().unwrap_or_else(|| self.lose()) {}
        if self.held.is_empty() {
            self.held = Vec::new();
        }
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

    /// The library ends the connection for what it gets now.
    fn lose(&mut self) -> bool {
        self.lost = true;
        (self.held, self.head) = (Vec::new(), None);
        let frame = FrameHead { kind: HEADERS, flags: END_HEADERS, stream: 1, length: UNREADABLE.len() };
        self.out.extend(frame.bytes());
        self.out.extend_from_slice(UNREADABLE);
        false
    }

    fn release(&mut self, length: usize) {
        self.out.extend(self.held.drain(..length.min(self.held.len())));
    }

    /// Goes one frame on; whether there may be another one, and none where what comes is not understood.
    fn next(&mut self) -> Option<bool> {
        if self.passes > 0 {
            let part = self.passes.min(self.held.len());
            self.release(part);
            self.passes -= part;
            return Some(part > 0);
        }
        let Some(frame) = FrameHead::of(&self.held) else {
            return Some(false);
        };
        match (&self.head, frame.kind) {
            (None, HEADERS) => {}
            (Some(head), CONTINUATION) if head.first.stream == frame.stream => {}
            (Some(_), _) | (None, CONTINUATION) => return None,
            (None, _) => {
                self.passes = HEAD + frame.length;
                return Some(true);
            }
        }
        if frame.length > LARGEST {
            return None;
        }
        let end = HEAD + frame.length;
        let Some(payload) = self.held.get(HEAD..end) else {
            return Some(false);
        };
        let head = match self.head.take() {
            None => HeaderBlock::of(frame, payload)?,
            Some(head) => head.with(payload)?,
        };
        if head.fields.len() > self.most {
            return None;
        }
        self.held.drain(..end);
        if frame.flags & END_HEADERS == 0 {
            self.head = Some(head);
        } else {
            head.write(&self.heads.mend(&head.fields, self.most).ok()?, &mut self.out);
        }
        Some(true)
    }
}

impl HeaderBlock {
    /// The first frame of a head; none where it is no head.
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
        Some(HeaderBlock { first, priority: priority.to_vec(), fields: fields.to_vec(), continued: 0 })
    }

    /// A frame continues it.
    fn with(mut self, payload: &[u8]) -> Option<HeaderBlock> {
        self.fields.extend_from_slice(payload);
        self.continued += 1;
        (self.continued <= CONTINUED).then_some(self)
    }

    /// Writes frames of the same head with other fields.
    fn write(&self, fields: &[u8], out: &mut Vec<u8>) {
        let FrameHead { flags, stream, .. } = self.first;
        let (one, mut rest) = fields.split_at(fields.len().min(LARGEST - self.priority.len()));
        let end = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
        let length = self.priority.len() + one.len();
        let frame = FrameHead { kind: HEADERS, flags: flags & !(PADDED | END_HEADERS) | end(rest), stream, length };
        out.extend(frame.bytes());
        out.extend_from_slice(&self.priority);
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
