//! The values of a document and their positions in the source.

use compact_str::CompactString;
use std::ops::Range;

/// The maximum nesting depth.
pub const MAX_DEPTH: usize = 32;

/// Why a document is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct JsonError {
    /// What was found.
    pub what: String,
    /// The byte offset, from 0.
    pub offset: usize,
}

/// A value and its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The range of its bytes in the source.
    pub span: Range<usize>,
    /// The content.
    pub kind: Kind,
}

/// The content of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number. Its digits are in the node's range.
    Number,
    /// A string, unescaped.
    Text(CompactString),
    /// An array.
    Array(Vec<Node>),
    /// An object.
    Object(Vec<Member>),
}

impl Kind {
    /// The name of the type in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool(_) => "boolean",
            Kind::Number => "number",
            Kind::Text(_) => "string",
            Kind::Array(_) => "array",
            Kind::Object(_) => "object",
        }
    }
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The range of the key's bytes, including the quotes.
    pub key_span: Range<usize>,
    /// The key, unescaped.
    pub key: CompactString,
    /// The value.
    pub value: Node,
}

/// The value of the member with this key.
pub fn member<'m>(members: &'m [Member], key: &str) -> Option<&'m Node> {
    members.iter().find(|member| member.key == key).map(|member| &member.value)
}
