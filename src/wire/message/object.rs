//! The parsed representation of a message.

use crate::wire::proto::ProtoError;
use crate::wire::schema::{Field, Message};
use compact_str::CompactString;
use std::fmt;
use std::ops::Range;

/// An encoding of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Protocol buffers.
    Proto,
    /// The JSON encoding of protocol buffers.
    Json,
}

/// Why a body is not a valid message. The text contains no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MessageError(pub(in crate::wire) String);

impl From<ProtoError> for MessageError {
    fn from(error: ProtoError) -> MessageError {
        MessageError(error.to_string())
    }
}

/// A duration, or a time since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecondsNanos {
    /// Whole seconds.
    pub seconds: i64,
    /// Nanoseconds, of the same sign.
    pub nanos: i32,
}

impl fmt::Display for SecondsNanos {
    /// In the JSON encoding: `18000s`, `1.500s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.seconds < 0 || self.nanos < 0 { "-" } else { "" };
        write!(f, "{sign}{}", self.seconds.unsigned_abs())?;
        match self.nanos.unsigned_abs() {
            0 => {}
            nanos if nanos % 1_000_000 == 0 => write!(f, ".{:03}", nanos / 1_000_000)?,
            nanos if nanos % 1_000 == 0 => write!(f, ".{:06}", nanos / 1_000)?,
            nanos => write!(f, ".{nanos:09}")?,
        }
        f.write_str("s")
    }
}

/// The maximum of a duration in either direction, in seconds (`google/protobuf/duration.proto`).
pub(super) const MAX_DURATION: i64 = 315_576_000_000;
/// The maximum number of unknown fields that are listed per message.
pub const MAX_UNKNOWN: usize = 20;
/// The maximum length of an unknown field's name, in bytes. The original may be as long as the body.
const MAX_UNKNOWN_NAME: usize = 64;

/// The known fields of a message, in the order of the wire.
#[derive(Debug, Clone)]
pub struct Object {
    /// The message type.
    pub schema: &'static Message,
    /// The fields that are set.
    pub items: Vec<Item>,
    /// The unknown fields: names in JSON, numbers in protocol buffers. The first [`MAX_UNKNOWN`], each once.
    pub unknown: Vec<String>,
    pub(super) content: Range<usize>,
}

/// A field that is set.
#[derive(Debug, Clone)]
pub struct Item {
    /// The field's definition.
    pub field: &'static Field,
    /// The name as the caller wrote it.
    pub spelling: CompactString,
    /// The value.
    pub value: Value,
    /// The range of its bytes: in protocol buffers the whole field, in JSON the value.
    pub(super) span: Range<usize>,
}

/// The value of a field.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// An unsigned integer.
    Unsigned(u64),
    /// An enum value.
    Enum(i32),
    /// A duration.
    Duration(SecondsNanos),
    /// A time.
    Timestamp(SecondsNanos),
    /// A nested message.
    Message(Object),
    /// The elements of a list of messages.
    Messages(Vec<Element>),
    /// The entries of a map.
    Entries(Vec<Entry>),
    /// Content that is not parsed.
    Opaque,
}

/// An element of a list of messages.
#[derive(Debug, Clone)]
pub struct Element {
    /// The message.
    pub object: Object,
    /// The range of its bytes: in protocol buffers the whole field, in JSON the value.
    pub(super) span: Range<usize>,
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: CompactString,
    /// The value.
    pub value: Vec<u8>,
    pub(super) span: Range<usize>,
}

impl Object {
    pub(super) fn new(schema: &'static Message, content: Range<usize>) -> Object {
        Object { schema, items: Vec::new(), unknown: Vec::new(), content }
    }

    pub(super) fn add_unknown(&mut self, name: &str) {
        let name = name.get(..name.floor_char_boundary(MAX_UNKNOWN_NAME)).unwrap_or_default();
        if self.unknown.len() < MAX_UNKNOWN && !self.unknown.iter().any(|known| known == name) {
            self.unknown.push(name.to_owned());
        }
    }

    /// Rejects two fields of one oneof group. `path` is the message's name in errors.
    pub(super) fn check_oneofs(&self, path: &str) -> Result<(), MessageError> {
        for oneof in self.schema.oneofs {
            let mut standing = self.items.iter().filter(|item| oneof.members.contains(&item.field.number));
            if let (Some(one), Some(other)) = (standing.next(), standing.next()) {
                let dot = if path.is_empty() { "" } else { "." };
                return Err(MessageError(format!(
                    "`{path}{dot}{}` and `{path}{dot}{}` are mutually exclusive",
                    one.spelling, other.spelling
                )));
            }
        }
        Ok(())
    }

    /// The field with this name, if set.
    pub fn item(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.field.name == name)
    }

    /// The string in a field, if set.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.item(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The message in a field, if set.
    pub fn message(&self, name: &str) -> Option<&Object> {
        match &self.item(name)?.value {
            Value::Message(object) => Some(object),
            _ => None,
        }
    }

    /// The string at the end of this path of nested messages, if set.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        match path {
            [] => None,
            [name] => self.text(name),
            [name, rest @ ..] => self.message(name)?.text_at(rest),
        }
    }

    /// The elements of a list of messages; none if the field is not set.
    pub fn elements(&self, name: &str) -> &[Element] {
        match self.item(name).map(|item| &item.value) {
            Some(Value::Messages(elements)) => elements,
            _ => &[],
        }
    }

    /// The unsigned integer in a field, if set.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.item(name)?.value {
            Value::Unsigned(number) => Some(number),
            _ => None,
        }
    }

    /// The map entries in a field, if set.
    pub fn entries(&self, name: &str) -> Option<&[Entry]> {
        match &self.item(name)?.value {
            Value::Entries(entries) => Some(entries),
            _ => None,
        }
    }
}
