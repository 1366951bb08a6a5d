//! `google.protobuf.Struct` in protocol buffers: JSON in another encoding, with the same limits as JSON.
//!
//! Source: `google/protobuf/struct.proto`, which says that a value without a kind is an error.

use super::object::MessageError;
use crate::wire::json::{MAX_DEPTH, MAX_TOKENS};
use crate::wire::proto::{RawField, RawValue, fields};
use std::collections::HashSet;
use std::ops::Range;

/// Checks the object in this range: its depth, its size, and that all parsers read it alike.
pub(super) fn check(source: &[u8], content: Range<usize>, path: &str) -> Result<(), MessageError> {
    Walk { source, path, left: MAX_TOKENS }.object(content, MAX_DEPTH)
}

struct Walk<'a> {
    source: &'a [u8],
    path: &'a str,
    /// How many more keys and values are allowed.
    left: usize,
}

impl<'a> Walk<'a> {
    fn wrong(&self, what: &str) -> MessageError {
        MessageError(format!("`{}` {what}", self.path))
    }

    /// The range of a nested message.
    fn message(&self, raw: &RawField) -> Result<Range<usize>, MessageError> {
        match &raw.value {
            RawValue::Bytes(content) => Ok(content.clone()),
            RawValue::Varint(_) | RawValue::Fixed => Err(self.wrong("has a value of the wrong wire type")),
        }
    }

    fn text(&self, content: Range<usize>) -> Result<&'a str, MessageError> {
        let bytes = self.source.get(content).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| self.wrong("has invalid UTF-8"))
    }

    fn count(&mut self) -> Result<(), MessageError> {
        self.left =
            self.left.checked_sub(1).ok_or_else(|| self.wrong(&format!("has more than {MAX_TOKENS} values")))?;
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Result<usize, MessageError> {
        depth.checked_sub(1).ok_or_else(|| self.wrong(&format!("has more than {MAX_DEPTH} levels of nesting")))
    }

    /// Checks a `Struct`, whose only field is a map.
    fn object(&mut self, content: Range<usize>, depth: usize) -> Result<(), MessageError> {
        let depth = self.deeper(depth)?;
        let mut seen = HashSet::new();
        for entry in fields(self.source, content) {
            let entry = entry?;
            if entry.number != 1 {
                return Err(self.wrong("has an unknown field of an object"));
            }
            if !seen.insert(self.entry(self.message(&entry)?, depth)?) {
                return Err(self.wrong("has a duplicate key"));
            }
        }
        Ok(())
    }

    /// Checks a map entry: one key and one value, in any order. Returns the key.
    fn entry(&mut self, content: Range<usize>, depth: usize) -> Result<&'a str, MessageError> {
        self.count()?;
        let (mut key, mut value) = (None, None);
        for part in fields(self.source, content) {
            let part = part?;
            match part.number {
                1 if key.is_none() => key = Some(self.text(self.message(&part)?)?),
                2 if value.is_none() => value = Some(self.value(self.message(&part)?, depth)?),
                _ => return Err(self.wrong("has an entry that is not one key and one value")),
            }
        }
        value.and(key).ok_or_else(|| self.wrong("has an entry that is not one key and one value"))
    }

    /// Checks a `Value`: exactly one of six kinds.
    fn value(&mut self, content: Range<usize>, depth: usize) -> Result<(), MessageError> {
        self.count()?;
        let mut kinds = 0;
        for kind in fields(self.source, content) {
            let kind = kind?;
            kinds += 1;
            match (kind.number, &kind.value) {
                (1, RawValue::Varint(0)) | (4, RawValue::Varint(0 | 1)) => {}
                (2, RawValue::Fixed) if self.is_number(&kind.span) => {}
                (3, RawValue::Bytes(text)) => drop(self.text(text.clone())?),
                (5, RawValue::Bytes(inner)) => self.object(inner.clone(), depth)?,
                (6, RawValue::Bytes(inner)) => self.list(inner.clone(), depth)?,
                _ => return Err(self.wrong("has a value that JSON cannot represent")),
            }
        }
        if kinds == 1 { Ok(()) } else { Err(self.wrong("has a value without exactly one kind")) }
    }

    /// Checks a `ListValue`.
    fn list(&mut self, content: Range<usize>, depth: usize) -> Result<(), MessageError> {
        let depth = self.deeper(depth)?;
        for item in fields(self.source, content) {
            let item = item?;
            if item.number != 1 {
                return Err(self.wrong("has an unknown field of a list"));
            }
            self.value(self.message(&item)?, depth)?;
        }
        Ok(())
    }

    /// Whether a field of eight bytes is a number that JSON can represent.
    fn is_number(&self, span: &Range<usize>) -> bool {
        let field = self.source.get(span.clone()).unwrap_or_default();
        // After the tag, which is one byte long.
        let bytes = field.get(1..).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        bytes.is_some_and(|bytes| f64::from_le_bytes(bytes).is_finite())
    }
}
