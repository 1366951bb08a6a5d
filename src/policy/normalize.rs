//! Normalization before the evaluation, and the edits that apply it to the document.

use crate::model::{Edit, EntryPath, Field, Value};
use compact_str::{CompactString, ToCompactString};
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// How to change the case of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyCase {
    /// Not at all.
    #[default]
    Keep,
    /// To lower case.
    Lower,
    /// To upper case.
    Upper,
}

/// What to normalize; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Normalize {
    /// Convert keys and values to Unicode Normalization Form C.
    pub nfc: bool,
    /// Remove white space at both ends of keys and values.
    pub trim: bool,
    /// How to change the case of keys.
    pub key_case: KeyCase,
    /// Turn numbers and booleans into strings, in their original spelling.
    pub scalars_to_strings: bool,
    /// Drop entries whose value is empty.
    pub drop_empty: bool,
}

/// An entry as it is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NormalizedEntry {
    /// The index of its field in the write; `None` for a default.
    pub field: Option<usize>,
    pub key: CompactString,
    pub value: Value,
}

impl NormalizedEntry {
    /// The entry's path in the caller's own spelling.
    pub fn path<'a>(&'a self, name: &'a str, fields: &'a [Field]) -> EntryPath<'a> {
        let own = self.field.and_then(|index| fields.get(index)).map(|field| field.key.as_str());
        EntryPath { name, key: own.unwrap_or(&self.key) }
    }

    /// Whether the value is an empty string, or no bytes.
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Text(text) => text.is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::Number(_) | Value::Bool(_) | Value::Null | Value::Composite(_) => false,
        }
    }
}

impl Normalize {
    /// The entries that remain, in their original order. Fields that are `untouched` are not normalized.
    pub(super) fn entries(&self, fields: &[Field], untouched: impl Fn(&Field) -> bool) -> Vec<NormalizedEntry> {
        let mut entries = Vec::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            let kept = untouched(field);
            let own = if kept { Normalize::default() } else { *self };
            let entry =
                NormalizedEntry { field: Some(index), key: own.key(&field.key), value: own.value(&field.value) };
            if !(own.drop_empty && entry.is_empty()) {
                entries.push(entry);
            }
        }
        entries
    }

    fn key(&self, key: &str) -> CompactString {
        match self.key_case {
            KeyCase::Keep => self.text(key),
            KeyCase::Lower => self.text(&key.to_lowercase()),
            KeyCase::Upper => self.text(&key.to_uppercase()),
        }
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Text(text) => Value::Text(self.text(text)),
            Value::Number(spelling) if self.scalars_to_strings => Value::Text(spelling.clone()),
            Value::Bool(truth) if self.scalars_to_strings => Value::Text(truth.to_compact_string()),
            Value::Number(_) | Value::Bool(_) | Value::Null | Value::Composite(_) | Value::Bytes(_) => value.clone(),
        }
    }

    fn text(&self, text: &str) -> CompactString {
        let trimmed = |text: &str| if self.trim { text.trim().into() } else { text.into() };
        // ASCII is composed.
        if self.nfc && !text.is_ascii() && !is_nfc(text) {
            return trimmed(&text.nfc().collect::<String>());
        }
        trimmed(text)
    }
}

/// The edits that turn `fields` into `entries`.
pub(super) fn edits(fields: &[Field], entries: &[NormalizedEntry]) -> Vec<Edit> {
    let mut edits = Vec::new();
    // Entries that come from fields are in the order of the fields.
    let mut kept = entries.iter().filter(|entry| entry.field.is_some()).peekable();
    for (index, field) in fields.iter().enumerate() {
        let Some(entry) = kept.next_if(|entry| entry.field == Some(index)) else {
            edits.push(Edit::Remove { field: index });
            continue;
        };
        if entry.key != field.key {
            edits.push(Edit::Rename { field: index, key: entry.key.to_string() });
        }
        if let Value::Text(value) = &entry.value
            && entry.value != field.value
        {
            edits.push(Edit::Set { field: index, value: value.to_string() });
        }
    }
    for entry in entries.iter().filter(|entry| entry.field.is_none()) {
        if let Value::Text(value) = &entry.value {
            edits.push(Edit::Insert { key: entry.key.to_string(), value: value.to_string() });
        }
    }
    edits
}
