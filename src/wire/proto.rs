//! The wire format of protocol buffers. Parsing is strict, so that no two parsers can see different messages.
//!
//! Source: the document "Encoding" of Protocol Buffers.

use std::ops::Range;

/// Why bytes are not a valid message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct ProtoError {
    /// What was found.
    pub what: &'static str,
    /// The byte offset in the body.
    pub offset: usize,
}

/// A field on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawField {
    /// The field number.
    pub number: u32,
    /// The range of all its bytes, including the tag.
    pub span: Range<usize>,
    /// The value.
    pub value: RawValue,
}

/// The value of a field on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawValue {
    /// A varint.
    Varint(u64),
    /// Four or eight bytes.
    Fixed,
    /// The range of length-delimited bytes.
    Bytes(Range<usize>),
}

/// The maximum field number.
const MAX_NUMBER: u64 = (1 << 29) - 1;
/// The maximum number of fields in one message. JSON documents have a maximum of keys and values too.
pub const MAX_FIELDS: usize = 10_000;

/// An iterator over a message's fields. A list of them would take many times the memory of the message.
#[derive(Debug)]
pub struct Fields<'a> {
    source: &'a [u8],
    at: usize,
    end: usize,
    /// How many more fields are allowed.
    left: usize,
}

/// The fields of the message in this range, in order. The iterator ends after an error.
pub fn fields(source: &[u8], within: Range<usize>) -> Fields<'_> {
    Fields { source, at: within.start, end: within.end, left: MAX_FIELDS }
}

impl Iterator for Fields<'_> {
    type Item = Result<RawField, ProtoError>;

    fn next(&mut self) -> Option<Result<RawField, ProtoError>> {
        if self.at >= self.end {
            return None;
        }
        let read = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.field()
            }
            None => Err(self.fault("a message has too many fields")),
        };
        if read.is_err() {
            self.at = self.end;
        }
        Some(read)
    }
}

impl Fields<'_> {
    fn fault(&self, what: &'static str) -> ProtoError {
        ProtoError { what, offset: self.at }
    }

    fn field(&mut self) -> Result<RawField, ProtoError> {
        let start = self.at;
        let tag = self.varint()?;
        if varint_length(tag) != self.at - start {
            return Err(ProtoError { what: "a tag is not encoded in its shortest form", offset: start });
        }
        let number = tag >> 3;
        if number == 0 || number > MAX_NUMBER {
            return Err(ProtoError { what: "a field has an invalid number", offset: start });
        }
        let value = match tag & 7 {
            0 => RawValue::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = self.varint()?;
                let left = self.end - self.at;
                let length = usize::try_from(length).ok().filter(|length| *length <= left);
                let length = length.ok_or_else(|| self.fault("a field is longer than the message"))?;
                let content = self.at..self.at + length;
                self.at = content.end;
                RawValue::Bytes(content)
            }
            5 => self.skip(4)?,
            3 | 4 => return Err(ProtoError { what: "groups are not supported", offset: start }),
            _ => return Err(ProtoError { what: "a field has an unknown wire type", offset: start }),
        };
        Ok(RawField { number: u32::try_from(number).unwrap_or_default(), span: start..self.at, value })
    }

    fn skip(&mut self, length: usize) -> Result<RawValue, ProtoError> {
        if self.end - self.at < length {
            return Err(self.fault("a field is truncated"));
        }
        self.at += length;
        Ok(RawValue::Fixed)
    }

    fn varint(&mut self) -> Result<u64, ProtoError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if self.at >= self.end {
                return Err(ProtoError { what: "a number is truncated", offset: start });
            }
            let byte = self.source.get(self.at).copied().unwrap_or_default();
            self.at += 1;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtoError { what: "a number is larger than 64 bits", offset: start })
    }
}

/// The length of a varint, in bytes.
fn varint_length(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

/// Writes a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Writes a varint field.
pub fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Writes a length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &[u8]) -> Result<Vec<RawField>, ProtoError> {
        fields(source, 0..source.len()).collect()
    }

    #[test]
    fn fields_are_parsed_in_order() {
        // GetSessionRequest{session_id: "s1"}, then number 3 = 300, then eight and four bytes.
        let source = b"\x0a\x02s1\x18\xac\x02\x21\0\0\0\0\0\0\0\0\x2d\0\0\0\0";
        let all = read(source).unwrap();
        let numbers: Vec<u32> = all.iter().map(|field| field.number).collect();
        assert_eq!(numbers, [1, 3, 4, 5]);
        assert_eq!(all[0].value, RawValue::Bytes(2..4));
        assert_eq!(all[1].value, RawValue::Varint(300));
        assert_eq!(all[1].span, 4..7);
    }

    #[test]
    fn ambiguous_messages_are_rejected() {
        for (source, what) in [
            (&b"\x0a\x05s1"[..], "longer than the message"),
            (b"\x0a", "is truncated"),
            (b"\x08\x80", "is truncated"),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "larger than 64 bits"),
            (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "larger than 64 bits"),
            (b"\x8a\x00\x02s1", "not encoded in its shortest form"),
            (b"\x02\x00", "invalid number"),
            (b"\x0b\x0c", "groups"),
            (b"\x0e\x00", "unknown wire type"),
            (b"\x09\0\0\0", "is truncated"),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "longer than the message"),
        ] {
            let error = read(source).unwrap_err().to_string();
            assert!(error.contains(what), "{source:?}: {error}");
        }
    }

    #[test]
    fn number_of_fields_is_limited() {
        let most = b"\x78\x01".repeat(MAX_FIELDS);
        assert_eq!(read(&most).unwrap().len(), MAX_FIELDS);
        let more = [&most[..], b"\x78\x01"].concat();
        assert!(read(&more).unwrap_err().to_string().contains("too many fields"));
    }

    #[test]
    fn written_fields_round_trip() {
        let mut out = Vec::new();
        put_number(&mut out, 1, u64::MAX);
        put_bytes(&mut out, 536_870_911, b"x");
        let all = read(&out).unwrap();
        assert_eq!(all[0].value, RawValue::Varint(u64::MAX));
        assert_eq!(all[1].number, 536_870_911);
    }
}
