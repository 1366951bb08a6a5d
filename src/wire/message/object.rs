//! The view of a message: what the schema knows in its bytes, and where that stands.

use crate::wire::proto::ProtoError;
use crate::wire::schema::{Field, Message};
use std::fmt;
use std::ops::Range;

/// An encoding of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Protocol buffers.
    Proto,
    /// JSON, as protocol buffers define it.
    Json,
}

/// Why a body is no message of its schema. It holds no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MessageError(pub(in crate::wire) String);

impl From<ProtoError> for MessageError {
    fn from(error: ProtoError) -> MessageError {
        MessageError(error.to_string())
    }
}

/// A length of time, or a time since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecondsNanos {
    /// Whole seconds.
    pub seconds: i64,
    /// Billionths of a second, of the same sign.
    pub nanos: i32,
}

impl fmt::Display for SecondsNanos {
    /// As JSON has it: `18000s`, `1.500s`.
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

/// The most that a duration may be, either way, in seconds (`google/protobuf/duration.proto`).
pub(super) const MAX_DURATION: i64 = 315_576_000_000;
/// How many unknown fields of one message are told apart.
pub const MAX_UNKNOWN: usize = 20;
/// How much of an unknown name is kept: it may be as long as the body.
const UNKNOWN_LENGTH: usize = 64;

/// The fields of a message that are known, in the order of the wire.
#[derive(Debug, Clone)]
pub struct Object {
    /// What it is.
    pub schema: &'static Message,
    /// The fields that stand.
    pub items: Vec<Item>,
    /// What else stands, by name in JSON and by number in protocol buffers: the first [`MAX_UNKNOWN`] of them, each
    /// once.
    pub unknown: Vec<String>,
    pub(super) content: Range<usize>,
}

/// A field that stands.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is.
    pub field: &'static Field,
    /// Its name as the caller wrote it.
    pub spelling: String,
    /// What it holds.
    pub value: Value,
    /// In protocol buffers all its bytes, in JSON those of the value.
    pub(super) span: Range<usize>,
}

/// What a field holds.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// An unsigned number.
    Unsigned(u64),
    /// A value of an enumeration.
    Enum(i32),
    /// A length of time.
    Duration(SecondsNanos),
    /// A time.
    Timestamp(SecondsNanos),
    /// Another message.
    Message(Object),
    /// The entries of a map.
    Entries(Vec<Entry>),
    /// Something that nobody looks into.
    Opaque,
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    pub(super) span: Range<usize>,
}

impl Object {
    pub(super) fn new(schema: &'static Message, content: Range<usize>) -> Object {
        Object { schema, items: Vec::new(), unknown: Vec::new(), content }
    }

    pub(super) fn note_unknown(&mut self, name: &str) {
        let name = name.get(..name.floor_char_boundary(UNKNOWN_LENGTH)).unwrap_or_default();
        if self.unknown.len() < MAX_UNKNOWN && !self.unknown.iter().any(|known| known == name) {
            self.unknown.push(name.to_owned());
        }
    }

    /// At most one field of each group may stand. `path` is what errors call the message.
    pub(super) fn check_oneofs(&self, path: &str) -> Result<(), MessageError> {
        for oneof in self.schema.oneofs {
            let mut standing = self.items.iter().filter(|item| oneof.members.contains(&item.field.number));
            if let (Some(one), Some(other)) = (standing.next(), standing.next()) {
                let dot = if path.is_empty() { "" } else { "." };
                return Err(MessageError(format!(
                    "`{path}{dot}{}` and `{path}{dot}{}` exclude each other",
                    one.spelling, other.spelling
                )));
            }
        }
        Ok(())
    }

    /// The field with this name, where it stands.
    pub fn item(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.field.name == name)
    }

    /// The text in a field; none where it is not there.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.item(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The message in a field.
    pub fn message(&self, name: &str) -> Option<&Object> {
        match &self.item(name)?.value {
            Value::Message(object) => Some(object),
            _ => None,
        }
    }

    /// The number in a field.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.item(name)?.value {
            Value::Unsigned(number) => Some(number),
            _ => None,
        }
    }

    /// The entries of the map in a field.
    pub fn entries(&self, name: &str) -> Option<&[Entry]> {
        match &self.item(name)?.value {
            Value::Entries(entries) => Some(entries),
            _ => None,
        }
    }
}
