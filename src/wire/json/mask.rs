//! Masks documents without a schema.

use super::node::{Kind, Member, Node};
use super::{Document, Splice, quoted, removal};
use crate::wire::masking::{FieldMask, MASK, Shown, Within};
use bytes::Bytes;
use std::ops::Range;

/// What happens to a value.
enum Fate {
    /// It stays, perhaps changed.
    Stays,
    /// It is removed from its object. An array keeps its length: the value becomes null.
    Goes,
}

impl Document {
    /// The document without what the mask hides of its objects. Arrays are masked item by item. All other bytes are
    /// preserved.
    pub fn masked<M: FieldMask>(&self, mask: &M) -> Bytes {
        let mut splices = Vec::new();
        match value(&self.root, &Within::Partly(mask), &mut splices) {
            Fate::Stays => self.spliced(&splices),
            Fate::Goes => Bytes::from_static(b"null"),
        }
    }
}

fn value<M: FieldMask>(node: &Node, within: &Within<M>, splices: &mut Vec<Splice>) -> Fate {
    match (&node.kind, within) {
        (Kind::Object(members), _) => object(members, within, splices),
        (Kind::Array(items), _) => {
            for item in items {
                if let Fate::Goes = value(item, within, splices) {
                    splices.push(Splice { at: item.span.clone(), text: "null".to_owned() });
                }
            }
        }
        // A time stays one for its readers, or is absent.
        (Kind::Text(text), Within::Masked) if humantime::parse_rfc3339(text).is_ok() => return Fate::Goes,
        (Kind::Text(_), Within::Masked) => splices.push(Splice { at: node.span.clone(), text: quoted(MASK) }),
        (Kind::Null, Within::Partly(_)) => {}
        (Kind::Null | Kind::Bool(_) | Kind::Number, _) | (Kind::Text(_), Within::Partly(_)) => return Fate::Goes,
    }
    Fate::Stays
}

fn object<M: FieldMask>(members: &[Member], within: &Within<M>, splices: &mut Vec<Splice>) {
    let spans: Vec<Range<usize>> = members.iter().map(|m| m.key_span.start..m.value.span.end).collect();
    let mut kept_before = false;
    for (index, member) in members.iter().enumerate() {
        let fate = match within.member(&member.key) {
            Shown::Whole => Fate::Stays,
            Shown::Dropped => Fate::Goes,
            Shown::Masked => value::<M>(&member.value, &Within::Masked, splices),
            Shown::Partly(mask) => value(&member.value, &Within::Partly(&mask), splices),
        };
        match fate {
            Fate::Stays => kept_before = true,
            Fate::Goes => splices.push(Splice { at: removal(&spans, index, kept_before), text: String::new() }),
        }
    }
}
