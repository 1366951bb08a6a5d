//! Masks messages with a schema. What cannot be masked is not shown: then there is no masked message.
//!
//! The schema decides what is a text: in JSON, times and large numbers are strings too. Times, numbers, lists and what is
//! not parsed are removed where they are masked. The values of a map are bytes, so they become the bytes of the mask.

use super::Codec;
use super::edit::put_entry;
use super::from_json::find;
use super::from_proto::metadata_entry;
use crate::wire::json::{Document, Kind as Json, Member, Node, Splice, quoted, removal};
use crate::wire::masking::{FieldMask, MASK, Shown, Within};
use crate::wire::proto::{RawField, RawValue, fields, put_bytes};
use crate::wire::schema::{Field, FieldType, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::ops::Range;

/// The message without what the mask hides of it. `None` if it is malformed, or if what is hidden has a form that cannot
/// be masked. In JSON it has at most `tokens` values and keys.
pub fn masked<M: FieldMask>(
    tokens: usize,
    schema: &'static Message,
    codec: Codec,
    source: &Bytes,
    mask: &M,
) -> Option<Bytes> {
    let within = Within::Partly(mask);
    match codec {
        Codec::Proto => {
            let mut out = Vec::with_capacity(source.len());
            proto(schema, source, 0..source.len(), &within, &mut out)?;
            Some(out.into())
        }
        Codec::Json => {
            let document = Document::parse_up_to(tokens, source.clone()).ok()?;
            let mut splices = Vec::new();
            json(schema, document.root(), &within, &mut splices)?;
            Some(document.spliced(&splices))
        }
    }
}

/// Writes what is shown of the message in this range.
fn proto<M: FieldMask>(
    schema: &'static Message,
    source: &[u8],
    content: Range<usize>,
    within: &Within<M>,
    out: &mut Vec<u8>,
) -> Option<()> {
    for raw in fields(source, content) {
        let raw = raw.ok()?;
        let field = schema.fields.iter().find(|field| field.number == raw.number);
        match (within.member(field.map_or("", |field| field.name)), field) {
            (Shown::Whole, _) => out.extend_from_slice(source.get(raw.span)?),
            // What an unknown field contains is unknown.
            (Shown::Dropped, _) | (Shown::Masked | Shown::Partly(_), None) => {}
            (Shown::Masked, Some(field)) => proto_field::<M>(field, source, &raw, &Within::Masked, out)?,
            (Shown::Partly(mask), Some(field)) => proto_field(field, source, &raw, &Within::Partly(&mask), out)?,
        }
    }
    Some(())
}

/// Writes what is shown of a field that is not shown as a whole.
fn proto_field<M: FieldMask>(
    field: &Field,
    source: &[u8],
    raw: &RawField,
    within: &Within<M>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let content = match &raw.value {
        RawValue::Bytes(content) => Some(content.clone()),
        RawValue::Varint(_) | RawValue::Fixed => None,
    };
    match (field.kind, within) {
        (FieldType::Message(schema), _) | (FieldType::Messages(schema), Within::Partly(_)) => {
            let mut inner = Vec::new();
            proto(schema, source, content?, within, &mut inner)?;
            put_bytes(out, raw.number, &inner);
        }
        (FieldType::Metadata, _) => {
            let entry = metadata_entry(source, raw, "").ok()?;
            match within.member(&entry.key) {
                Shown::Whole => out.extend_from_slice(source.get(raw.span.clone())?),
                Shown::Dropped => {}
                Shown::Masked | Shown::Partly(_) => put_entry(out, raw.number, &entry.key, MASK.as_bytes()),
            }
        }
        (FieldType::Text, Within::Masked) => {
            content?;
            put_bytes(out, raw.number, MASK.as_bytes());
        }
        (_, Within::Masked) => {}
        (_, Within::Partly(_)) => return None,
    }
    Some(())
}

/// Collects the changes of the message in a JSON object.
fn json<M: FieldMask>(
    schema: &'static Message,
    node: &Node,
    within: &Within<M>,
    splices: &mut Vec<Splice>,
) -> Option<()> {
    let Json::Object(members) = &node.kind else {
        return None;
    };
    each_member(members, splices, |member, splices| {
        let field = find(schema, member, "").ok()?;
        let null = matches!(member.value.kind, Json::Null);
        match (within.member(field.map_or("", |field| field.name)), field) {
            (Shown::Whole, _) => Some(true),
            (Shown::Partly(_), Some(_)) if null => Some(true),
            // What an unknown field contains is unknown.
            (Shown::Dropped, _) | (Shown::Masked | Shown::Partly(_), None) => Some(false),
            (Shown::Masked, Some(_)) if null => Some(false),
            (Shown::Masked, Some(field)) => json_field::<M>(field, &member.value, &Within::Masked, splices),
            (Shown::Partly(mask), Some(field)) => json_field(field, &member.value, &Within::Partly(&mask), splices),
        }
    })
}

/// Collects the changes of a field that is not shown as a whole. Whether it stays; `None` if it cannot be masked.
fn json_field<M: FieldMask>(field: &Field, node: &Node, within: &Within<M>, splices: &mut Vec<Splice>) -> Option<bool> {
    match (field.kind, within, &node.kind) {
        (FieldType::Message(schema), _, _) => json(schema, node, within, splices)?,
        (FieldType::Messages(schema), Within::Partly(_), Json::Array(items)) => {
            items.iter().try_for_each(|item| json(schema, item, within, splices))?;
        }
        (FieldType::Metadata, _, Json::Object(entries)) => {
            each_member(entries, splices, |entry, splices| match within.member(&entry.key) {
                Shown::Whole => Some(true),
                Shown::Dropped => Some(false),
                Shown::Masked | Shown::Partly(_) => {
                    splices.push(Splice { at: entry.value.span.clone(), text: quoted(&STANDARD.encode(MASK)) });
                    Some(true)
                }
            })?;
        }
        (FieldType::Text, Within::Masked, Json::Text(_)) => {
            splices.push(Splice { at: node.span.clone(), text: quoted(MASK) });
        }
        (FieldType::Text | FieldType::Metadata, Within::Masked, _) => return None,
        (_, Within::Masked, _) => return Some(false),
        (_, Within::Partly(_), _) => return None,
    }
    Some(true)
}

/// Removes the members that do not stay.
fn each_member(
    members: &[Member],
    splices: &mut Vec<Splice>,
    mut stays: impl FnMut(&Member, &mut Vec<Splice>) -> Option<bool>,
) -> Option<()> {
    let spans: Vec<Range<usize>> = members.iter().map(|m| m.key_span.start..m.value.span.end).collect();
    let mut kept_before = false;
    for (index, member) in members.iter().enumerate() {
        if stays(member, splices)? {
            kept_before = true;
        } else {
            splices.push(Splice { at: removal(&spans, index, kept_before), text: String::new() });
        }
    }
    Some(())
}
