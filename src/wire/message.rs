//! Messages with a schema: parsed strictly from protocol buffers or JSON into one representation, and edited in place.
//! Unknown fields, their order, and all bytes that are not edited are preserved.
//!
//! Sources: the documents "Encoding" and "ProtoJSON Format" of Protocol Buffers.

mod edit;
mod from_json;
mod from_proto;
mod list;
mod mask;
mod object;
mod rules;
mod structs;

pub use mask::masked;
pub use object::{Codec, Element, Entry, Item, MAX_UNKNOWN, MessageError, Object, SecondsNanos, Value};
pub use rules::ConstraintViolation;

use super::json::MAX_TOKENS;
use super::schema::Message;
use bytes::Bytes;
use std::fmt;

/// A parsed message and its original bytes.
#[derive(Clone)]
pub struct Parsed {
    codec: Codec,
    source: Bytes,
    root: Object,
}

/// A change of a message. Map entries are referred to by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Replace an entry's key.
    Key(usize, String),
    /// Replace an entry's value.
    Value(usize, Vec<u8>),
    /// Remove an entry.
    Remove(usize),
    /// Add an entry.
    Add(String, Vec<u8>),
    /// Set this field to a duration, whether or not it was set.
    Duration(&'static str, SecondsNanos),
}

impl fmt::Debug for Parsed {
    /// Does not print the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parsed({} bytes)", self.source.len())
    }
}

impl Parsed {
    /// Parses a message.
    pub fn read(schema: &'static Message, codec: Codec, source: Bytes) -> Result<Parsed, MessageError> {
        Parsed::read_up_to(MAX_TOKENS, schema, codec, source)
    }

    /// Parses a message that has at most `tokens` values and keys in JSON.
    pub fn read_up_to(
        tokens: usize,
        schema: &'static Message,
        codec: Codec,
        source: Bytes,
    ) -> Result<Parsed, MessageError> {
        let root = match codec {
            Codec::Proto => from_proto::object(schema, &source, 0..source.len(), "")?,
            Codec::Json => from_json::root(schema, &source, tokens)?,
        };
        Ok(Parsed { codec, source, root })
    }

    /// The root message.
    pub fn root(&self) -> &Object {
        &self.root
    }

    /// The name of an unset field in this encoding.
    pub fn spelling(&self, name: &'static str) -> &'static str {
        let field = self.root.schema.field(name);
        match self.codec {
            Codec::Proto => name,
            Codec::Json => field.map_or(name, |field| field.json),
        }
    }

    /// All violations of the provider's validation rules, in the order of the fields.
    pub fn constraint_violations(&self) -> Vec<ConstraintViolation> {
        rules::constraint_violations(&self.root, self.codec)
    }
}

#[cfg(test)]
mod tests;
