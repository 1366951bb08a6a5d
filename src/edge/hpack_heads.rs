//! Heads of HTTP/2 as they pass, without their tables: how many fields one has, and whether trailers hold a
//! pseudo-header.
//!
//! The library takes fields apart at a cost of some hundred nanoseconds each, and drops what trailers may not hold
//! without a word (RFC 9113, section 8.1). Here they are only counted: a field is an index, or a name and a value
//! behind their lengths (RFC 7541). Of the table that both sides keep one bit of each entry is enough. An index counts
//! from the newest entry, so that it does not matter which have been dropped.

use super::frame::{CONTINUATION, HAS_PRIORITY, PADDED};
/// The table that everybody knows, and in it the pseudo-headers.
const STATIC: u32 = 61;
const PSEUDO: std::ops::RangeInclusive<u32> = 1..=14;
/// `:` in HPACK's code, in the first bits of a byte.
const COLON: u8 = 0b1011100;
/// From here on a number is larger than any that means something.
const LARGE: u32 = 1 << 24;

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// A field.
    Field,
    /// The rest of an index.
    Index { kind: Kind, so_far: u32, shift: u32 },
    /// The length of a name or of a value.
    Length { name: bool },
    /// The rest of a length.
    MoreLength { name: bool, coded: bool, so_far: u32, shift: u32 },
    /// The rest of a name or of a value.
    Text { name: bool, coded: bool, begun: bool, left: usize },
}

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One of a table.
    Indexed,
    /// One that becomes an entry of the table.
    Added,
    /// One that does not.
    Plain,
    /// No field: the table gets another size.
    Size,
}

/// The heads of a connection.
#[derive(Debug)]
pub(super) struct Heads {
    next: Next,
    kind: Kind,
    /// Whether the field that is coming is a pseudo-header.
    pseudo: bool,
    /// Which entries of the table are pseudo-headers, the newest first. A table of 4,096 bytes has no more than 128.
    table: u128,
    /// How many fields the head has so far.
    count: usize,
    /// The newest stream.
    newest: u32,
    /// Whether the head stands behind another on its stream.
    trailers: bool,
    /// Whether trailers held a pseudo-header.
    malformed: bool,
    /// How much of a frame comes before its fields, and whether the first byte of that is the length of its padding.
    before: usize,
    padded: bool,
    /// How much of its fields is to come.
    left: usize,
}

impl Heads {
    pub fn new() -> Heads {
        Heads {
            next: Next::Field,
            kind: Kind::Plain,
            pseudo: false,
            table: 0,
            count: 0,
            newest: 0,
            trailers: false,
            malformed: false,
            before: 0,
            padded: false,
            left: 0,
        }
    }

    /// How many fields the head has that is coming, or came last.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether trailers held a pseudo-header.
    pub fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// A frame begins that is a head or continues one. Says whether a stream begins with it.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, length: usize) -> bool {
        self.left = length;
        (self.before, self.padded) = (0, false);
        if kind == CONTINUATION {
            return false;
        }
        self.padded = flags & PADDED != 0;
        let priority = if flags & HAS_PRIORITY != 0 { 5 } else { 0 };
        self.before = usize::from(self.padded) + priority;
        self.left = length.saturating_sub(self.before);
        (self.next, self.count) = (Next::Field, 0);
        self.trailers = stream <= self.newest;
        self.newest = self.newest.max(stream);
        !self.trailers
    }

    /// A part of its payload came.
    pub fn payload(&mut self, mut bytes: &[u8]) {
        while self.before > 0 {
            let [first, rest @ ..] = bytes else {
                return;
            };
            if std::mem::take(&mut self.padded) {
                self.left = self.left.saturating_sub(usize::from(*first));
            }
            self.before -= 1;
            bytes = rest;
        }
        // What is behind is padding.
        let (mut fields, _) = bytes.split_at(self.left.min(bytes.len()));
        self.left -= fields.len();
        while let [first, rest @ ..] = fields {
            fields = match self.next {
                Next::Text { name, coded, begun, left } => {
                    if name && !begun {
                        self.pseudo = if coded { first >> 1 == COLON } else { *first == b':' };
                    }
                    let (taken, rest) = fields.split_at(left.min(fields.len()));
                    match (left - taken.len(), name) {
                        (0, true) => self.next = Next::Length { name: false },
                        (0, false) => self.over(),
                        (left, name) => self.next = Next::Text { name, coded, begun: true, left },
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
            Next::Field => self.field(byte),
            Next::Index { kind, so_far, shift } => match more(so_far, shift, byte) {
                (whole, None) => self.index(kind, whole),
                (so_far, Some(shift)) => self.next = Next::Index { kind, so_far, shift },
            },
            Next::Length { name } => {
                let (coded, length) = (byte & 0x80 != 0, u32::from(byte & 0x7f));
                if length == 0x7f {
                    self.next = Next::MoreLength { name, coded, so_far: length, shift: 0 };
                } else {
                    self.length(name, coded, length);
                }
            }
            Next::MoreLength { name, coded, so_far, shift } => match more(so_far, shift, byte) {
                (whole, None) => self.length(name, coded, whole),
                (so_far, Some(shift)) => self.next = Next::MoreLength { name, coded, so_far, shift },
            },
            Next::Text { .. } => {}
        }
    }

    /// The first byte of a field.
    fn field(&mut self, byte: u8) {
        let (kind, mask) = match byte {
            0x80.. => (Kind::Indexed, 0x7f),
            0x40.. => (Kind::Added, 0x3f),
            0x20.. => (Kind::Size, 0x1f),
            _ => (Kind::Plain, 0x0f),
        };
        let index = u32::from(byte & mask);
        if index == u32::from(mask) {
            self.next = Next::Index { kind, so_far: index, shift: 0 };
        } else {
            self.index(kind, index);
        }
    }

    fn index(&mut self, kind: Kind, index: u32) {
        self.kind = kind;
        self.pseudo = match index.checked_sub(STATIC + 1) {
            None => PSEUDO.contains(&index),
            Some(at) => self.table.checked_shr(at).unwrap_or_default() & 1 == 1,
        };
        match kind {
            Kind::Indexed => self.over(),
            Kind::Size => self.next = Next::Field,
            Kind::Added | Kind::Plain => self.next = Next::Length { name: index == 0 },
        }
    }

    fn length(&mut self, name: bool, coded: bool, length: u32) {
        match (length, name) {
            (0, true) => self.next = Next::Length { name: false },
            (0, false) => self.over(),
            (left, name) => self.next = Next::Text { name, coded, begun: false, left: left as usize },
        }
    }

    /// A field is whole.
    fn over(&mut self) {
        self.count += 1;
        self.malformed |= self.trailers && self.pseudo;
        if self.kind == Kind::Added {
            self.table = self.table << 1 | u128::from(self.pseudo);
        }
        self.next = Next::Field;
    }
}

/// Goes on with a number: what it is so far, and by how much the next part is shifted; nothing where it is whole.
fn more(so_far: u32, shift: u32, byte: u8) -> (u32, Option<u32>) {
    let part = u64::from(byte & 0x7f) << shift.min(28);
    let whole = (u64::from(so_far) + part).min(u64::from(LARGE));
    (u32::try_from(whole).unwrap_or(LARGE), (byte & 0x80 != 0).then_some(shift + 7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::frame::HEADERS;

    /// A client's side of a connection, whose heads come in pieces of this size.
    struct Client {
        heads: Heads,
        size: usize,
    }

    impl Client {
        fn new(size: usize) -> Client {
            Client { heads: Heads::new(), size }
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

    /// `GET / HTTP` with the pseudo-headers of the static table.
    const HEAD: [u8; 4] = [0x82, 0x86, 0x84, 0x81];

    #[test]
    fn fields_are_counted_however_they_are_written_and_cut() {
        let long = "v".repeat(200);
        let fields = [
            &HEAD[..],
            // The size of the table.
            &[0x3f, 0xe1, 0x1f],
            &literal(0x40, "x-one", "1"),
            &literal(0x00, "x-two", &long),
            &literal(0x10, "x-three", ""),
            // The name of the static table with an index of two bytes, and the newest entry.
            &[0x0f, 0x2b, 1, b'v'],
            &[0xbe],
        ]
        .concat();
        for size in [1, 2, 3, 7, 1000] {
            let mut client = Client::new(size);
            assert_eq!(client.frame(0, 1, &fields), 9, "{size}");
            // Padded, with a priority.
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
        let coded = [&[0x40, 0x80 | 2][..], &[0b1011_1000, 0xff], &text(b"v")].concat();
        for (what, trailers) in [
            ("of the static table", vec![0x82]),
            ("a name of the static table", [&[0x04][..], &text(b"/x")].concat()),
            ("a name of the static table that is kept", [&[0x44][..], &text(b"/x")].concat()),
            ("a name of its own", literal(0x00, ":path", "/x")),
            ("a name of its own that is not to be kept", literal(0x10, ":method", "GET")),
            ("a name in HPACK's code", coded),
            ("behind another field", [literal(0x40, "x", "y"), vec![0x84]].concat()),
            // The head made three entries: the second was `:path`.
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
    fn plain_trailers_and_other_heads_are_fine() {
        let mut client = Client::new(1);
        client.frame(0, 1, &[&HEAD[..], &literal(0x40, "x-sum", "1")].concat());
        client.frame(0, 1, &[&[0xbe][..], &literal(0x40, "grpc-status", "0")].concat());
        // The next request may have what trailers may not.
        client.frame(0, 3, &[&HEAD[..], &literal(0x40, ":path", "/y")].concat());
        client.frame(0, 3, &[0xbf]);
        assert!(!client.heads.is_malformed());
        client.frame(0, 3, &[0xbe]);
        assert!(client.heads.is_malformed());
    }

    #[test]
    fn entries_that_are_dropped_do_not_move_the_others() {
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
