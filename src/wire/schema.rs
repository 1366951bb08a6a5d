//! What messages look like: the tables of providers are static values of these types.

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its name, as the provider's validation says it: `SetSessionRequest`, `RequestChallenges_WebAuthN`.
    pub name: &'static str,
    /// The fields that are looked at, in the order of their numbers. Others are kept as they are.
    pub fields: &'static [Field],
    /// The groups of fields of which at most one may stand.
    pub oneofs: &'static [OneOf],
}

/// A group of fields of which at most one may stand.
#[derive(Debug)]
pub struct OneOf {
    /// Its name, as the provider's validation says it.
    pub name: &'static str,
    /// The numbers of its fields.
    pub members: &'static [u32],
    /// Whether one of them has to stand.
    pub required: bool,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number in protocol buffers.
    pub number: u32,
    /// Its name in protocol buffers, which JSON may use as well.
    pub name: &'static str,
    /// Its name in JSON.
    pub json: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What the provider's validation asks of it.
    pub rule: Rule,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`.
    Bool,
    /// An unsigned number of 32 or 64 bits.
    Unsigned,
    /// One of these values.
    Enum(&'static [(i32, &'static str)]),
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// Another message.
    Message(&'static Message),
    /// `map<string, bytes>`.
    Metadata,
    /// `google.protobuf.Struct`: an object of JSON.
    Struct,
    /// Something that nobody looks into, and that may stand several times.
    Opaque,
}

/// What a provider's validation asks of a field (the rules of protoc-gen-validate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nothing.
    None,
    /// That many characters.
    Runes {
        /// At least.
        min: usize,
        /// At the most.
        max: usize,
    },
    /// That many characters, where it is there at all.
    OptionalRunes {
        /// At least.
        min: usize,
        /// At the most.
        max: usize,
    },
    /// Exactly that many characters.
    ExactRunes(usize),
    /// At least that many characters.
    MinRunes(usize),
    /// A time above nothing, where it is there at all.
    Positive,
    /// It has to be there.
    Required,
    /// One of the values that are declared, and not 0.
    Defined,
}

impl Message {
    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}
