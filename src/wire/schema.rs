//! Message schemas. The dialects' tables are static values of these types.

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// The name in the provider's validation errors: `SetSessionRequest`, `RequestChallenges_WebAuthN`.
    pub name: &'static str,
    /// The known fields, in the order of their numbers. Unknown fields are preserved.
    pub fields: &'static [Field],
    /// The groups of mutually exclusive fields.
    pub oneofs: &'static [OneOf],
}

/// A group of fields of which at most one may be set.
#[derive(Debug)]
pub struct OneOf {
    /// The name in the provider's validation errors.
    pub name: &'static str,
    /// The field numbers of the group.
    pub members: &'static [u32],
    /// Whether one of them must be set.
    pub required: bool,
}

/// A field of a message type.
#[derive(Debug)]
pub struct Field {
    /// The field number.
    pub number: u32,
    /// The name in protocol buffers, which JSON may use too.
    pub name: &'static str,
    /// The name in JSON.
    pub json: &'static str,
    /// The type of the value.
    pub kind: FieldType,
    /// The provider's validation rule.
    pub constraint: Constraint,
}

/// The type of a field's value.
#[derive(Debug, Clone, Copy)]
pub enum FieldType {
    /// A string.
    Text,
    /// `true` or `false`.
    Bool,
    /// An unsigned integer of 32 or 64 bits.
    Unsigned,
    /// One of these enum values.
    Enum(&'static [(i32, &'static str)]),
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// A nested message.
    Message(&'static Message),
    /// A list of nested messages.
    Messages(&'static Message),
    /// `map<string, bytes>`.
    Metadata,
    /// `google.protobuf.Struct`: a JSON object.
    Struct,
    /// Any message, possibly repeated. Its content is not parsed.
    Opaque,
}

/// A provider's validation rule for a field (the rules of protoc-gen-validate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// No rule.
    None,
    /// The length in characters.
    Runes {
        /// The minimum.
        min: usize,
        /// The maximum.
        max: usize,
    },
    /// The length in characters, if the field is set.
    OptionalRunes {
        /// The minimum.
        min: usize,
        /// The maximum.
        max: usize,
    },
    /// Exactly this many characters.
    ExactRunes(usize),
    /// At least this many characters.
    MinRunes(usize),
    /// A positive duration, if the field is set.
    Positive,
    /// The field must be set.
    Required,
    /// A declared enum value other than 0.
    Defined,
}

impl Message {
    /// Whether `spelling` is a name of this field.
    pub fn names(&self, field: &str, spelling: &str) -> bool {
        self.field(field).is_some_and(|field| field.name == spelling || field.json == spelling)
    }

    /// The field with this protocol buffers name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}
