//! Takes elements out of a list of messages.

use super::{Codec, Element, Item, Parsed, Value};
use crate::wire::json::Document;
use crate::wire::proto::{put_bytes, put_number};
use bytes::Bytes;
use std::ops::Range;

impl Parsed {
    /// The message without the elements at these indexes of the list in the field `list`, and with `count` in the
    /// fields at these paths, if they are set: a field of the root, or of a message in it. `None` if it cannot be
    /// edited.
    pub fn without_elements(&self, list: &str, gone: &[usize], counts: &[&[&str]], count: usize) -> Option<Bytes> {
        let elements = self.root.elements(list);
        match self.codec {
            Codec::Json => {
                let mut splices: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
                for (_, item) in counts.iter().filter_map(|path| self.counted(path)) {
                    // As ProtoJSON has numbers of 64 bits, which any parser accepts.
                    splices.push((item.span.clone(), format!("\"{count}\"").into_bytes()));
                }
                let counted = Bytes::from(self.spliced(splices));
                let document = Document::parse_up_to(usize::MAX, counted).ok()?;
                let spelling = &self.root.item(list)?.spelling;
                let member = document.members()?.iter().find(|member| member.key == *spelling)?;
                Some(document.without(&member.value, gone))
            }
            Codec::Proto => {
                let span = |at: &usize| elements.get(*at).map(|element: &Element| (element.span.clone(), Vec::new()));
                let mut splices: Vec<(Range<usize>, Vec<u8>)> = gone.iter().filter_map(span).collect();
                for (within, item) in counts.iter().filter_map(|path| self.counted(path)) {
                    splices.push(self.recounted(within, item, count as u64)?);
                }
                Some(self.spliced(splices).into())
            }
        }
    }

    /// The field with a count, and the message in the root that contains it.
    fn counted(&self, path: &[&str]) -> Option<(Option<&Item>, &Item)> {
        match path {
            [name] => Some((None, self.root.item(name)?)),
            [within, name] => Some((self.root.item(within), self.root.message(within)?.item(name)?)),
            _ => None,
        }
    }

    /// The splice that sets a count in protocol buffers. The message around it changes its length.
    fn recounted(&self, within: Option<&Item>, item: &Item, count: u64) -> Option<(Range<usize>, Vec<u8>)> {
        let mut bytes = Vec::new();
        put_number(&mut bytes, item.field.number, count);
        let Some(outer @ Item { value: Value::Message(object), .. }) = within else {
            return Some((item.span.clone(), bytes));
        };
        let before = self.source.get(object.content.start..item.span.start)?;
        let after = self.source.get(item.span.end..object.content.end)?;
        let mut whole = Vec::new();
        put_bytes(&mut whole, outer.field.number, &[before, &bytes, after].concat());
        Some((outer.span.clone(), whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::schema::{Constraint, Field, FieldType, Message};

    const fn field(number: u32, name: &'static str, kind: FieldType) -> Field {
        Field { number, name, json: name, kind, constraint: Constraint::None }
    }

    static ITEM: Message = Message { name: "Item", fields: &[field(1, "id", FieldType::Text)], oneofs: &[] };
    static DETAILS: Message =
        Message { name: "Details", fields: &[field(1, "total", FieldType::Unsigned)], oneofs: &[] };
    static LIST: Message = Message {
        name: "List",
        fields: &[
            field(1, "details", FieldType::Message(&DETAILS)),
            field(2, "items", FieldType::Messages(&ITEM)),
            field(3, "count", FieldType::Unsigned),
        ],
        oneofs: &[],
    };
    const COUNTS: &[&[&str]] = &[&["details", "total"], &["count"]];

    fn ids(parsed: &Parsed) -> Vec<&str> {
        parsed.root().elements("items").iter().filter_map(|element| element.object.text("id")).collect()
    }

    #[test]
    fn elements_are_taken_out_and_counts_corrected() {
        let json = r#"{"items":[{"id":"a"},{"id":"b","x":1},{"id":"c"}],"details":{"total":"300","y":2},"count":3}"#;
        let details = b"\x0a\x05\x08\xac\x02\x10\x07";
        let items = b"\x12\x03\x0a\x01a\x12\x05\x0a\x01b\x10\x01\x12\x03\x0a\x01c";
        let proto = [&details[..], items, b"\x18\x03\x78\x05"].concat();
        for (codec, source) in [(Codec::Json, Bytes::from(json)), (Codec::Proto, proto.into())] {
            let parsed = Parsed::read(&LIST, codec, source).unwrap();
            assert_eq!(ids(&parsed), ["a", "b", "c"]);
            for (gone, kept) in [(&[1][..], &["a", "c"][..]), (&[0, 2], &["b"]), (&[0, 1, 2], &[])] {
                let edited = parsed.without_elements("items", gone, COUNTS, kept.len()).unwrap();
                let again = Parsed::read(&LIST, codec, edited).unwrap();
                assert_eq!(ids(&again), kept);
                let totals = [again.root().message("details").unwrap().number("total"), again.root().number("count")];
                assert_eq!(totals, [Some(kept.len() as u64); 2]);
                // What is not known is kept.
                assert_eq!(again.root().unknown, parsed.root().unknown);
                assert_eq!(again.root().message("details").unwrap().unknown.len(), 1);
            }
        }
    }

    #[test]
    fn a_list_has_only_messages() {
        for source in [r#"{"items":[null]}"#, r#"{"items":{}}"#, r#"{"items":["a"]}"#] {
            assert!(Parsed::read(&LIST, Codec::Json, Bytes::from_static(source.as_bytes())).is_err(), "{source}");
        }
        assert!(Parsed::read(&LIST, Codec::Proto, Bytes::from_static(b"\x10\x01")).is_err());
        assert!(Parsed::read(&LIST, Codec::Json, Bytes::from_static(br#"{"items":null}"#)).is_ok());
    }
}
