//! Messages that a schema describes: read strictly from protocol buffers or from JSON into one view, and edited in
//! place, so that unknown fields, their order and all bytes that nobody edits survive.
//!
//! Sources: the documents "Encoding" and "ProtoJSON Format" of Protocol Buffers.

mod edit;
mod from_json;
mod from_proto;
mod object;
mod rules;
mod structs;

pub use object::{Codec, Entry, Item, MAX_UNKNOWN, MessageError, Object, SecondsNanos, Value};
pub use rules::ConstraintViolation;

use super::schema::Message;
use bytes::Bytes;
use std::fmt;

/// A message: its bytes, and the view of what the schema knows in them.
#[derive(Clone)]
pub struct Parsed {
    codec: Codec,
    source: Bytes,
    root: Object,
}

/// A change of a message. Entries are named by their place in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Gives an entry another key.
    Key(usize, String),
    /// Gives an entry another value.
    Value(usize, Vec<u8>),
    /// Takes an entry out.
    Remove(usize),
    /// Adds an entry.
    Add(String, Vec<u8>),
    /// Sets the length of time in this field, whether it stood there or not.
    Duration(&'static str, SecondsNanos),
}

impl fmt::Debug for Parsed {
    /// Bodies are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parsed({} bytes)", self.source.len())
    }
}

impl Parsed {
    /// Reads a message.
    pub fn read(schema: &'static Message, codec: Codec, source: Bytes) -> Result<Parsed, MessageError> {
        let root = match codec {
            Codec::Proto => from_proto::object(schema, &source, 0..source.len(), "")?,
            Codec::Json => from_json::root(schema, &source)?,
        };
        Ok(Parsed { codec, source, root })
    }

    /// The view.
    pub fn root(&self) -> &Object {
        &self.root
    }

    /// How a field that does not stand would be spelled.
    pub fn spelling(&self, name: &'static str) -> &'static str {
        let field = self.root.schema.field(name);
        match self.codec {
            Codec::Proto => name,
            Codec::Json => field.map_or(name, |field| field.json),
        }
    }

    /// Everything that the provider's validation would refuse, in the order of the fields.
    pub fn constraint_violations(&self) -> Vec<ConstraintViolation> {
        rules::constraint_violations(&self.root, self.codec)
    }
}

#[cfg(test)]
mod tests;
