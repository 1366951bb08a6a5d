//! A JSON document that remembers where everything stands.
//!
//! It is read once, strictly, and edited in place: what no edit touches keeps its bytes. Strict means RFC 8259 and,
//! beyond it, nothing that two parsers may read differently: no key twice in one object (after unescaping), no
//! `__proto__`, no lone surrogates, no byte order mark, no integers beyond 2^53, no numbers that a double cannot hold.

mod node;
mod scan;

pub use node::{JsonError, Kind, MAX_DEPTH, Member, Node};

use bytes::Bytes;
use std::fmt;
use std::ops::Range;

/// The most values and keys that a document may hold.
pub const MAX_TOKENS: usize = 10_000;

/// One change of an object's members, which are named by their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Gives the member another key.
    Key(usize, String),
    /// Gives the member a string as its value.
    Text(usize, String),
    /// Takes the member out.
    Remove(usize),
    /// Adds a member with a string as its value.
    Add(String, String),
    /// Gives the member an empty object as its value.
    Empty(usize),
    /// Adds a member with an empty object as its value.
    AddEmpty(String),
}

/// A document: the bytes that came, and the view of them.
#[derive(Clone)]
pub struct Document {
    source: Bytes,
    root: Node,
}

impl fmt::Debug for Document {
    /// Bodies are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.source.len())
    }
}

impl Document {
    /// Reads a document.
    pub fn parse(source: Bytes) -> Result<Document, JsonError> {
        Document::parse_up_to(MAX_TOKENS, source)
    }

    /// Reads a document of at most so many values and keys.
    pub fn parse_up_to(tokens: usize, source: Bytes) -> Result<Document, JsonError> {
        let root = scan::Scanner::new(&source, tokens)?.document()?;
        Ok(Document { source, root })
    }

    /// The outermost value.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The members of the outermost value, where it is an object.
    pub fn members(&self) -> Option<&[Member]> {
        match &self.root.kind {
            Kind::Object(members) => Some(members),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_) => None,
        }
    }

    /// The spelling of a value.
    pub fn spelling(&self, node: &Node) -> &str {
        self.source.get(node.span.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The bytes of the document after `changes` to the members of `object`; the very bytes that came if there are
    /// none.
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

    /// The bytes of the document without the items of `array` at these places.
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

    fn spliced(&self, splices: &[Splice]) -> Bytes {
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

/// A stretch of the source and what replaces it.
struct Splice {
    at: Range<usize>,
    text: String,
}

fn removed(changes: &[Change], index: usize) -> bool {
    changes.iter().any(|change| matches!(change, Change::Remove(at) if *at == index))
}

/// Splices for renamed, changed and removed members.
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
                Change::Key(..) | Change::Text(..) | Change::Remove(_) | Change::Empty(_) => {}
                Change::Add(..) | Change::AddEmpty(_) => {}
            }
        }
    }
    splices
}

/// What goes with one of several things that commas part. It takes one comma with it: the one before it, or, for those
/// that lead, the one behind it.
fn removal(spans: &[Range<usize>], index: usize, kept_before: bool) -> Range<usize> {
    let own = spans.get(index).map_or(0..0, Range::clone);
    if kept_before {
        let before = index.checked_sub(1).and_then(|i| spans.get(i)).map_or(own.start, |span| span.end);
        return before..own.end;
    }
    let next = spans.get(index + 1).map_or(own.end, |span| span.start);
    own.start..next
}

/// All added members as one splice, behind the last member that stays.
fn addition(object: &Node, members: &[Member], changes: &[Change]) -> Option<Splice> {
    let added: Vec<String> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Add(key, text) => Some(format!("{}:{}", quoted(key), quoted(text))),
            Change::AddEmpty(key) => Some(format!("{}:{{}}", quoted(key))),
            Change::Key(..) | Change::Text(..) | Change::Remove(_) | Change::Empty(_) => None,
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

/// A JSON string literal.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
