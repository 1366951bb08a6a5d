use super::*;
use proptest::prelude::*;

/// A string as it stands in a head.
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

/// In HPACK's code, of which the characters of [`CODES`] are known.
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

#[test]
fn strings_are_decoded_as_the_standard_has_them() {
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
    // A whole byte of padding, padding that is not all ones, and the code of a character that no host has.
    for bytes in [&[0xff][..], &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xfe], &[0xfe, 0x3f]]
    {
        assert_eq!(decoded(bytes), None, "{bytes:?}");
    }
}

#[test]
fn authorities_that_are_no_hosts_are_replaced_however_they_are_written() {
    for coded in [false, true] {
        for value in [PATH, "", "/run/gate.sock", "unix:1:2", "a@b", "%", "a b", "[", "=="] {
            for name in [
                vec![0x41],
                vec![0x01],
                vec![0x11],
                [vec![0x40], text(NAME, false)].concat(),
                [vec![0x00], text(NAME, true)].concat(),
                [vec![0x10], text(NAME, coded)].concat(),
            ] {
                let (before, behind) = (&[0x82, 0x86, 0x84][..], &[0x40, 1, b'x', 1, b'%'][..]);
                let head = [before, &name, &text(value.as_bytes(), coded), behind].concat();
                let expected = [before, &name, &[1, b'='], behind].concat();
                assert_eq!(Authorities::default().mend(&head), Ok(Some(expected)), "{value}, {coded}, {name:?}");
            }
        }
        for value in ["localhost", "a.example:8080", "[::1]:80", "127.0.0.1", "a_b", "XYZ."] {
            let head = [vec![0x82, 0x41], text(value.as_bytes(), coded)].concat();
            assert_eq!(Authorities::default().mend(&head), Ok(None), "{value}, {coded}");
        }
    }
    assert_eq!(Authorities::default().mend(&[0x82, 0x81, 0x84]), Ok(Some(vec![0x82, 0x01, 1, b'=', 0x84])));
}

#[test]
fn names_of_the_table_are_known() {
    let mut heads = Authorities::default();
    let kept =
        |name: &str, value: &str| [vec![0x40], text(name.as_bytes(), false), text(value.as_bytes(), false)].concat();
    let first = [kept("a", "%"), kept(":authority", PATH), vec![0x3f, 0xe1, 0x1f], kept("b", "%")].concat();
    let mended = [kept("a", "%"), kept(":authority", "="), vec![0x3f, 0xe1, 0x1f], kept("b", "%")].concat();
    assert_eq!(heads.mend(&first), Ok(Some(mended)));
    // The entry, its name with a value that is not kept, and the names beside it.
    assert_eq!(heads.mend(&[0xbf]), Ok(None));
    assert_eq!(heads.mend(&[0x0f, 0x30, 1, b'%']), Ok(Some(vec![0x0f, 0x30, 1, b'='])));
    assert_eq!(heads.mend(&[0x0f, 0x2f, 1, b'%', 0x0f, 0x31, 1, b'%']), Ok(None));
    // Its name with a value that is kept, after which it is one further back.
    assert_eq!(heads.mend(&[0x7f, 0x00, 1, b'%']), Ok(Some(vec![0x7f, 0x00, 1, b'='])));
    assert_eq!(heads.mend(&[0x0f, 0x30, 1, b'%']), Ok(None));
    assert_eq!(heads.mend(&[0x0f, 0x31, 1, b'%']), Ok(Some(vec![0x0f, 0x31, 1, b'='])));
}

#[test]
fn what_is_no_hpack_is_not_changed() {
    for head in [
        &[0x41][..],
        &[0x41, 3, b'%'],
        &[0x40, 1, b'a'],
        &[0x7f],
        &[0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0],
        &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x41, 1, b'%', 0x00],
    ] {
        assert_eq!(Authorities::default().mend(head), Err(Unreadable), "{head:?}");
    }
}

/// A field: how it is written, its name and its value.
#[derive(Debug, Clone)]
enum Field {
    Indexed(usize),
    Literal { first: (u8, u8), index: usize, name: String, value: String, coded: (bool, bool) },
}

impl Field {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Field::Indexed(index) => number(*index, 0x7f, 0x80),
            Field::Literal { first: (flags, mask), index, name, value, coded } => {
                let named = if *index == 0 { text(name.as_bytes(), coded.0) } else { Vec::new() };
                [number(*index, *mask, *flags), named, text(value.as_bytes(), coded.1)].concat()
            }
        }
    }
}

fn field() -> impl Strategy<Value = Field> {
    let first = prop::sample::select(vec![(0x40_u8, 0x3f_u8), (0x00, 0x0f), (0x10, 0x0f)]);
    let name = prop::sample::select(vec![":authority", ":path", ":authoritx", "host", "a"]);
    let index = prop_oneof![Just(0_usize), Just(1), 1..70_usize];
    let literal = (first, index, name, "[a-z%/:.=]{0,12}", any::<(bool, bool)>());
    prop_oneof![
        (1..70_usize).prop_map(Field::Indexed),
        literal.prop_map(|(first, index, name, value, coded)| {
            Field::Literal { first, index, name: name.into(), value, coded }
        }),
    ]
}

proptest! {
    /// A model that knows which field is called what: only the values of authorities change, and only where they are no hosts.
    #[test]
    fn nothing_else_is_changed(heads: Vec<u8>, fields in prop::collection::vec(prop::collection::vec(field(), 1..8), 1..5)) {
        let mut authorities = Authorities::default();
        let mut table: Vec<String> = Vec::new();
        for head in &fields {
            let mut expected = Vec::new();
            for field in head {
                let Field::Literal { first, index, name, value, coded } = field else {
                    let Field::Indexed(index) = field else { unreachable!() };
                    expected.extend(if *index == 1 { NAMELESS.to_vec() } else { field.bytes() });
                    continue;
                };
                let name = match index {
                    0 => name.clone(),
                    1 => ":authority".into(),
                    2..62 => "other".into(),
                    index => table.iter().rev().nth(index - 62).cloned().unwrap_or_default(),
                };
                if first.0 == 0x40 {
                    table.push(name.clone());
                }
                if name == ":authority" && !is_authority(value.as_bytes()) {
                    let (value, coded) = (NO_HOST.to_owned(), (coded.0, false));
                    let Field::Literal { name, .. } = field else { unreachable!() };
                    expected.extend(Field::Literal { first: *first, index: *index, name: name.clone(), value, coded }.bytes());
                } else {
                    expected.extend(field.bytes());
                }
            }
            let bytes: Vec<u8> = head.iter().flat_map(Field::bytes).collect();
            let mended = authorities.mend(&bytes).unwrap();
            prop_assert_eq!(mended.unwrap_or(bytes), expected);
        }
        // Whatever comes is read to its end, or not at all.
        let _ = authorities.mend(&heads);
    }
}
