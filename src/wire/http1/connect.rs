//! The response of a forward proxy to CONNECT.
//!
//! After a 2xx the bytes of the tunnel follow the head, so the head is read byte by byte, and none of theirs is taken.
//! Interim responses (1xx) before it are skipped: together they have to fit into the same size. `Content-Length` and `Transfer-Encoding` mean nothing there (RFC 9110, 9.3.6), and the body of another response is
//! not read: the connection is closed.

use super::token::is_token;
use http::StatusCode;

/// The maximum size of a head, in bytes.
const MAX_HEAD: usize = 8 << 10;

/// Why a response is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectResponseError {
    /// A line does not end in CR LF, or there is a control character.
    #[error("a line does not end in CR LF, or has a control character")]
    Line,
    /// The status line is not that of HTTP/1.1 or HTTP/1.0.
    #[error("the first line is not a status line of HTTP/1.1 or HTTP/1.0")]
    StatusLine,
    /// A header has an invalid name or none, or is folded.
    #[error("a header name is missing or invalid, or the header is folded")]
    Name,
    /// More bytes than `MAX_HEAD`.
    #[error("the head has more than {MAX_HEAD} bytes")]
    Length,
}

/// A head that arrives byte by byte.
#[derive(Debug, Default)]
pub struct ConnectResponse {
    /// The current line, without its CR LF.
    line: Vec<u8>,
    /// Whether the last byte was a CR.
    has_cr: bool,
    length: usize,
    status: Option<StatusCode>,
}

impl ConnectResponse {
    /// Takes the next byte. Returns the status once the head is complete.
    pub fn push(&mut self, byte: u8) -> Result<Option<StatusCode>, ConnectResponseError> {
        self.length += 1;
        if self.length > MAX_HEAD {
            return Err(ConnectResponseError::Length);
        }
        match (byte, std::mem::take(&mut self.has_cr)) {
            (b'\n', true) => {
                let line = std::mem::take(&mut self.line);
                return self.end_line(&line);
            }
            (b'\r', false) => self.has_cr = true,
            (_, true) | (b'\n', false) => return Err(ConnectResponseError::Line),
            (0x7f, _) | (..b' ', _) if byte != b'\t' => return Err(ConnectResponseError::Line),
            (byte, false) => self.line.push(byte),
        }
        Ok(None)
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<StatusCode>, ConnectResponseError> {
        if self.status.is_none() {
            self.status = Some(status(line).ok_or(ConnectResponseError::StatusLine)?);
            return Ok(None);
        }
        if line.is_empty() {
            // A response follows an interim one (RFC 9110, 15.2), but not a switch of protocols, which was not asked for.
            let is_interim =
                |status: &StatusCode| status.is_informational() && *status != StatusCode::SWITCHING_PROTOCOLS;
            self.status = self.status.filter(|status| !is_interim(status));
            return Ok(self.status);
        }
        let name = line.split(|byte| *byte == b':').next().filter(|name| name.len() < line.len());
        name.filter(|name| is_token(name)).map(|_| None).ok_or(ConnectResponseError::Name)
    }
}

/// The status of a status line. Its reason phrase may be missing, with the space before it.
fn status(line: &[u8]) -> Option<StatusCode> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, reason) = rest.split_at_checked(3)?;
    let is_plain = digits.iter().all(u8::is_ascii_digit) && reason.first().is_none_or(|first| *first == b' ');
    StatusCode::from_bytes(digits).ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status and how many bytes follow the head, or the error; `None` if the head is incomplete.
    fn read(bytes: &[u8]) -> Option<Result<(u16, usize), ConnectResponseError>> {
        let mut response = ConnectResponse::default();
        bytes.iter().enumerate().find_map(|(at, byte)| {
            let taken = response.push(*byte).transpose()?;
            Some(taken.map(|status| (status.as_u16(), bytes.len() - at - 1)))
        })
    }

    #[test]
    fn heads_end_at_their_empty_line() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", (200, 0)),
            ("HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n", (200, 0)),
            ("HTTP/1.1 200\r\n\r\n", (200, 0)),
            ("HTTP/1.1 204 \r\nA:\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", (204, 5)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nab", (200, 2)),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", (101, 19)),
            ("HTTP/1.1 407 Proxy Authentication Required\r\nX: \t\u{e9}\r\n\r\n\r\n", (407, 2)),
        ] {
            assert_eq!(read(text.as_bytes()), Some(Ok(expected)), "{text:?}");
            assert_eq!(read(&text.as_bytes()[..text.len() - expected.1 - 1]), None, "{text:?}");
        }
    }

    #[test]
    fn other_heads_are_invalid() {
        use ConnectResponseError::{Length, Line, Name, StatusLine};
        for (text, expected) in [
            ("HTTP/1.1 200 OK\n\n", Line),
            ("HTTP/1.1 200 OK\r\nA: b\n\r\n", Line),
            ("HTTP/1.1 200 OK\rA: b\r\n\r\n", Line),
            ("HTTP/1.1 200 OK\r\nA: \0b\r\n\r\n", Line),
            ("\x15\x03\x03\0\x02\x02\x46", Line),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", StatusLine),
            ("HTTP/2 200 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1 2000 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1 20 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1 099 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1  200 OK\r\n\r\n", StatusLine),
            ("SSH-2.0-OpenSSH_9.2\r\n", StatusLine),
            ("HTTP/1.1 200 OK\r\nname\r\n\r\n", Name),
            ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", Name),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Name),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Name),
            (&format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(2000)), Length),
            (&"HTTP/1.1 100 Continue\r\n\r\n".repeat(400), Length),
            ("HTTP/1.1 100 Continue\r\n\r\n\r\n", StatusLine),
            (&"x".repeat(9000), Length),
        ] {
            assert_eq!(read(text.as_bytes()), Some(Err(expected)), "{text:?}");
        }
    }
}
