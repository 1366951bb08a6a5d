//! Session IDs.

use std::fmt;

/// A session ID of valid form. It is never logged in clear.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// Accepts 1 to `max` characters of `A-Z a-z 0-9 _ -`: every server reads these alike.
    pub fn parse(text: &str, max: usize) -> Option<SessionId> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let fits = !text.is_empty() && text.len() <= max && text.bytes().all(plain);
        fits.then(|| SessionId(text.into()))
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
