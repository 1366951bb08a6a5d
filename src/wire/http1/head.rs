//! The head of an HTTP/1 request: its lines, and the framing of its body.

use super::body::{BodyFraming, Framing};
use super::chunks::Chunks;
use super::error::{HeadLimits, RequestError};
use super::fields::{FramingFields, check_method, is_authority};
use super::token::{MAX_METHOD, authority, is_target, is_token_byte};
use std::ops::Range;

/// The maximum length of the request line without its target.
const AROUND_TARGET: usize = MAX_METHOD + " HTTP/1.1\r\n".len() + 1;

/// A parser of a head that arrives in parts.
#[derive(Debug, Clone)]
pub struct HeadParser {
    limits: HeadLimits,
    /// The start of the current line.
    line: usize,
    /// The end of the bytes that were scanned.
    seen: usize,
    /// The start of the headers; `None` before the request line is complete.
    fields: Option<usize>,
    /// Whether an empty line preceded the request line.
    has_empty_line: bool,
    count: usize,
    is_http10: bool,
    method: Range<usize>,
    target: Range<usize>,
    host: Option<Range<usize>>,
    content_type: Option<Range<usize>>,
    taken: FramingFields,
}

/// A complete and valid head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedHead {
    /// Its length, including the final empty line.
    pub length: usize,
    /// The framing of the body.
    pub body: BodyFraming,
}

impl HeadParser {
    /// A parser without any input yet.
    pub fn new(limits: HeadLimits) -> HeadParser {
        HeadParser {
            limits,
            line: 0,
            seen: 0,
            fields: None,
            has_empty_line: false,
            count: 0,
            is_http10: false,
            method: 0..0,
            target: 0..0,
            host: None,
            content_type: None,
            taken: FramingFields::default(),
        }
    }

    /// Whether `Host` may have another value than a host, such as the path of a socket. The request then names no host.
    pub fn host_optional(mut self, host_optional: bool) -> HeadParser {
        self.taken.host_optional = host_optional;
        self
    }

    /// Parses all bytes of the request so far. Bytes from earlier calls are not scanned again. `None` if the head is
    /// incomplete.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<ParsedHead>, RequestError> {
        while let Some(end) = self.line_end(bytes)? {
            let range = self.line..end;
            let line = bytes.get(range.clone()).unwrap_or_default();
            self.line = end + 2;
            self.seen = self.line;
            match (self.fields, line.is_empty()) {
                (Some(_), true) => return self.end(bytes).map(Some),
                (Some(fields), false) => self.field(fields, range, line)?,
                // RFC 9112, 2.2: some clients send an empty line after a body.
                (None, true) if !self.has_empty_line => self.has_empty_line = true,
                (None, _) => self.request_line(range.start, line)?,
            }
        }
        self.check_rest(bytes.len()).map(|()| None)
    }

    /// The end of the next line, before its CR LF.
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

    /// Checks the length of the incomplete line.
    fn check_rest(&self, length: usize) -> Result<(), RequestError> {
        let line = length - self.line.min(length);
        match self.fields {
            None if line > self.limits.target + AROUND_TARGET => Err(RequestError::TargetLength(self.limits.target)),
            // Its CR may have arrived.
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
            // A target with a space has too many parts, too.
            return Err(RequestError::RequestLine);
        };
        match check_method(method) {
            // CONNECT has its own response, if the rest of the line is valid.
            Ok(()) | Err(RequestError::Connect) => {}
            Err(fault) => return Err(fault),
        }
        self.method = start..start + method.len();
        if target.len() > self.limits.target {
            return Err(RequestError::TargetLength(self.limits.target));
        }
        self.is_http10 = match version {
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

    /// The host and the target of a complete head, as they are in its bytes. The host is empty if there is none.
    pub fn destination<'a>(&self, bytes: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let host = self.host.clone().map_or(Some(&[][..]), |place| bytes.get(place))?;
        let target = bytes.get(self.target.clone())?;
        Some((str::from_utf8(trimmed(host)).ok()?, str::from_utf8(target).ok()?))
    }

    fn end(&self, bytes: &[u8]) -> Result<ParsedHead, RequestError> {
        let host = self.host.clone().map(|place| trimmed(bytes.get(place).unwrap_or_default()));
        if host.is_none() && !self.is_http10 {
            return Err(RequestError::Host);
        }
        let target = bytes.get(self.target.clone()).unwrap_or_default();
        if let Some(own) = authority(target)
            && (host != Some(own) || !is_authority(own))
        {
            return Err(RequestError::Host);
        }
        let framing = match (self.taken.chunked, self.taken.length) {
            (true, _) if self.is_http10 => return Err(RequestError::Coding),
            (true, Some(_)) => return Err(RequestError::Length),
            (true, None) => Framing::Chunked(Chunks::new(self.limits)),
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(ParsedHead { length: self.line, body: BodyFraming(framing) })
    }

    /// A head to forward instead of a rejected one. It keeps the valid parts that determine the form of the response,
    /// and closes the connection.
    pub fn placeholder(&self, bytes: &[u8]) -> Vec<u8> {
        let part = |range: &Range<usize>| bytes.get(range.clone()).filter(|part| !part.is_empty());
        let method = part(&self.method).filter(|method| *method != b"CONNECT").unwrap_or(b"-");
        let named = |target: &&[u8]| authority(target).is_none_or(is_authority);
        let target = part(&self.target).filter(named).unwrap_or(b"/");
        let host = self.host.as_ref().and_then(part).map(trimmed).filter(|host| is_authority(host)).unwrap_or(b"-");
        let content_type = self.content_type.as_ref().and_then(part);
        let field: [&[u8]; 2] = content_type.map_or([b"", b""], |value| [b"\r\nContent-Type:", value]);
        // Another host than that of an absolute URL would be an error of its own.
        let host = authority(target).unwrap_or(host);
        let [name, value] = field;
        let end = b"\r\nConnection: close\r\n\r\n";
        [method, b" ", target, b" HTTP/1.1\r\nHost: ", host, name, value, end].concat()
    }
}

/// The headers of a complete and valid head, as they are spelled: names and values.
pub fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
    lines.skip_while(|line| line.is_empty()).skip(1).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line.get(..colon)?, trimmed(line.get(colon + 1..)?)))
    })
}

/// The first control character. It scans in blocks that the compiler can vectorize.
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

/// A header's value without optional white space around it.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
