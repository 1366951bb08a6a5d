//! Parses the JSON encoding of protocol buffers.

use super::object::{Element, Entry, Item, MAX_DURATION, MessageError, Object, SecondsNanos, Value};
use crate::wire::is_ambiguous_spelling;
use crate::wire::json::{Document, Kind as Json, Member, Node};
use crate::wire::schema::{Field, FieldType, Message};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use compact_str::format_compact;

/// Padding is optional.
const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// Parses a body of at most `tokens` values and keys.
pub(super) fn root(schema: &'static Message, source: &Bytes, tokens: usize) -> Result<Object, MessageError> {
    let document = Document::parse_up_to(tokens, source.clone()).map_err(|error| MessageError(error.to_string()))?;
    object(schema, &document, document.root(), "")
}

fn object(schema: &'static Message, document: &Document, node: &Node, path: &str) -> Result<Object, MessageError> {
    let Json::Object(members) = &node.kind else {
        let path = if path.is_empty() { "the body" } else { path };
        return Err(MessageError(format!("expected an object as `{path}`, found {}", node.kind.name())));
    };
    let mut object = Object::new(schema, node.span.clone());
    let mut seen: Vec<u32> = Vec::new();
    for member in members {
        let Some(field) = find(schema, member, path)? else {
            object.add_unknown(&member.key);
            continue;
        };
        let path = if path.is_empty() { member.key.clone() } else { format_compact!("{path}.{}", member.key) };
        if seen.contains(&field.number) {
            return Err(MessageError(format!("`{path}` occurs twice, in both spellings")));
        }
        seen.push(field.number);
        // Null means that the field is not set.
        if matches!(member.value.kind, Json::Null) {
            continue;
        }
        let value = value(field, document, &member.value, &path)?;
        object.items.push(Item { field, spelling: member.key.clone(), value, span: member.value.span.clone() });
    }
    object.check_oneofs(path)?;
    Ok(object)
}

/// The field that a member sets. Fails if some parsers would read the member as a field with another spelling.
pub(super) fn find(
    schema: &'static Message,
    member: &Member,
    path: &str,
) -> Result<Option<&'static Field>, MessageError> {
    let key = member.key.as_str();
    if let Some(field) = schema.fields.iter().find(|field| field.name == key || field.json == key) {
        return Ok(Some(field));
    }
    match schema.fields.iter().find(|field| is_ambiguous_spelling(key, field.json)) {
        Some(field) => {
            let dot = if path.is_empty() { "" } else { "." };
            Err(MessageError(format!("expected `{path}{dot}{}`, found `{}`", field.json, key.escape_debug())))
        }
        None => Ok(None),
    }
}

fn value(field: &Field, document: &Document, node: &Node, path: &str) -> Result<Value, MessageError> {
    let wrong = |expected: &str| MessageError(format!("expected {expected} as `{path}`, found {}", node.kind.name()));
    let text = |expected| match &node.kind {
        Json::Text(text) => Ok(text.as_str()),
        _ => Err(wrong(expected)),
    };
    Ok(match field.kind {
        FieldType::Text => Value::Text(text("a string")?.to_owned()),
        FieldType::Bool => match node.kind {
            Json::Bool(truth) => Value::Bool(truth),
            _ => return Err(wrong("a boolean")),
        },
        FieldType::Unsigned => Value::Unsigned(unsigned(document, node).ok_or_else(|| wrong("a whole number"))?),
        FieldType::Enum(names) => Value::Enum(choice(names, document, node).ok_or_else(|| wrong("a known name"))?),
        FieldType::Duration => {
            let text = text("a duration such as `3600s`")?;
            Value::Duration(
                duration(text).ok_or_else(|| MessageError(format!("`{path}` is not a duration such as `3600s`")))?,
            )
        }
        FieldType::Timestamp => {
            let text = text("an RFC 3339 time")?;
            Value::Timestamp(time(text).ok_or_else(|| MessageError(format!("`{path}` is not an RFC 3339 time")))?)
        }
        FieldType::Message(schema) => Value::Message(object(schema, document, node, path)?),
        FieldType::Messages(schema) => Value::Messages(elements(schema, document, node, path)?),
        FieldType::Metadata => Value::Entries(entries(node, path)?),
        FieldType::Struct => match node.kind {
            Json::Object(_) => Value::Opaque,
            _ => return Err(wrong("an object")),
        },
        FieldType::Opaque => Value::Opaque,
    })
}

fn elements(
    schema: &'static Message,
    document: &Document,
    node: &Node,
    path: &str,
) -> Result<Vec<Element>, MessageError> {
    let Json::Array(items) = &node.kind else {
        return Err(MessageError(format!("expected an array as `{path}`, found {}", node.kind.name())));
    };
    let element = |(at, item): (usize, &Node)| {
        let object = object(schema, document, item, &format!("{path}[{at}]"))?;
        Ok(Element { object, span: item.span.clone() })
    };
    items.iter().enumerate().map(element).collect()
}

fn entries(node: &Node, path: &str) -> Result<Vec<Entry>, MessageError> {
    let Json::Object(members) = &node.kind else {
        return Err(MessageError(format!("expected an object as `{path}`, found {}", node.kind.name())));
    };
    let entry = |member: &Member| match &member.value.kind {
        Json::Text(text) => {
            let value = decoded(text).ok_or_else(|| MessageError(format!("a value of `{path}` is not base64")))?;
            Ok(Entry { key: member.key.clone(), value, span: member.value.span.clone() })
        }
        other => Err(MessageError(format!("expected base64 in a string as value of `{path}`, found {}", other.name()))),
    };
    members.iter().map(entry).collect()
}

/// Decodes either base64 alphabet, padded or not. Rejects mixed alphabets and nonzero trailing bits.
fn decoded(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

fn unsigned(document: &Document, node: &Node) -> Option<u64> {
    let text = match &node.kind {
        Json::Number => document.spelling(node),
        Json::Text(text) => text,
        _ => return None,
    };
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn choice(names: &[(i32, &str)], document: &Document, node: &Node) -> Option<i32> {
    match &node.kind {
        Json::Text(text) => names.iter().find(|(_, name)| name == text).map(|(value, _)| *value),
        Json::Number => document.spelling(node).parse().ok(),
        _ => None,
    }
}

/// Parses `18000s`, `-1.5s`.
fn duration(text: &str) -> Option<SecondsNanos> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 9 {
        return None;
    }
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds <= MAX_DURATION)?;
    let nanos: i32 = format!("{part:0<9}").parse().ok()?;
    Some(if negative { SecondsNanos { seconds: -seconds, nanos: -nanos } } else { SecondsNanos { seconds, nanos } })
}

/// Parses a time of RFC 3339, from 1970 on: no session is older.
fn time(text: &str) -> Option<SecondsNanos> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(SecondsNanos {
        seconds: i64::try_from(since.as_secs()).ok()?,
        nanos: i32::try_from(since.subsec_nanos()).ok()?,
    })
}
