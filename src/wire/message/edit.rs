//! Edits messages in place.

use super::{Codec, Edit, Entry, Item, Parsed, SecondsNanos, Value};
use crate::wire::json;
use crate::wire::proto::{put_bytes, put_number};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::ops::Range;

/// A range of the source and its replacement.
type Splice = (Range<usize>, Vec<u8>);

/// What happens to a map entry.
enum EntryChange {
    Unchanged,
    Removed,
    Set(String, Vec<u8>),
}

impl Parsed {
    /// The message after these edits, of the map in the field `map` and of fields of the root. Without edits it is the
    /// original bytes.
    pub fn edited(&self, map: &'static str, edits: &[Edit]) -> Bytes {
        if edits.is_empty() {
            return self.source.clone();
        }
        match self.codec {
            Codec::Proto => self.edited_proto(map, edits),
            Codec::Json => self.edited_json(map, edits),
        }
    }

    fn edited_proto(&self, map: &str, edits: &[Edit]) -> Bytes {
        let number = |name: &str| self.root.schema.field(name).map_or(0, |field| field.number);
        let entries = self.root.entries(map).unwrap_or_default();
        let mut splices: Vec<Splice> = Vec::new();
        for (entry, change) in entries.iter().zip(entry_changes(entries, edits)) {
            let mut bytes = Vec::new();
            match change {
                EntryChange::Unchanged => continue,
                EntryChange::Removed => {}
                EntryChange::Set(key, value) => put_entry(&mut bytes, number(map), &key, &value),
            }
            splices.push((entry.span.clone(), bytes));
        }
        let mut behind = Vec::new();
        for edit in edits {
            match (edit, self.root.item(edited_field(edit, map))) {
                (Edit::Add(key, value), _) => put_entry(&mut behind, number(map), key, value),
                (Edit::Duration(name, span), Some(item)) => {
                    let mut bytes = Vec::new();
                    put_duration(&mut bytes, number(name), *span);
                    splices.push((item.span.clone(), bytes));
                }
                (Edit::Duration(name, span), None) => put_duration(&mut behind, number(name), *span),
                (Edit::Key(..) | Edit::Value(..) | Edit::Remove(_), _) => {}
            }
        }
        let mut whole = self.spliced(splices);
        whole.extend_from_slice(&behind);
        whole.into()
    }

    pub(super) fn spliced(&self, mut splices: Vec<Splice>) -> Vec<u8> {
        splices.sort_by_key(|(span, _)| span.start);
        let mut whole = Vec::with_capacity(self.source.len() + 64);
        let mut at = 0;
        for (span, bytes) in splices {
            whole.extend_from_slice(self.source.get(at..span.start).unwrap_or_default());
            whole.extend_from_slice(&bytes);
            at = span.end;
        }
        whole.extend_from_slice(self.source.get(at..).unwrap_or_default());
        whole
    }

    fn edited_json(&self, map: &'static str, edits: &[Edit]) -> Bytes {
        // Gateways from REST to gRPC accept no body as an empty message.
        let mut source = if self.source.is_empty() { Bytes::from_static(b"{}") } else { self.source.clone() };
        let in_map = edits.iter().filter_map(|edit| match edit {
            Edit::Key(at, key) => Some(json::Change::Key(*at, key.clone())),
            Edit::Value(at, value) => Some(json::Change::Text(*at, STANDARD.encode(value))),
            Edit::Remove(at) => Some(json::Change::Remove(*at)),
            Edit::Add(key, value) => Some(json::Change::Add(key.clone(), STANDARD.encode(value))),
            Edit::Duration(..) => None,
        });
        let in_map: Vec<json::Change> = in_map.collect();
        match self.root.item(map) {
            Some(item) => source = edited_within(source, |member| member.value.span == item.span, |_| in_map.clone()),
            None if !in_map.is_empty() => {
                source = self.with_member(source, map, &json::Change::Empty, &json::Change::AddEmpty);
                source = edited_within(source, |member| self.is(map, &member.key), |_| in_map.clone());
            }
            None => {}
        }
        for edit in edits {
            if let Edit::Duration(name, span) = edit {
                source = self.with_duration(source, name, *span);
            }
        }
        source
    }

    fn with_duration(&self, source: Bytes, name: &'static str, span: SecondsNanos) -> Bytes {
        let text = span.to_string();
        let set = |at| json::Change::Text(at, text.clone());
        self.with_member(source, name, &set, &|key| json::Change::Add(key, text.clone()))
    }

    /// Whether a JSON member is this field. It may be null, and then not among the parsed fields.
    fn is(&self, name: &str, key: &str) -> bool {
        key == name || self.root.schema.field(name).is_some_and(|field| field.json == key)
    }

    /// Sets a member, or adds it with its JSON name.
    fn with_member(
        &self,
        source: Bytes,
        name: &'static str,
        set: &dyn Fn(usize) -> json::Change,
        add: &dyn Fn(String) -> json::Change,
    ) -> Bytes {
        let Ok(document) = json::Document::parse(source.clone()) else {
            return source;
        };
        let place = document.members().and_then(|all| all.iter().position(|member| self.is(name, &member.key)));
        let change = place.map_or_else(|| add(self.spelling(name).to_owned()), set);
        document.edited(document.root(), &[change])
    }

    /// The message without these fields of the nested message in the field `within`.
    pub fn without(&self, within: &str, names: &[&str]) -> Bytes {
        let Some(item @ Item { value: Value::Message(object), .. }) = self.root.item(within) else {
            return self.source.clone();
        };
        let gone: Vec<&Item> = object.items.iter().filter(|item| names.contains(&item.field.name)).collect();
        match self.codec {
            Codec::Json => edited_within(
                self.source.clone(),
                |member| member.value.span == item.span,
                |members| {
                    let at = |item: &&Item| members.iter().position(|member| member.value.span == item.span);
                    gone.iter().filter_map(at).map(json::Change::Remove).collect()
                },
            ),
            Codec::Proto => {
                let mut inner = Vec::new();
                let mut at = object.content.start;
                for one in &gone {
                    inner.extend_from_slice(self.source.get(at..one.span.start).unwrap_or_default());
                    at = one.span.end;
                }
                inner.extend_from_slice(self.source.get(at..object.content.end).unwrap_or_default());
                let mut bytes = Vec::new();
                put_bytes(&mut bytes, item.field.number, &inner);
                self.spliced(vec![(item.span.clone(), bytes)]).into()
            }
        }
    }
}

/// The field that an edit concerns.
fn edited_field<'a>(edit: &'a Edit, map: &'a str) -> &'a str {
    match edit {
        Edit::Duration(name, _) => name,
        Edit::Key(..) | Edit::Value(..) | Edit::Remove(_) | Edit::Add(..) => map,
    }
}

/// What happens to each entry.
fn entry_changes(entries: &[Entry], edits: &[Edit]) -> Vec<EntryChange> {
    let mut entry_changes: Vec<EntryChange> = entries.iter().map(|_| EntryChange::Unchanged).collect();
    for edit in edits {
        let (Edit::Key(at, _) | Edit::Value(at, _) | Edit::Remove(at)) = edit else {
            continue;
        };
        let (Some(change), Some(entry)) = (entry_changes.get_mut(*at), entries.get(*at)) else {
            continue;
        };
        let (key, value) = match std::mem::replace(change, EntryChange::Removed) {
            EntryChange::Unchanged => (entry.key.to_string(), entry.value.clone()),
            EntryChange::Set(key, value) => (key, value),
            EntryChange::Removed => continue,
        };
        *change = match edit {
            Edit::Key(_, new) => EntryChange::Set(new.clone(), value),
            Edit::Value(_, new) => EntryChange::Set(key, new.clone()),
            Edit::Remove(_) | Edit::Add(..) | Edit::Duration(..) => EntryChange::Removed,
        };
    }
    entry_changes
}

/// Changes the object in one member of a document.
fn edited_within(
    source: Bytes,
    is: impl Fn(&json::Member) -> bool,
    changes: impl Fn(&[json::Member]) -> Vec<json::Change>,
) -> Bytes {
    let Ok(document) = json::Document::parse(source.clone()) else {
        return source;
    };
    let member = document.members().and_then(|members| members.iter().find(|member| is(member)));
    match member.map(|member| (&member.value, &member.value.kind)) {
        Some((node, json::Kind::Object(inner))) => document.edited(node, &changes(inner)),
        Some(_) | None => source,
    }
}

/// Writes a map entry.
pub(super) fn put_entry(out: &mut Vec<u8>, number: u32, key: &str, value: &[u8]) {
    let mut entry = Vec::new();
    put_bytes(&mut entry, 1, key.as_bytes());
    put_bytes(&mut entry, 2, value);
    put_bytes(out, number, &entry);
}

/// Writes a duration.
pub(super) fn put_duration(out: &mut Vec<u8>, number: u32, span: SecondsNanos) {
    let mut inner = Vec::new();
    if span.seconds != 0 {
        put_number(&mut inner, 1, span.seconds.cast_unsigned());
    }
    if span.nanos != 0 {
        put_number(&mut inner, 2, i64::from(span.nanos).cast_unsigned());
    }
    put_bytes(out, number, &inner);
}
