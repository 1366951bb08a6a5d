//! Single values in JSON: numbers, texts, bytes, times and free-form structures.

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_types::value::Kind;
use prost_types::{Duration, ListValue, Struct, Timestamp};
use serde_json::{Map, Value};

use super::{Field, Members, Node, Scalar, camel};

/// The names of the enum values that requests can have; names are unique across the enums.
const ENUM_VALUES: [(&str, i32); 11] = [
    ("USER_VERIFICATION_REQUIREMENT_UNSPECIFIED", 0),
    ("USER_VERIFICATION_REQUIREMENT_REQUIRED", 1),
    ("USER_VERIFICATION_REQUIREMENT_PREFERRED", 2),
    ("USER_VERIFICATION_REQUIREMENT_DISCOURAGED", 3),
    ("SESSION_FIELD_NAME_UNSPECIFIED", 0),
    ("SESSION_FIELD_NAME_CREATION_DATE", 1),
    ("TIMESTAMP_QUERY_METHOD_EQUALS", 0),
    ("TIMESTAMP_QUERY_METHOD_GREATER", 1),
    ("TIMESTAMP_QUERY_METHOD_GREATER_OR_EQUALS", 2),
    ("TIMESTAMP_QUERY_METHOD_LESS", 3),
    ("TIMESTAMP_QUERY_METHOD_LESS_OR_EQUALS", 4),
];
/// The longest duration that protobuf allows, in seconds either way.
const LONGEST_DURATION: i64 = 315_576_000_000;
/// Go's decoder takes stray bits in the last character, and protojson takes padded and unpadded texts.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const PLAIN_BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL_BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Implements a field without presence: absent is the empty value, and the empty value is not written.
macro_rules! plain_field {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn take(members: &mut Members, name: &str) -> Result<Self, String> {
                Ok(members.take(name)?.map(<$type as Scalar>::read).transpose()?.unwrap_or_default())
            }

            fn put(&self, name: &str, object: &mut Map<String, Value>) {
                if *self != <$type>::default() {
                    object.insert(camel(name), Scalar::write(self));
                }
            }
        }
    )*};
}

plain_field!(String bool u64 u32 i32 Vec<u8>);

impl Scalar for String {
    fn read(node: Node) -> Result<Self, String> {
        match node {
            Node::Text(text) => Ok(text),
            other => Err(format!("invalid value for string type: {other}")),
        }
    }

    fn write(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl Scalar for bool {
    fn read(node: Node) -> Result<Self, String> {
        match node {
            Node::Bool(value) => Ok(value),
            other => Err(format!("invalid value for bool type: {other}")),
        }
    }

    fn write(&self) -> Value {
        Value::from(*self)
    }
}

/// Written as a text, since JSON's numbers are not exact beyond 2^53.
impl Scalar for u64 {
    fn read(node: Node) -> Result<Self, String> {
        let invalid = format!("invalid value for uint64 type: {node}");
        let number = match node {
            Node::Number(number) => number,
            Node::Text(text) => serde_json::from_str(&text).map_err(|_| invalid.clone())?,
            _ => return Err(invalid),
        };
        number.as_u64().or_else(|| number.as_f64().and_then(whole)).ok_or(invalid)
    }

    fn write(&self) -> Value {
        Value::from(self.to_string())
    }
}

impl Scalar for u32 {
    fn read(node: Node) -> Result<Self, String> {
        let invalid = format!("invalid value for uint32 type: {node}");
        Self::try_from(u64::read(node)?).map_err(|_| invalid)
    }

    fn write(&self) -> Value {
        Value::from(*self)
    }
}

/// The messages have no other 32-bit signed numbers than enum values.
impl Scalar for i32 {
    fn read(node: Node) -> Result<Self, String> {
        let invalid = format!("invalid value for enum field: {node}");
        let number = match node {
            Node::Number(number) => number.as_i64().and_then(|number| Self::try_from(number).ok()),
            Node::Text(text) => ENUM_VALUES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number),
            _ => None,
        };
        number.ok_or(invalid)
    }

    fn write(&self) -> Value {
        Value::from(*self)
    }
}

impl Scalar for Vec<u8> {
    fn read(node: Node) -> Result<Self, String> {
        let Node::Text(text) = node else {
            return Err(format!("invalid value for bytes type: {node}"));
        };
        let engine = if text.contains(['-', '_']) { URL_BASE64 } else { PLAIN_BASE64 };
        let bytes = engine.decode(text.replace(['\r', '\n'], ""));
        bytes.map_err(|_| format!("invalid value for bytes type: {text:?}"))
    }

    fn write(&self) -> Value {
        Value::from(PLAIN_BASE64.encode(self))
    }
}

impl Scalar for Timestamp {
    fn read(node: Node) -> Result<Self, String> {
        let text = String::read(node)?;
        text.parse().map_err(|_| format!("invalid google.protobuf.Timestamp value {text:?}"))
    }

    fn write(&self) -> Value {
        Value::from(self.to_string())
    }
}

impl Scalar for Duration {
    fn read(node: Node) -> Result<Self, String> {
        let text = String::read(node)?;
        let duration = text.parse::<Self>().ok().filter(|duration| duration.seconds.abs() <= LONGEST_DURATION);
        duration.ok_or_else(|| format!("invalid google.protobuf.Duration value {text:?}"))
    }

    fn write(&self) -> Value {
        Value::from(self.to_string())
    }
}

impl Scalar for Struct {
    fn read(node: Node) -> Result<Self, String> {
        let mut fields = BTreeMap::new();
        let Node::Object(members) = node else {
            return Err(format!("unexpected token {node}"));
        };
        for (name, node) in members {
            if fields.contains_key(&name) {
                return Err(format!("duplicate map key \"{name}\""));
            }
            fields.insert(name, prost_types::Value::read(node)?);
        }
        Ok(Self { fields })
    }

    fn write(&self) -> Value {
        self.fields.iter().map(|(name, value)| (name.clone(), value.write())).collect()
    }
}

impl Scalar for prost_types::Value {
    fn read(node: Node) -> Result<Self, String> {
        let kind = match node {
            Node::Null => Kind::NullValue(0),
            Node::Bool(value) => Kind::BoolValue(value),
            Node::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
            Node::Text(text) => Kind::StringValue(text),
            Node::List(list) => {
                let values = list.into_iter().map(Self::read).collect::<Result<_, _>>()?;
                Kind::ListValue(ListValue { values })
            }
            Node::Object(members) => Kind::StructValue(Struct::read(Node::Object(members))?),
        };
        Ok(Self { kind: Some(kind) })
    }

    fn write(&self) -> Value {
        match &self.kind {
            None | Some(Kind::NullValue(_)) => Value::Null,
            Some(Kind::BoolValue(value)) => Value::from(*value),
            Some(Kind::NumberValue(number)) => Value::from(*number),
            Some(Kind::StringValue(text)) => Value::from(text.as_str()),
            Some(Kind::ListValue(list)) => list.values.iter().map(Self::write).collect(),
            Some(Kind::StructValue(fields)) => fields.write(),
        }
    }
}

/// A whole number in another spelling, such as `1e3`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is whole and in range")]
fn whole(number: f64) -> Option<u64> {
    let fits = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    fits.then_some(number as u64)
}
