//! Counts the fields of HTTP/2 heads without decoding them, and detects pseudo-headers in trailers.
//!
//! The library decodes each field at a cost of some hundred nanoseconds, and silently drops what trailers may not
//! contain (RFC 9113, section 8.1). Here fields are only counted: a field is an index, or a length-prefixed name and
//! value (RFC 7541). One bit per entry of the dynamic table is enough. An index counts from the newest entry, so
//! evicted entries do not matter.

use super::frame::{CONTINUATION, HAS_PRIORITY, PADDED};
/// Entries of the static table, and the pseudo-headers among them.
const STATIC_TABLE_LENGTH: u32 = 61;
const STATIC_PSEUDO_HEADERS: std::ops::RangeInclusive<u32> = 1..=14;
/// `:` in HPACK's Huffman code, in the first bits of a byte.
const HUFFMAN_COLON: u8 = 0b1011100;
/// Larger integers are clamped to this: no valid index or length is larger.
const MAX_INTEGER: u32 = 1 << 24;

/// What the next byte is.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// The start of a field.
    Field,
    /// A continuation of an index.
    Index { kind: FieldKind, so_far: u32, shift: u32 },
    /// The length of a name or value.
    Length { name: bool },
    /// A continuation of a length.
    MoreLength { name: bool, huffman: bool, so_far: u32, shift: u32 },
    /// The rest of a name or value.
    Text { name: bool, huffman: bool, started: bool, left: usize },
}

/// The representation of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    /// Indexed.
    Indexed,
    /// Literal, added to the dynamic table.
    Added,
    /// Literal, not added.
    Plain,
    /// Not a field: a change of the table's size.
    Size,
}

/// Counts the fields of a connection's heads.
#[derive(Debug)]
pub(super) struct FieldCounter {
    next: Expected,
    kind: FieldKind,
    /// Whether the current field is a pseudo-header.
    pseudo: bool,
    /// Which entries of the dynamic table are pseudo-headers, newest first. A table of 4,096 bytes has at most 128.
    table: u128,
    /// Fields of the current head so far.
    count: usize,
    /// The highest stream so far.
    newest: u32,
    /// Whether the current head is trailers.
    trailers: bool,
    /// Whether trailers contained a pseudo-header.
    malformed: bool,
    /// Bytes of the frame before its fields, and whether the first of them is the padding length.
    prefix: usize,
    padded: bool,
    /// Bytes of its fields that have not arrived.
    left: usize,
}

impl FieldCounter {
    pub fn new() -> FieldCounter {
        FieldCounter {
            next: Expected::Field,
            kind: FieldKind::Plain,
            pseudo: false,
            table: 0,
            count: 0,
            newest: 0,
            trailers: false,
            malformed: false,
            prefix: 0,
            padded: false,
            left: 0,
        }
    }

    /// Fields of the current head, or of the last one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether trailers contained a pseudo-header.
    pub fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// Starts a HEADERS or CONTINUATION frame. Returns whether it opens a stream.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, length: usize) -> bool {
        self.left = length;
        (self.prefix, self.padded) = (0, false);
        if kind == CONTINUATION {
            return false;
        }
        self.padded = flags & PADDED != 0;
        let priority = if flags & HAS_PRIORITY != 0 { 5 } else { 0 };
        self.prefix = usize::from(self.padded) + priority;
        self.left = length.saturating_sub(self.prefix);
        (self.next, self.count) = (Expected::Field, 0);
        self.trailers = stream <= self.newest;
        self.newest = self.newest.max(stream);
        !self.trailers
    }

    /// Processes a part of its payload.
    pub fn payload(&mut self, mut bytes: &[u8]) {
        while self.prefix > 0 {
            let [first, rest @ ..] = bytes else {
                return;
            };
            if std::mem::take(&mut self.padded) {
                self.left = self.left.saturating_sub(usize::from(*first));
            }
            self.prefix -= 1;
            bytes = rest;
        }
        // The rest is padding.
        let (mut fields, _) = bytes.split_at(self.left.min(bytes.len()));
        self.left -= fields.len();
        while let [first, rest @ ..] = fields {
            fields = match self.next {
                Expected::Text { name, huffman, started, left } => {
                    if name && !started {
                        self.pseudo = if huffman { first >> 1 == HUFFMAN_COLON } else { *first == b':' };
                    }
                    let (taken, rest) = fields.split_at(left.min(fields.len()));
                    match (left - taken.len(), name) {
                        (0, true) => self.next = Expected::Length { name: false },
                        (0, false) => self.field_complete(),
                        (left, name) => self.next = Expected::Text { name, huffman, started: true, left },
                    }
                    rest
                }
                _ => {
                    self.byte(*first);
                    rest
                }
            };
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.next {
            Expected::Field => self.field(byte),
            Expected::Index { kind, so_far, shift } => match continue_integer(so_far, shift, byte) {
                (whole, None) => self.index(kind, whole),
                (so_far, Some(shift)) => self.next = Expected::Index { kind, so_far, shift },
            },
            Expected::Length { name } => {
                let (huffman, length) = (byte & 0x80 != 0, u32::from(byte & 0x7f));
                if length == 0x7f {
                    self.next = Expected::MoreLength { name, huffman, so_far: length, shift: 0 };
                } else {
                    self.length(name, huffman, length);
                }
            }
            Expected::MoreLength { name, huffman, so_far, shift } => match continue_integer(so_far, shift, byte) {
                (whole, None) => self.length(name, huffman, whole),
                (so_far, Some(shift)) => self.next = Expected::MoreLength { name, huffman, so_far, shift },
            },
            Expected::Text { .. } => {}
        }
    }

    /// Processes the first byte of a field.
    fn field(&mut self, byte: u8) {
        let (kind, mask) = match byte {
            0x80.. => (FieldKind::Indexed, 0x7f),
            0x40.. => (FieldKind::Added, 0x3f),
            0x20.. => (FieldKind::Size, 0x1f),
            _ => (FieldKind::Plain, 0x0f),
        };
        let index = u32::from(byte & mask);
        if index == u32::from(mask) {
            self.next = Expected::Index { kind, so_far: index, shift: 0 };
        } else {
            self.index(kind, index);
        }
    }

    fn index(&mut self, kind: FieldKind, index: u32) {
        self.kind = kind;
        self.pseudo = match index.checked_sub(STATIC_TABLE_LENGTH + 1) {
            None => STATIC_PSEUDO_HEADERS.contains(&index),
            Some(at) => self.table.checked_shr(at).unwrap_or_default() & 1 == 1,
        };
        match kind {
            FieldKind::Indexed => self.field_complete(),
            FieldKind::Size => self.next = Expected::Field,
            FieldKind::Added | FieldKind::Plain => self.next = Expected::Length { name: index == 0 },
        }
    }

    fn length(&mut self, name: bool, huffman: bool, length: u32) {
        match (length, name) {
            (0, true) => self.next = Expected::Length { name: false },
            (0, false) => self.field_complete(),
            (left, name) => self.next = Expected::Text { name, huffman, started: false, left: left as usize },
        }
    }

    /// A field is complete.
    fn field_complete(&mut self) {
        self.count += 1;
        self.malformed |= self.trailers && self.pseudo;
        if self.kind == FieldKind::Added {
            self.table = self.table << 1 | u128::from(self.pseudo);
        }
        self.next = Expected::Field;
    }
}

/// Continues an HPACK integer. Returns its value so far, and the shift of the next byte; `None` if it is complete.
fn continue_integer(so_far: u32, shift: u32, byte: u8) -> (u32, Option<u32>) {
    let part = u64::from(byte & 0x7f) << shift.min(28);
    let whole = (u64::from(so_far) + part).min(u64::from(MAX_INTEGER));
    (u32::try_from(whole).unwrap_or(MAX_INTEGER), (byte & 0x80 != 0).then_some(shift + 7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::frame::HEADERS;

    /// A client whose heads arrive in pieces of this size.
    struct Client {
        heads: FieldCounter,
        size: usize,
    }

    impl Client {
        fn new(size: usize) -> Client {
            Client { heads: FieldCounter::new(), size }
        }

        fn frame(&mut self, flags: u8, stream: u32, payload: &[u8]) -> usize {
            self.heads.frame(HEADERS, flags, stream, payload.len());
            payload.chunks(self.size).for_each(|part| self.heads.payload(part));
            self.heads.count()
        }
    }

    fn text(text: &[u8]) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        let head = if length < 127 { vec![length] } else { vec![127, length - 127] };
        [head, text.to_vec()].concat()
    }

    fn literal(first: u8, name: &str, value: &str) -> Vec<u8> {
        [vec![first], text(name.as_bytes()), text(value.as_bytes())].concat()
    }

    /// `GET http /` with an empty authority, all from the static table.
    const HEAD: [u8; 4] = [0x82, 0x86, 0x84, 0x81];

    #[test]
    fn fields_are_counted_in_any_encoding_and_fragmentation() {
        let long = "v".repeat(200);
        let fields = [
            &HEAD[..],
            // A change of the table's size.
            &[0x3f, 0xe1, 0x1f],
            &literal(0x40, "x-one", "1"),
            &literal(0x00, "x-two", &long),
            &literal(0x10, "x-three", ""),
            // A name of the static table with an index of two bytes, and the newest entry.
            &[0x0f, 0x2b, 1, b'v'],
            &[0xbe],
        ]
        .concat();
        for size in [1, 2, 3, 7, 1000] {
            let mut client = Client::new(size);
            assert_eq!(client.frame(0, 1, &fields), 9, "{size}");
            // Padded, with priority fields.
            let padded = [&[3, 0, 0, 0, 0, 16][..], &fields, &[0x82; 3]].concat();
            assert_eq!(client.frame(PADDED | HAS_PRIORITY, 3, &padded), 9, "{size}");
            assert!(!client.heads.is_malformed());
            // Continued.
            client.heads.frame(HEADERS, 0, 5, 3);
            client.heads.payload(&fields[..3]);
            client.heads.frame(CONTINUATION, 0, 5, fields.len() - 3);
            client.heads.payload(&fields[3..]);
            assert_eq!(client.heads.count(), 9);
        }
    }

    #[test]
    fn pseudo_headers_in_trailers_are_found() {
        let huffman = [&[0x40, 0x80 | 2][..], &[0b1011_1000, 0xff], &text(b"v")].concat();
        for (what, trailers) in [
            ("of the static table", vec![0x82]),
            ("a name of the static table", [&[0x04][..], &text(b"/x")].concat()),
            ("a name of the static table that is kept", [&[0x44][..], &text(b"/x")].concat()),
            ("a name of its own", literal(0x00, ":path", "/x")),
            ("a name of its own that is not to be kept", literal(0x10, ":method", "GET")),
            ("a name in HPACK's code", huffman),
            ("behind another field", [literal(0x40, "x", "y"), vec![0x84]].concat()),
            // The head added three entries: the second was `:path`.
            ("an entry of the table", vec![0xbf]),
            ("the name of an entry", [&[0x0f, 0x30][..], &text(b"/y")].concat()),
        ] {
            for size in [1, 2, 1000] {
                let mut client = Client::new(size);
                let made = [literal(0x40, "a", "b"), literal(0x40, ":path", "/x"), literal(0x40, "c", "d")].concat();
                client.frame(0, 1, &[&HEAD[..], &made].concat());
                assert!(!client.heads.is_malformed(), "{what}");
                client.frame(0, 1, &trailers);
                assert!(client.heads.is_malformed(), "{what}, {size}");
            }
        }
    }

    #[test]
    fn valid_trailers_and_heads_are_accepted() {
        let mut client = Client::new(1);
        client.frame(0, 1, &[&HEAD[..], &literal(0x40, "x-sum", "1")].concat());
        client.frame(0, 1, &[&[0xbe][..], &literal(0x40, "grpc-status", "0")].concat());
        // The next request may use them.
        client.frame(0, 3, &[&HEAD[..], &literal(0x40, ":path", "/y")].concat());
        client.frame(0, 3, &[0xbf]);
        assert!(!client.heads.is_malformed());
        client.frame(0, 3, &[0xbe]);
        assert!(client.heads.is_malformed());
    }

    #[test]
    fn dropped_entries_do_not_move_the_others() {
        let mut client = Client::new(1000);
        let many: Vec<u8> = (0..126).flat_map(|_| literal(0x40, "a", "b")).collect();
        client.frame(0, 1, &[literal(0x40, ":path", "/x"), many].concat());
        client.frame(0, 1, &[0xff, 0x3e]);
        assert!(!client.heads.is_malformed(), "the entry before the last but one hundred and twenty-six");
        client.frame(0, 1, &[0xff, 0x3d]);
        assert!(client.heads.is_malformed());
    }

    #[test]
    fn numbers_without_an_end_are_only_large() {
        let mut client = Client::new(1);
        client.frame(0, 1, &[&[0xff][..], &[0xff; 20]].concat());
        client.frame(0, 3, &[&[0x00, 0x7f][..], &[0xff; 20]].concat());
        assert_eq!(client.heads.count(), 0);
    }
}
