//! Hexadecimal digits.

/// Encodes bytes in lower case.
pub fn text(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    push(&mut text, bytes);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends encoded bytes.
pub fn push(to: &mut Vec<u8>, bytes: &[u8]) {
    let start = to.len();
    to.resize(start + bytes.len() * 2, 0);
    let (pairs, _) = to.split_at_mut(start).1.as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

/// The value of a digit in either case; `None` for any other byte.
pub fn value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_in_lower_case() {
        assert_eq!(text(&[0x00, 0x9f, 0xa0, 0xff]), "009fa0ff");
        assert_eq!(text(&[]), "");
        let mut bytes = b"x".to_vec();
        push(&mut bytes, &[0x0a]);
        assert_eq!(bytes, b"x0a");
        assert_eq!([value(b'9'), value(b'f'), value(b'F'), value(b'g')], [Some(9), Some(15), Some(15), None]);
    }
}
