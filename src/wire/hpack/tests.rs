use super::huffman::{CODES, decoded};
use super::table::ENTRY_OVERHEAD;
use super::*;
use proptest::prelude::*;

/// A string literal.
fn text(text: &[u8], coded: bool) -> Vec<u8> {
    let bytes = if coded { encoded(text) } else { text.to_vec() };
    let flag = if coded { 0x80 } else { 0 };
    [number(bytes.len(), 0x7f, flag), bytes].concat()
}

fn number(number: usize, mask: u8, flags: u8) -> Vec<u8> {
    if number < usize::from(mask) {
        return vec![flags | u8::try_from(number).unwrap()];
    }
    let mut bytes = vec![flags | mask];
    let mut left = number - usize::from(mask);
    while left >= 0x80 {
        bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.push(u8::try_from(left).unwrap());
    bytes
}

/// Huffman-encoded.
fn encoded(text: &[u8]) -> Vec<u8> {
    let mut bits = String::new();
    for character in text {
        let (length, code) = CODES
            .iter()
            .find_map(|(length, first, all)| {
                let at = all.iter().position(|one| one == character)?;
                Some((*length as usize, *first as usize + at))
            })
            .unwrap();
        bits += &format!("{code:0length$b}");
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    bits.as_bytes().chunks(8).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()).collect()
}

const PATH: &str = "tmp%2Fx%2Fgate.sock";
const MOST: usize = 64 << 10;

fn literal(first: u8, name: &str, value: &str) -> Vec<u8> {
    [vec![first], text(name.as_bytes(), false), text(value.as_bytes(), false)].concat()
}

/// Fields as the rewriter writes them.
fn plain(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(0, name, value)).collect()
}

/// Parses fields that use no tables.
fn read(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while let Some(first) = bytes.first() {
        assert_eq!(*first, 0);
        let mut reader = Reader { bytes, at: 1 };
        let own = |text: Bytes| String::from_utf8(text.to_vec()).unwrap();
        fields.push((own(reader.text().unwrap()), own(reader.text().unwrap())));
        bytes = &bytes[reader.at..];
    }
    fields
}

fn rewrite(head: &[u8]) -> Result<Vec<u8>, HpackError> {
    AuthorityRewriter::default().rewrite(head, MOST)
}

#[test]
fn strings_decode_as_in_the_rfc() {
    // RFC 7541, appendix C.4 and C.6.
    for (bytes, expected) in [
        (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..], "www.example.com"),
        (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
        (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
        (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
    ] {
        assert_eq!(decoded(bytes).as_deref(), Some(expected.as_bytes()));
    }
    assert_eq!(decoded(&[]).as_deref(), Some(&b""[..]));
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(decoded(&encoded(&all)), Some(all));
    // A whole byte of padding, padding that is not all ones, and the end-of-string code.
    for bytes in [
        &[0xff][..],
        &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xfe],
        &[0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(decoded(bytes), None, "{bytes:?}");
    }
}

#[test]
fn an_invalid_host_counts_as_absent_in_any_encoding() {
    let get = [(":method", "GET"), (":path", "/")];
    let none = (":authority", NO_HOST);
    for coded in [false, true] {
        for value in [PATH, "", "/run/gate.sock", "unix:1:2", "%", "a b", "[", "=="] {
            for name in [
                vec![0x41],
                vec![0x01],
                vec![0x11],
                vec![0x66],
                [vec![0x40], text(AUTHORITY, false)].concat(),
                [vec![0x00], text(AUTHORITY, true)].concat(),
                [vec![0x10], text(HOST, coded)].concat(),
            ] {
                let head =
                    [&[0x82, 0x84], &name[..], &text(value.as_bytes(), coded), &literal(0x40, "x", "%")].concat();
                let expected = plain(&[none, get[0], get[1], ("x", "%")]);
                assert_eq!(rewrite(&head), Ok(expected), "{value}, {coded}, {name:?}");
            }
        }
        for value in ["localhost", "a.example:8080", "[::1]:80", "127.0.0.1", "a_b", "XYZ."] {
            let head = [vec![0x82, 0x84, 0x41], text(value.as_bytes(), coded)].concat();
            assert_eq!(rewrite(&head), Ok(plain(&[get[0], get[1], (":authority", value)])), "{value}, {coded}");
        }
    }
    // The empty values of the static table.
    assert_eq!(rewrite(&[0x82, 0x81, 0xa6, 0x84]), Ok(plain(&[none, get[0], get[1]])));
}

#[test]
fn a_valid_host_beside_an_invalid_one_counts() {
    const NONE: &[(&str, &str)] = &[(":authority", NO_HOST)];
    let (real, own) = ((":authority", "api.example"), ("host", "api.example"));
    let (path, other) = ((":authority", PATH), ("host", PATH));
    for (fields, expected) in [
        (&[][..], &[][..]),
        (&[path], NONE),
        (&[other], NONE),
        (&[path, other], NONE),
        (&[path, ("host", "")], NONE),
        (&[path, own], &[own]),
        (&[(":authority", ""), own], &[own]),
        (&[real, other], &[real]),
        (&[real, own], &[real, own]),
        // Heads to be rejected stay unchanged.
        (&[real, ("host", "b.example")], &[real, ("host", "b.example")]),
        (&[(":authority", "a@b")], &[(":authority", "a@b")]),
        (&[path, ("host", "a@b")], &[path, ("host", "a@b")]),
        (&[(":authority", "a@b"), own], &[(":authority", "a@b"), own]),
        (&[path, path], &[path, path]),
        (&[path, own, own], &[path, own, own]),
        (&[other, other], &[other, other]),
    ] {
        let before = [(":method", "GET"), (":path", "/")];
        let mended = read(&rewrite(&plain(&[&before[..], fields].concat())).unwrap());
        let mended: Vec<(&str, &str)> = mended.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let rest: Vec<(&str, &str)> = mended.iter().filter(|field| !before.contains(field)).copied().collect();
        assert_eq!(rest, expected, "{fields:?}");
        assert_eq!(mended.len(), rest.len() + before.len());
    }
    // Trailers name no host.
    let trailers = plain(&[("grpc-status", "0"), ("host", PATH)]);
    assert_eq!(rewrite(&trailers), Ok(trailers.clone()));
}

#[test]
fn heads_that_are_too_large_are_replaced_by_small_ones() {
    let mut heads = AuthorityRewriter::default();
    let large = literal(0x40, "x", &"v".repeat(4000));
    assert!(heads.rewrite(&large, MOST).is_ok());
    let many = [0xbe_u8; 60_000];
    let mended = heads.rewrite(&many, MOST).unwrap();
    assert_eq!(read(&mended), [("x".to_owned(), "x".repeat(MOST))]);
    // The dynamic table is still valid.
    assert_eq!(
        heads.rewrite(&[&literal(0x40, "y", "1")[..], &many].concat(), MOST).map(|mended| mended.len() > MOST),
        Ok(true)
    );
    assert_eq!(heads.rewrite(&[0xbe], MOST), Ok(plain(&[("y", "1")])));
    assert_eq!(heads.size(), ENTRY_OVERHEAD + 2 + ENTRY_OVERHEAD + 4001);
}

#[test]
fn invalid_hpack_is_rejected() {
    for head in [
        &[0x41][..],
        &[0x41, 3, b'%'],
        &[0x40, 1, b'a'],
        &[0x7f],
        &[0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0],
        &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x41, 1, b'%', 0x00],
        // Index 0, and an index beyond both tables.
        &[0x80],
        &[0xbe],
        &[0x7e, 1, b'a'],
        // A table size update after a field, and one beyond the maximum.
        &[0x82, 0x20],
        &[0x3f, 0xe2, 0x1f],
    ] {
        assert_eq!(rewrite(head), Err(HpackError), "{head:?}");
    }
}

/// How to write a field: as an index where a table has the entry.
#[derive(Debug, Clone)]
enum Step {
    Field {
        kept: bool,
        named: bool,
        coded: bool,
        name: &'static str,
        value: String,
    },
    /// An entry of the table.
    Entry(usize),
    /// A field that fills the table exactly, or exceeds it by this many bytes.
    Fill(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec![":authority", ":path", "host", "a", "x-long-name"]);
    let value = prop_oneof!["[a-z%/:.=]{0,12}", Just("v".repeat(900)), Just(String::new())];
    prop_oneof![
        4 => (any::<(bool, bool, bool)>(), name, value).prop_map(|((kept, named, coded), name, value)| {
            Step::Field { kept, named, coded, name, value }
        }),
        2 => (0..80_usize).prop_map(Step::Entry),
        1 => (0..2_usize).prop_map(Step::Fill),
    ]
}

/// A client's dynamic table, newest entry first.
struct Client {
    table: Vec<(String, String)>,
    most: usize,
}

impl Client {
    fn size(&self) -> usize {
        self.table.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    }

    fn shrink(&mut self, most: usize) {
        while self.size() > most {
            self.table.pop();
        }
    }

    /// Writes a field, and returns its name and value.
    fn write(&mut self, step: &Step, out: &mut Vec<u8>) -> (String, String) {
        let (kept, named, coded, name, value) = match step {
            Step::Entry(at) if !self.table.is_empty() => {
                let at = at % self.table.len();
                out.extend(number(62 + at, 0x7f, 0x80));
                return self.table[at].clone();
            }
            Step::Entry(_) => (false, false, false, "a", String::new()),
            Step::Fill(beyond) => {
                let left = self.most.saturating_sub(self.size()).saturating_sub(33) + beyond;
                (true, false, false, "a", "f".repeat(left))
            }
            Step::Field { kept, named, coded, name, value } => (*kept, *named, *coded, *name, value.clone()),
        };
        let (mask, flags) = if kept { (0x3f, 0x40) } else { (0x0f, 0) };
        let index = self.table.iter().position(|(own, _)| own == name).filter(|_| named);
        out.extend(number(index.map_or(0, |at| at + 62), mask, flags));
        if index.is_none() {
            out.extend(text(name.as_bytes(), coded));
        }
        out.extend(text(value.as_bytes(), coded));
        let field = (name.to_owned(), value);
        if kept {
            let size = field.0.len() + field.1.len() + 32;
            self.shrink(self.most.saturating_sub(size));
            if size <= self.most {
                self.table.insert(0, field.clone());
            }
        }
        field
    }
}

/// Whether a head names a host.
fn is_named((name, value): &(String, String)) -> bool {
    [":authority", "host"].contains(&name.as_str()) && is_authority(value.as_bytes())
}

proptest! {
    /// Whatever a client does with its table, only invalid hosts change.
    #[test]
    fn only_invalid_hosts_change(
        heads in prop::collection::vec((prop::option::of(0..4097_usize), prop::collection::vec(step(), 1..12)), 1..6),
        other: Vec<u8>,
    ) {
        let mut authorities = AuthorityRewriter::default();
        let mut client = Client { table: Vec::new(), most: 4096 };
        for (resize, steps) in &heads {
            let mut bytes = Vec::new();
            if let Some(most) = resize {
                bytes.extend(number(*most, 0x1f, 0x20));
                client.most = *most;
                client.shrink(*most);
            }
            bytes.push(0x82);
            let mut fields = vec![(":method".to_owned(), "GET".to_owned())];
            fields.extend(steps.iter().map(|step| client.write(step, &mut bytes)));
            let mended = read(&authorities.rewrite(&bytes, MOST).unwrap());
            prop_assert_eq!(authorities.size(), client.size());
            let count = |name: &str| fields.iter().filter(|field| field.0 == name).count();
            let count_all = count(":authority") + count("host");
            if count(":authority") < 2 && count("host") < 2 {
                fields.retain(|field| ![":authority", "host"].contains(&field.0.as_str()) || is_named(field));
                if count_all > 0 && !fields.iter().any(is_named) {
                    fields.insert(0, (":authority".into(), NO_HOST.into()));
                }
            }
            prop_assert_eq!(mended, fields);
            // An evicted entry has no index.
            let gone = number(62 + client.table.len(), 0x7f, 0x80);
            let mut same = AuthorityRewriter { table: authorities.table.clone() };
            prop_assert_eq!(same.rewrite(&gone, MOST), Err(HpackError));
        }
        // Any input is either read to its end or rejected.
        let _ = authorities.rewrite(&other, MOST);
    }
}
