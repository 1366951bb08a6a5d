//! Parses protocol buffers.

use super::object::{Element, Entry, Item, MAX_DURATION, MessageError, Object, SecondsNanos, Value};
use super::structs;
use crate::wire::proto::{RawField, RawValue, fields};
use crate::wire::schema::{Field, FieldType, Message};
use std::collections::HashSet;
use std::ops::Range;

/// The maximum number of entries in a map, and of elements in a list, which limits the memory they use.
const MAX_ENTRIES: usize = 5_000;
/// The range of timestamps: the years 1 to 9999 (`google/protobuf/timestamp.proto`).
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Parses the message in this range. `path` is its name in errors.
pub(super) fn object(
    schema: &'static Message,
    source: &[u8],
    content: Range<usize>,
    path: &str,
) -> Result<Object, MessageError> {
    let mut object = Object::new(schema, content.clone());
    for raw in fields(source, content) {
        let raw = raw?;
        let Some(field) = schema.fields.iter().find(|field| field.number == raw.number) else {
            object.add_unknown(&raw.number.to_string());
            continue;
        };
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        add(&mut object, field, source, &raw, &path)?;
    }
    object.check_oneofs(path)?;
    object.items.iter().try_for_each(check_keys)?;
    Ok(object)
}

fn add(
    object: &mut Object,
    field: &'static Field,
    source: &[u8],
    raw: &RawField,
    path: &str,
) -> Result<(), MessageError> {
    if let FieldType::Opaque = field.kind {
        check_opaque(source, raw, path)?;
    }
    let old = object.items.iter().position(|item| item.field.number == field.number);
    if let (FieldType::Metadata, Some(entry)) = (field.kind, old) {
        let Some(Item { value: Value::Entries(entries), .. }) = object.items.get_mut(entry) else {
            return Ok(());
        };
        if entries.len() >= MAX_ENTRIES {
            return Err(MessageError(format!("`{path}` has more than {MAX_ENTRIES} entries")));
        }
        entries.push(metadata_entry(source, raw, path)?);
        return Ok(());
    }
    if let (FieldType::Messages(schema), Some(list)) = (field.kind, old) {
        let Some(Item { value: Value::Messages(elements), .. }) = object.items.get_mut(list) else {
            return Ok(());
        };
        if elements.len() >= MAX_ENTRIES {
            return Err(MessageError(format!("`{path}` has more than {MAX_ENTRIES} elements")));
        }
        elements.push(element(schema, source, raw, path)?);
        return Ok(());
    }
    if old.is_some() {
        if matches!(field.kind, FieldType::Opaque) {
            return Ok(());
        }
        return Err(MessageError(format!("`{path}` occurs twice")));
    }
    let value = value(field, source, raw, path)?;
    object.items.push(Item { field, spelling: field.name.into(), value, span: raw.span.clone() });
    Ok(())
}

/// Checks that a field of unparsed content is a valid message.
fn check_opaque(source: &[u8], raw: &RawField, path: &str) -> Result<(), MessageError> {
    let RawValue::Bytes(content) = &raw.value else {
        return Err(MessageError(format!("`{path}` has the wrong wire type at byte {}", raw.span.start)));
    };
    fields(source, content.clone()).try_for_each(|field| field.map(drop)).map_err(MessageError::from)
}

fn check_keys(item: &Item) -> Result<(), MessageError> {
    let Value::Entries(entries) = &item.value else {
        return Ok(());
    };
    let mut seen = HashSet::new();
    if entries.iter().all(|entry| seen.insert(&entry.key)) {
        return Ok(());
    }
    Err(MessageError(format!("a key of `{}` occurs twice", item.field.name)))
}

fn value(field: &Field, source: &[u8], raw: &RawField, path: &str) -> Result<Value, MessageError> {
    let wrong = || MessageError(format!("`{path}` has the wrong wire type at byte {}", raw.span.start));
    let bytes = || match &raw.value {
        RawValue::Bytes(content) => Ok(content.clone()),
        RawValue::Varint(_) | RawValue::Fixed => Err(wrong()),
    };
    let number = || match raw.value {
        RawValue::Varint(number) => Ok(number),
        RawValue::Bytes(_) | RawValue::Fixed => Err(wrong()),
    };
    Ok(match field.kind {
        FieldType::Text => Value::Text(text(source, bytes()?, path)?.to_owned()),
        FieldType::Bool => match number()? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            _ => return Err(MessageError(format!("`{path}` is not a boolean"))),
        },
        FieldType::Unsigned => Value::Unsigned(number()?),
        FieldType::Enum(_) => {
            let value = i32::try_from(number()?.cast_signed());
            Value::Enum(value.map_err(|_| MessageError(format!("`{path}` is not a valid enum value")))?)
        }
        FieldType::Duration => Value::Duration(span(source, bytes()?, path, -MAX_DURATION..=MAX_DURATION, true)?),
        FieldType::Timestamp => Value::Timestamp(span(source, bytes()?, path, TIMESTAMPS, false)?),
        FieldType::Message(schema) => Value::Message(object(schema, source, bytes()?, path)?),
        FieldType::Messages(schema) => Value::Messages(vec![element(schema, source, raw, path)?]),
        FieldType::Metadata => Value::Entries(vec![metadata_entry(source, raw, path)?]),
        FieldType::Struct => {
            structs::check(source, bytes()?, path)?;
            Value::Opaque
        }
        FieldType::Opaque => Value::Opaque,
    })
}

fn element(schema: &'static Message, source: &[u8], raw: &RawField, path: &str) -> Result<Element, MessageError> {
    let RawValue::Bytes(content) = &raw.value else {
        return Err(MessageError(format!("`{path}` has the wrong wire type at byte {}", raw.span.start)));
    };
    Ok(Element { object: object(schema, source, content.clone(), path)?, span: raw.span.clone() })
}

fn text<'s>(source: &'s [u8], content: Range<usize>, path: &str) -> Result<&'s str, MessageError> {
    let bytes = source.get(content).unwrap_or_default();
    std::str::from_utf8(bytes).map_err(|_| MessageError(format!("`{path}` is not UTF-8")))
}

pub(super) fn metadata_entry(source: &[u8], raw: &RawField, path: &str) -> Result<Entry, MessageError> {
    let RawValue::Bytes(content) = &raw.value else {
        return Err(MessageError(format!("`{path}` has the wrong wire type at byte {}", raw.span.start)));
    };
    let (mut key, mut value) = (None, None);
    for part in fields(source, content.clone()) {
        let part = part?;
        match (part.number, part.value) {
            (1, RawValue::Bytes(content)) if key.is_none() => key = Some(text(source, content, path)?),
            (2, RawValue::Bytes(content)) if value.is_none() => {
                value = Some(source.get(content).unwrap_or_default().to_vec());
            }
            _ => return Err(MessageError(format!("an entry of `{path}` is not one key and one value"))),
        }
    }
    Ok(Entry { key: key.unwrap_or_default().into(), value: value.unwrap_or_default(), span: raw.span.clone() })
}

fn span(
    source: &[u8],
    content: Range<usize>,
    path: &str,
    allowed: std::ops::RangeInclusive<i64>,
    signed: bool,
) -> Result<SecondsNanos, MessageError> {
    let wrong = || MessageError(format!("`{path}` is not a valid time"));
    let (mut seconds, mut nanos) = (None, None);
    for part in fields(source, content) {
        let part = part?;
        match (part.number, part.value) {
            (1, RawValue::Varint(value)) if seconds.is_none() => seconds = Some(value.cast_signed()),
            (2, RawValue::Varint(value)) if nanos.is_none() => {
                nanos = Some(i32::try_from(value.cast_signed()).map_err(|_| wrong())?);
            }
            _ => return Err(wrong()),
        }
    }
    let span = SecondsNanos { seconds: seconds.unwrap_or_default(), nanos: nanos.unwrap_or_default() };
    let least = if signed { -999_999_999 } else { 0 };
    let agree = span.seconds == 0 || span.nanos == 0 || (span.seconds < 0) == (span.nanos < 0) || !signed;
    let good = allowed.contains(&span.seconds) && (least..=999_999_999).contains(&span.nanos) && agree;
    if good { Ok(span) } else { Err(wrong()) }
}
