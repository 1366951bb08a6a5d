//! Tokens and request targets.

/// The maximum length of a method. Registered methods have at most 17 letters.
pub(super) const MAX_METHOD: usize = 32;

/// Whether RFC 9110, 5.6.2 allows the byte in a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    // `^`, `_` and the backtick precede the lower-case letters.
    matches!(byte, b'^'..=b'z' | b'A'..=b'Z' | b'-' | b'0'..=b'9' | b'#'..=b'\'' | b'!' | b'*' | b'+' | b'.' | b'|' | b'~')
}

pub(super) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte))
}

/// Whether the target is a path, an absolute HTTP URL, or `*` with OPTIONS. It must have no fragment, which is not part
/// of a request, and no characters that browsers encode (WHATWG URL, 1.3).
pub(super) fn is_target(target: &[u8], method: &[u8]) -> bool {
    // A loop without branches: this runs on every request.
    let is_odd = |byte: &u8| {
        (*byte <= b' ') | (*byte > b'~') | (*byte == b'"') | (*byte == b'#') | (*byte == b'<') | (*byte == b'>')
    };
    let odd = target.iter().fold(false, |odd, byte| odd | is_odd(byte));
    let quoted = target.split(|byte| *byte == b'?').next().is_some_and(|path| path.contains(&b'`'));
    !odd && !quoted
        && (target.starts_with(b"/") || authority(target).is_some() || (target == b"*" && method == b"OPTIONS"))
}

/// The authority of an absolute HTTP URL; `None` if the target is not one.
pub(super) fn authority(target: &[u8]) -> Option<&[u8]> {
    let behind = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = behind(b"http://").or_else(|| behind(b"https://"))?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    rest.get(..end)
}
