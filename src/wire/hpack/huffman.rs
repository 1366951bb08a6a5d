//! The Huffman code of HPACK (RFC 7541, appendix B).

/// For each code length in bits: the first code, and the characters with consecutive codes from there.
pub(super) const CODES: [(u32, u64, &[u8]); 21] = [
    (5, 0x0, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
    (10, 0x3f8, b"!\"()?"),
    (11, 0x7fa, b"'+|"),
    (12, 0xffa, b"#>"),
    (13, 0x1ff8, b"\0$@[]~"),
    (14, 0x3ffc, b"^}"),
    (15, 0x7ffc, b"<`{"),
    (19, 0x7fff0, b"\\\xc3\xd0"),
    (20, 0xfffe6, b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2"),
    (21, 0x1fffdc, b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6"),
    (
        22,
        0x3fffd2,
        b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    ),
    (
        23,
        0x7fffd8,
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\
          \xc5\xe7\xef",
    ),
    (24, 0xffffea, b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed"),
    (25, 0x1ffffec, b"\xc7\xcf\xea\xeb"),
    (26, 0x3ffffe0, b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff"),
    (27, 0x7ffffde, b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe"),
    (
        28,
        0xfffffe2,
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\
          \x7f\xdc\xf9",
    ),
    (30, 0x3ffffffc, b"\n\r\x16"),
];
/// The maximum length of a character's code, in bits.
const MAX_CODE_BITS: u32 = 30;

/// Decodes a string. `None` if a code or the padding is invalid.
pub(super) fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut bits, mut count) = (0_u64, 0);
    for byte in bytes {
        bits = bits << 8 | u64::from(*byte);
        count += 8;
        while let Some((character, length)) = first(bits, count) {
            text.push(character);
            count -= length;
            bits &= (1 << count) - 1;
        }
        if count >= MAX_CODE_BITS {
            return None;
        }
    }
    // The padding must be all ones.
    (count < 8 && bits == (1 << count) - 1).then_some(text)
}

/// The first character in this many bits, and the length of its code. `None` if the code is incomplete.
fn first(bits: u64, count: u32) -> Option<(u8, u32)> {
    CODES.iter().find_map(|(length, first, characters)| {
        let code = bits >> count.checked_sub(*length)?;
        let at = usize::try_from(code.checked_sub(*first)?).ok()?;
        characters.get(at).map(|character| (*character, *length))
    })
}
