//! The head of a request: its lines, and how it says that its body is framed.

use super::body::{BodyFraming, Framing};
use super::chunks::Chunks;
use super::fault::{HeadLimits, RequestError};
use super::fields::{FramingFields, check_method, is_authority};
use super::token::{MAX_METHOD, authority, is_target, is_token_byte};
use std::ops::Range;

/// What stands around the target in its line, at the most.
const AROUND_TARGET: usize = MAX_METHOD + " HTTP/1.1\r\n".len() + 1;

/// A head, as far as it has come.
#[derive(Debug, Clone)]
pub struct HeadParser {
    limits: HeadLimits,
    /// Where the line begins that is looked at.
    line: usize,
    /// Up to where the bytes were looked at.
    seen: usize,
    /// Where the headers begin; none before the first line has ended.
    fields: Option<usize>,
    /// Whether an empty line came before the first.
    spaced: bool,
    count: usize,
    old: bool,
    method: Range<usize>,
    target: Range<usize>,
    host: Option<Range<usize>>,
    content_type: Option<Range<usize>>,
    taken: FramingFields,
}

/// A head that is complete and plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedHead {
    /// How long it is, with the empty line.
    pub length: usize,
    /// What follows.
    pub body: BodyFraming,
}

impl HeadParser {
    /// A head of which nothing has come yet.
    pub fn new(limits: HeadLimits) -> HeadParser {
        HeadParser {
            limits,
            line: 0,
            seen: 0,
            fields: None,
            spaced: false,
            count: 0,
            old: false,
            method: 0..0,
            target: 0..0,
            host: None,
            content_type: None,
            taken: FramingFields::default(),
        }
    }

    /// Whether `Host` may be something else than a host, which is then none: the path of a socket.
    pub fn host_optional(mut self, host_optional: bool) -> HeadParser {
        self.taken.host_optional = host_optional;
        self
    }

    /// Looks at all that has come so far, from the first byte of the request; what was looked at before is not looked
    /// at again. None where the head has not ended.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<ParsedHead>, RequestError> {
        while let Some(end) = self.line_end(bytes)? {
            let range = self.line..end;
            let line = bytes.get(range.clone()).unwrap_or_default();
            self.line = end + 2;
            self.seen = self.line;
            match (self.fields, line.is_empty()) {
                (Some(_), true) => return self.end(bytes).map(Some),
                (Some(fields), false) => self.field(fields, range, line)?,
                // RFC 9112, 2.2: some clients write one behind a body.
                (None, true) if !self.spaced => self.spaced = true,
                (None, _) => self.request_line(range.start, line)?,
            }
        }
        self.check_rest(bytes.len()).map(|()| None)
    }

    /// The end of the next line, before CR LF.
    fn line_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, RequestError> {
        loop {
            let rest = bytes.get(self.seen..).unwrap_or_default();
            let Some((at, byte)) = first_control(rest) else {
                self.seen = bytes.len();
                return Ok(None);
            };
            let at = self.seen + at;
            match (byte, bytes.get(at + 1)) {
                (b'\t', _) => self.seen = at + 1,
                (b'\r', Some(b'\n')) => return Ok(Some(at)),
                (b'\r', None) => {
                    self.seen = at;
                    return Ok(None);
                }
                (b'\r' | b'\n', _) => return Err(RequestError::LineEnd),
                _ => return Err(RequestError::Control),
            }
        }
    }

    /// Whether the line that has not ended yet may go on.
    fn check_rest(&self, length: usize) -> Result<(), RequestError> {
        let line = length - self.line.min(length);
        match self.fields {
            None if line > self.limits.target + AROUND_TARGET => Err(RequestError::TargetLength(self.limits.target)),
            // Its CR may have come.
            Some(_) if line > self.limits.single + 1 => Err(RequestError::Single(self.limits.single)),
            Some(fields) if length - fields > self.limits.block + 2 => Err(RequestError::Block(self.limits.block)),
            None | Some(_) => Ok(()),
        }
    }

    fn request_line(&mut self, start: usize, line: &[u8]) -> Result<(), RequestError> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            // A space within the target is one as well.
            return Err(RequestError::RequestLine);
        };
        match check_method(method) {
            // Its response is another where the rest of the line is plain.
            Ok(()) | Err(RequestError::Connect) => {}
            Err(fault) => return Err(fault),
        }
        self.method = start..start + method.len();
        if target.len() > self.limits.target {
            return Err(RequestError::TargetLength(self.limits.target));
        }
        self.old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(RequestError::Version),
        };
        if method == b"CONNECT" {
            return Err(RequestError::Connect);
        }
        if !is_target(target, method) {
            return Err(RequestError::Target);
        }
        self.target = self.method.end + 1..self.method.end + 1 + target.len();
        self.fields = Some(self.line);
        Ok(())
    }

    fn field(&mut self, fields: usize, range: Range<usize>, line: &[u8]) -> Result<(), RequestError> {
        self.count += 1;
        if line.len() > self.limits.single {
            return Err(RequestError::Single(self.limits.single));
        }
        if self.count > self.limits.count {
            return Err(RequestError::Count(self.limits.count));
        }
        if range.end + 2 - fields > self.limits.block {
            return Err(RequestError::Block(self.limits.block));
        }
        let colon = line.iter().position(|byte| !is_token_byte(*byte)).ok_or(RequestError::Name)?;
        let (name, value) = line.split_at_checked(colon).ok_or(RequestError::Name)?;
        let value = match value {
            [b':', value @ ..] if !name.is_empty() => trimmed(value),
            _ => return Err(RequestError::Name),
        };
        let place = || range.start + colon + 1..range.end;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host = Some(place()),
            12 if name.eq_ignore_ascii_case(b"content-type") => self.content_type = Some(place()),
            _ => {}
        }
        self.taken.take(name, value)
    }

    fn end(&self, bytes: &[u8]) -> Result<ParsedHead, RequestError> {
        let host = self.host.clone().map(|place| trimmed(bytes.get(place).unwrap_or_default()));
        if host.is_none() && !self.old {
            return Err(RequestError::Host);
        }
        let target = bytes.get(self.target.clone()).unwrap_or_default();
        if let Some(own) = authority(target)
            && (host != Some(own) || !is_authority(own))
        {
            return Err(RequestError::Host);
        }
        let framing = match (self.taken.chunked, self.taken.length) {
            (true, _) if self.old => return Err(RequestError::Coding),
            (true, Some(_)) => return Err(RequestError::Length),
            (true, None) => Framing::Chunked(Chunks::new(self.limits)),
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(ParsedHead { length: self.line, body: BodyFraming(framing) })
    }

    /// A head in the place of one that is not read: as much of it as is plain and says in which form its sender
    /// understands an answer. It ends its connection.
    pub fn placeholder(&self, bytes: &[u8]) -> Vec<u8> {
        let part = |range: &Range<usize>| bytes.get(range.clone()).filter(|part| !part.is_empty());
        let method = part(&self.method).filter(|method| *method != b"CONNECT").unwrap_or(b"-");
        let named = |target: &&[u8]| authority(target).is_none_or(is_authority);
        let target = part(&self.target).filter(named).unwrap_or(b"/");
        let host = self.host.as_ref().and_then(part).map(trimmed).filter(|host| is_authority(host)).unwrap_or(b"-");
        let content_type = self.content_type.as_ref().and_then(part);
        let field: [&[u8]; 2] = content_type.map_or([b"", b""], |value| [b"\r\nContent-Type:", value]);
        // Behind a whole URL another host would be a fault of its own.
        let host = authority(target).unwrap_or(host);
        let [name, value] = field;
        let end = b"\r\nConnection: close\r\n\r\n";
        [method, b" ", target, b" HTTP/1.1\r\nHost: ", host, name, value, end].concat()
    }
}

/// The first control character, in steps that the compiler makes wide.
fn first_control(bytes: &[u8]) -> Option<(usize, u8)> {
    let is_control = |byte: &u8| *byte < b' ' || *byte == 0x7f;
    let (blocks, rest) = bytes.as_chunks::<32>();
    let in_block = |block: &[u8; 32]| block.iter().fold(false, |found, byte| found | is_control(byte));
    let whole = blocks.iter().position(in_block);
    let (start, tail) = match whole {
        Some(block) => (block * 32, blocks.get(block).map_or(&[][..], |block| block.as_slice())),
        None => (blocks.len() * 32, rest),
    };
    let (at, byte) = tail.iter().enumerate().find(|(_, byte)| is_control(byte))?;
    Some((start + at, *byte))
}

/// Without the white space that may stand around a value.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
