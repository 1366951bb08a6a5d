//! Hexadecimal digits.

/// Encodes bytes in lower case.
pub fn text(bytes: &[u8]) -> String {
    digits(bytes).map(char::from).collect()
}

/// Appends encoded bytes.
pub fn push(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(digits(bytes));
}

/// The value of a digit in either case; `None` for any other byte.
pub fn value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn digits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    bytes.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}
