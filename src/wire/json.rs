//! A JSON document with the position of every value.
//!
//! It is parsed once, strictly, and edited in place: all other bytes are preserved. Strict means RFC 8259 without
//! anything that two parsers may read differently: no duplicate keys in an object (after unescaping), no `__proto__`,
//! no lone surrogates, no byte order mark, no integers beyond 2^53, no numbers that a double cannot hold.

mod mask;
mod node;
mod scan;

pub use node::{JsonError, Kind, MAX_DEPTH, Member, Node, member};

use bytes::Bytes;
use std::fmt;
use std::ops::Range;

/// The maximum number of values and keys in a document.
pub const MAX_TOKENS: usize = 10_000;

/// A change of an object. Members are referred to by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Replace the member's key.
    Key(usize, String),
    /// Replace the member's value with a string.
    Text(usize, String),
    /// Replace the member's value with a number.
    Count(usize, usize),
    /// Remove the member.
    Remove(usize),
    /// Add a member with a string as its value.
    Add(String, String),
    /// Add a member as it is spelled in a document, key and value.
    AddSpelled(String),
    /// Replace the member's value with an empty object.
    Empty(usize),
    /// Add a member with an empty object as its value.
    AddEmpty(String),
}

/// A parsed document and its original bytes.
#[derive(Clone)]
pub struct Document {
    source: Bytes,
    root: Node,
}

impl fmt::Debug for Document {
    /// Does not print the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.source.len())
    }
}

impl Document {
    /// Parses a document.
    pub fn parse(source: Bytes) -> Result<Document, JsonError> {
        Document::parse_up_to(MAX_TOKENS, source)
    }

    /// Parses a document of at most `tokens` values and keys.
    pub fn parse_up_to(tokens: usize, source: Bytes) -> Result<Document, JsonError> {
        let root = scan::Scanner::new(&source, tokens)?.document()?;
        Ok(Document { source, root })
    }

    /// The root value.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The members of the root value, if it is an object.
    pub fn members(&self) -> Option<&[Member]> {
        match &self.root.kind {
            Kind::Object(members) => Some(members),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_) => None,
        }
    }

    /// The original text of a value.
    pub fn spelling(&self, node: &Node) -> &str {
        self.source.get(node.span.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The original text of a member, key and value.
    pub fn member_spelling(&self, member: &Member) -> &str {
        let span = member.key_span.start..member.value.span.end;
        self.source.get(span).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The document after `changes` to the members of `object`. Without changes it is the original bytes.
    pub fn edited(&self, object: &Node, changes: &[Change]) -> Bytes {
        let Kind::Object(members) = &object.kind else {
            return self.source.clone();
        };
        if changes.is_empty() {
            return self.source.clone();
        }
        let mut splices = member_splices(members, changes);
        splices.extend(addition(object, members, changes));
        splices.sort_by_key(|splice| (splice.at.start, splice.at.end));
        self.spliced(&splices)
    }

    /// The document without the items of `array` at these indexes.
    pub fn without(&self, array: &Node, gone: &[usize]) -> Bytes {
        let Kind::Array(items) = &array.kind else {
            return self.source.clone();
        };
        let spans: Vec<Range<usize>> = items.iter().map(|item| item.span.clone()).collect();
        let mut kept_before = false;
        let mut splices = Vec::new();
        for index in 0..spans.len() {
            if gone.contains(&index) {
                splices.push(Splice { at: removal(&spans, index, kept_before), text: String::new() });
            } else {
                kept_before = true;
            }
        }
        self.spliced(&splices)
    }

    pub(super) fn spliced(&self, splices: &[Splice]) -> Bytes {
        let mut out = Vec::with_capacity(self.source.len() + 64);
        let mut done = 0;
        for splice in splices {
            out.extend_from_slice(self.source.get(done..splice.at.start).unwrap_or_default());
            out.extend_from_slice(splice.text.as_bytes());
            done = splice.at.end;
        }
        out.extend_from_slice(self.source.get(done..).unwrap_or_default());
        out.into()
    }
}

/// A range of the source and its replacement.
pub(super) struct Splice {
    pub(super) at: Range<usize>,
    pub(super) text: String,
}

fn removed(changes: &[Change], index: usize) -> bool {
    changes.iter().any(|change| matches!(change, Change::Remove(at) if *at == index))
}

/// The splices for renamed, changed and removed members.
fn member_splices(members: &[Member], changes: &[Change]) -> Vec<Splice> {
    let spans: Vec<Range<usize>> = members.iter().map(|m| m.key_span.start..m.value.span.end).collect();
    let mut splices = Vec::new();
    let mut kept_before = false;
    for (index, member) in members.iter().enumerate() {
        if removed(changes, index) {
            splices.push(Splice { at: removal(&spans, index, kept_before), text: String::new() });
            continue;
        }
        kept_before = true;
        for change in changes {
            match change {
                Change::Key(at, key) if *at == index => {
                    splices.push(Splice { at: member.key_span.clone(), text: quoted(key) });
                }
                Change::Text(at, text) if *at == index => {
                    splices.push(Splice { at: member.value.span.clone(), text: quoted(text) });
                }
                Change::Empty(at) if *at == index => {
                    splices.push(Splice { at: member.value.span.clone(), text: "{}".to_owned() });
                }
                Change::Count(at, count) if *at == index => {
                    splices.push(Splice { at: member.value.span.clone(), text: count.to_string() });
                }
                Change::Key(..) | Change::Text(..) | Change::Count(..) | Change::Remove(_) | Change::Empty(_) => {}
                Change::Add(..) | Change::AddSpelled(_) | Change::AddEmpty(_) => {}
            }
        }
    }
    splices
}

/// The range to remove for one item of a list. It includes one comma: the one before the item or, if no earlier item is
/// kept, the one after it.
pub(super) fn removal(spans: &[Range<usize>], index: usize, kept_before: bool) -> Range<usize> {
    let own = spans.get(index).map_or(0..0, Range::clone);
    if kept_before {
        let before = index.checked_sub(1).and_then(|i| spans.get(i)).map_or(own.start, |span| span.end);
        return before..own.end;
    }
    let next = spans.get(index + 1).map_or(own.end, |span| span.start);
    own.start..next
}

/// One splice with all added members, after the last kept member.
fn addition(object: &Node, members: &[Member], changes: &[Change]) -> Option<Splice> {
    let added: Vec<String> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Add(key, text) => Some(format!("{}:{}", quoted(key), quoted(text))),
            Change::AddSpelled(member) => Some(member.clone()),
            Change::AddEmpty(key) => Some(format!("{}:{{}}", quoted(key))),
            Change::Key(..) | Change::Text(..) | Change::Count(..) | Change::Remove(_) | Change::Empty(_) => None,
        })
        .collect();
    if added.is_empty() {
        return None;
    }
    let last = members.iter().enumerate().rev().find(|(index, _)| !removed(changes, *index));
    let (at, comma) = match last {
        Some((_, member)) => (member.value.span.end, ","),
        None => (object.span.start + 1, ""),
    };
    Some(Splice { at: at..at, text: format!("{comma}{}", added.join(",")) })
}

/// Encodes a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
