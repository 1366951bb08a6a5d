//! The JSON form of protobuf messages, as Go's protojson reads and writes it (protobuf.dev, "ProtoJSON format").

mod values;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A parsed JSON value. Unlike `serde_json::Value` it keeps duplicate names, since protojson rejects them only for
/// known fields.
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Reads a text that is one JSON value.
pub(super) fn parse(text: &[u8]) -> Result<Node, String> {
    serde_json::from_slice(text).map_err(|error| format!("syntax error: {error}"))
}

/// Reads the first JSON value of a text and leaves the rest, as the REST side does; `None` of a blank text.
pub(super) fn parse_first(text: &[u8]) -> Result<Option<Node>, String> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Node>();
    values.next().transpose().map_err(|error| format!("syntax error: {error}"))
}

/// A value that stands in a field, a list or a map.
pub(super) trait Scalar: Sized {
    /// Reads it; `null` is handled before.
    fn read(node: Node) -> Result<Self, String>;
    /// Writes it.
    fn write(&self) -> Value;
}

/// A field of a message.
pub(super) trait Field: Sized {
    /// Takes the field out of an object's members.
    fn take(members: &mut Members, name: &str) -> Result<Self, String>;
    /// Puts it into an object, unless it is empty.
    fn put(&self, name: &str, object: &mut Map<String, Value>);
}

/// The members of an object that is read as a message.
pub(super) struct Members(Vec<(String, Node)>);

impl Members {
    /// The members, if the value is an object.
    pub(super) fn of(node: Node) -> Result<Self, String> {
        match node {
            Node::Object(members) => Ok(Self(members)),
            other => Err(format!("unexpected token {other}")),
        }
    }

    /// Takes a field out, under its own name or its JSON name. `null` is no value, but it counts as a duplicate.
    pub(super) fn take(&mut self, field: &str) -> Result<Option<Node>, String> {
        let json_name = camel(field);
        let mut found = None;
        for (name, node) in &mut self.0 {
            if name != field && *name != json_name {
                continue;
            }
            if found.is_some() {
                return Err(format!("duplicate field \"{name}\""));
            }
            found = Some(std::mem::replace(node, Node::Null));
        }
        Ok(found.filter(|node| !matches!(node, Node::Null)))
    }
}

/// The JSON name of a field: `session_id` is `sessionId`.
pub(super) fn camel(field: &str) -> String {
    let mut upper = false;
    let mut name = String::with_capacity(field.len());
    for c in field.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                name.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => name.push(c),
        }
    }
    name
}

/// A message of any kind may be absent, and then it differs from an empty one.
impl<T: Scalar> Field for Option<T> {
    fn take(members: &mut Members, name: &str) -> Result<Self, String> {
        members.take(name)?.map(T::read).transpose()
    }

    fn put(&self, name: &str, object: &mut Map<String, Value>) {
        if let Some(value) = self {
            object.insert(camel(name), value.write());
        }
    }
}

impl<T: Scalar> Field for Vec<T> {
    fn take(members: &mut Members, name: &str) -> Result<Self, String> {
        match members.take(name)? {
            None => Ok(Self::new()),
            Some(Node::List(list)) => list.into_iter().map(T::read).collect(),
            Some(other) => Err(format!("unexpected token {other}")),
        }
    }

    fn put(&self, name: &str, object: &mut Map<String, Value>) {
        if !self.is_empty() {
            object.insert(camel(name), self.iter().map(T::write).collect());
        }
    }
}

impl<T: Scalar> Field for BTreeMap<String, T> {
    fn take(members: &mut Members, name: &str) -> Result<Self, String> {
        let entries = match members.take(name)? {
            None => return Ok(Self::new()),
            Some(Node::Object(entries)) => entries,
            Some(other) => return Err(format!("unexpected token {other}")),
        };
        let mut map = Self::new();
        for (key, node) in entries {
            if map.contains_key(&key) {
                return Err(format!("duplicate map key \"{key}\""));
            }
            map.insert(key, T::read(node)?);
        }
        Ok(map)
    }

    fn put(&self, name: &str, object: &mut Map<String, Value>) {
        if !self.is_empty() {
            let entries = self.iter().map(|(key, value)| (key.clone(), value.write()));
            object.insert(camel(name), Value::Object(entries.collect()));
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Number(value) => write!(formatter, "{value}"),
            Self::Text(value) => write!(formatter, "{value:?}"),
            Self::List(_) => formatter.write_str("["),
            Self::Object(_) => formatter.write_str("{"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = access.next_key()? {
            members.push((key, access.next_value().map_err(A::Error::custom)?));
        }
        Ok(Node::Object(members))
    }
}
