//! HTTP/2 request bodies with a `Content-Length`. The last part of one goes to the provider only after the stream has
//! ended there.
//!
//! An HTTP/1 provider treats a request as complete after as many bytes as its head declares. In HTTP/2 the end of the
//! stream ends the body as well, and a request in which the two differ is malformed (RFC 9113, section 8.1.1): it must
//! not be carried out.

use super::head::{content_length, is_http2};
use crate::model::Rejection;
use bytes::{Bytes, BytesMut};
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};
use std::time::Duration;

const DIFFERS: &str = "the body length differs from `Content-Length`";

/// A body whose last part is kept back until its stream ends.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// How many bytes are missing.
    left: u64,
    last: Bytes,
}

impl Declared {
    /// The body of an HTTP/2 request with a declared length.
    pub fn of(session: &Session) -> Option<Declared> {
        let left = content_length(session.req_header()).filter(|_| is_http2(session))?;
        Some(Declared { left: left as u64, last: Bytes::new() })
    }

    /// Takes the next part of the body, and leaves in `part` what may be sent now.
    pub fn take(&mut self, part: &mut Option<Bytes>, ends: bool) -> Result<()> {
        let differs = || Error::explain(ErrorType::Custom("BodyLength"), DIFFERS).into_down();
        let ends = ends || part.is_none();
        let came = part.take().unwrap_or_default();
        self.left = self.left.checked_sub(came.len() as u64).ok_or_else(differs)?;
        *part = match (ends, self.left) {
            (true, 0) if self.last.is_empty() && came.is_empty() => None,
            (true, 0) if self.last.is_empty() => Some(came),
            (true, 0) => Some(joined(std::mem::take(&mut self.last), &came)),
            (true, _) => return Err(differs()),
            (false, 0) => {
                self.last = joined(std::mem::take(&mut self.last), &came);
                Some(Bytes::new())
            }
            (false, _) => Some(came),
        };
        Ok(())
    }
}

fn joined(first: Bytes, second: &Bytes) -> Bytes {
    if first.is_empty() {
        return second.clone();
    }
    if second.is_empty() {
        return first;
    }
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(second);
    whole.freeze()
}

/// Waits for the end of an HTTP/2 body that is declared as empty, which Pingora does not wait for.
pub(super) async fn check_empty(session: &mut Session, timeout: Duration) -> Result<(), Rejection> {
    if !session.is_http2() || content_length(session.req_header()) != Some(0) {
        return Ok(());
    }
    let end = async {
        loop {
            match session.read_request_body().await {
                Ok(None) => return Ok(()),
                Ok(Some(part)) if part.is_empty() => {}
                Ok(Some(_)) | Err(_) => return Err(Rejection::Malformed(DIFFERS.into())),
            }
        }
    };
    tokio::time::timeout(timeout, end).await.map_err(|_| Rejection::BodyTimeout(timeout))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(length: u64, parts: &[(&'static str, bool)]) -> Vec<Option<String>> {
        let mut declared = Declared { left: length, last: Bytes::new() };
        let mut take = |(text, ends): &(&'static str, bool)| {
            let mut part = Some(Bytes::from_static(text.as_bytes()));
            let taken = declared.take(&mut part, *ends).map(|()| part.unwrap_or_default());
            taken.ok().map(|part| String::from_utf8(part.to_vec()).unwrap())
        };
        parts.iter().map(&mut take).collect()
    }

    #[test]
    fn last_part_is_held_until_the_end() {
        let some = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
        assert_eq!(parts(3, &[("abc", true)]), some(&["abc"]));
        assert_eq!(parts(3, &[("abc", false), ("", true)]), some(&["", "abc"]));
        assert_eq!(parts(3, &[("ab", false), ("c", false), ("", false), ("", true)]), some(&["ab", "", "", "c"]));
        assert_eq!(parts(0, &[("", true)]), some(&[""]));
    }

    #[test]
    fn body_must_have_its_declared_length() {
        assert_eq!(parts(3, &[("abc", false), ("d", true)]), [Some(String::new()), None]);
        assert_eq!(parts(3, &[("abcd", true)]), [None]);
        assert_eq!(parts(3, &[("ab", true)]), [None]);
        assert_eq!(parts(3, &[("ab", false), ("", true)]), [Some("ab".to_owned()), None]);
        assert_eq!(parts(0, &[("a", true)]), [None]);
    }

    #[test]
    fn a_missing_part_is_the_end() {
        let mut declared = Declared { left: 1, last: Bytes::new() };
        let mut part = Some(Bytes::from_static(b"a"));
        declared.take(&mut part, false).unwrap();
        assert_eq!(part, Some(Bytes::new()));
        part = None;
        declared.take(&mut part, false).unwrap();
        assert_eq!(part, Some(Bytes::from_static(b"a")));
    }
}
