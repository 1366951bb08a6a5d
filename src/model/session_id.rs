//! Session IDs.

use std::fmt;

/// A session ID of valid form. It is never logged in clear.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Box<str>);

/// The form of a provider's IDs. Each ID has one spelling: another would be another session to the cache, and the same
/// one to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm {
    /// 1 to this many characters, which the provider compares byte by byte.
    Opaque(usize),
    /// A UUID (RFC 9562): lower case, with hyphens.
    Uuid,
}

impl IdForm {
    /// Whether the text is an ID. All its characters are of `A-Z a-z 0-9 _ -`: every server reads these alike.
    pub fn accepts(self, text: &str) -> bool {
        match self {
            IdForm::Opaque(most) => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                !text.is_empty() && text.len() <= most && text.bytes().all(plain)
            }
            IdForm::Uuid => {
                let digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
                let fits = |(at, b): (usize, u8)| if matches!(at, 8 | 13 | 18 | 23) { b == b'-' } else { digit(b) };
                text.len() == 36 && text.bytes().enumerate().all(fits)
            }
        }
    }
}

impl fmt::Display for IdForm {
    /// As in `expected …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdForm::Opaque(most) => write!(f, "1 to {most} letters, numbers, underscores and hyphens"),
            IdForm::Uuid => f.write_str("a UUID in lower case, with hyphens"),
        }
    }
}

impl SessionId {
    /// The ID, if it has the form.
    pub fn parse(text: &str, form: IdForm) -> Option<SessionId> {
        form.accepts(text).then(|| SessionId(text.into()))
    }

    /// The ID in the provider's spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        for (form, text, accepted) in [
            (IdForm::Opaque(4), "a-_9", true),
            (IdForm::Opaque(4), "A", true),
            (IdForm::Opaque(4), "", false),
            (IdForm::Opaque(4), "abcde", false),
            (IdForm::Opaque(4), "a.b", false),
            (IdForm::Uuid, "0f8fad5b-d9cb-469f-a165-70867728950e", true),
            (IdForm::Uuid, "0F8FAD5B-D9CB-469F-A165-70867728950E", false),
            (IdForm::Uuid, "0f8fad5bd9cb469fa16570867728950e", false),
            (IdForm::Uuid, "{0f8fad5b-d9cb-469f-a165-70867728950e}", false),
            (IdForm::Uuid, "0f8fad5b-d9cb-469f-a165-70867728950g", false),
            (IdForm::Uuid, "0f8fad5b0d9cb-469f-a165-70867728950e", false),
        ] {
            assert_eq!(form.accepts(text), accepted, "{form:?} {text}");
        }
    }
}
