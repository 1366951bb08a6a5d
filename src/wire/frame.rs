//! The frames of gRPC and gRPC-web: one byte of flags, four of length, and a message or trailers.
//!
//! Sources: gRPC's documents "gRPC over HTTP2" and "gRPC-Web Protocol".

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The length of the prefix of each frame, in bytes.
const HEAD: usize = 5;
const COMPRESSED: u8 = 1;
const TRAILERS: u8 = 0x80;

/// Why the frames of a body are invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The message is compressed.
    #[error("the message is compressed")]
    Compressed,
    /// The flags have undefined bits.
    #[error("unknown frame flags")]
    Flags,
    /// A frame is longer than the body, or there is more than one message.
    #[error("the frame's length does not match the body; expected exactly one message")]
    Length,
}

/// The single message of a unary request.
pub fn message(body: &Bytes) -> Result<Bytes, FrameError> {
    match split(body)? {
        (0, message, rest) if rest.is_empty() => Ok(message),
        (0, ..) => Err(FrameError::Length),
        (COMPRESSED, ..) => Err(FrameError::Compressed),
        _ => Err(FrameError::Flags),
    }
}

/// Wraps a message in a frame.
pub fn framed(message: &[u8]) -> Bytes {
    frame(0, message)
}

/// The message of a response and, for gRPC-web, the trailers in the body. A compressed message is accepted, but
/// returned as `None`.
pub fn response(body: &Bytes) -> Result<(Option<Bytes>, Option<HeaderMap>), FrameError> {
    let mut rest = body.clone();
    let (mut came, mut message, mut trailers) = (false, None, None);
    while !rest.is_empty() {
        let (flags, content, after) = split(&rest)?;
        match flags {
            0 | COMPRESSED if came || trailers.is_some() => return Err(FrameError::Length),
            0 => (came, message) = (true, Some(content)),
            COMPRESSED => came = true,
            TRAILERS if trailers.is_none() => trailers = Some(parsed(&content)),
            TRAILERS => return Err(FrameError::Length),
            _ => return Err(FrameError::Flags),
        }
        rest = after;
    }
    Ok((message, trailers))
}

/// The frames of a unary response with the message decompressed by `decode`. `None` if that fails or there are several
/// messages.
pub fn decompressed(body: &Bytes, mut decode: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Option<Bytes> {
    let (mut rest, mut decompressed, mut came) = (body.clone(), BytesMut::with_capacity(body.len()), false);
    while !rest.is_empty() {
        let (flags, content, after) = split(&rest).ok()?;
        decompressed.extend_from_slice(&match flags {
            // No client reads a second message, and many small ones may decompress to more than the memory.
            0 | COMPRESSED if came => return None,
            COMPRESSED => frame(0, &decode(&content)?),
            0 | TRAILERS => frame(flags, &content),
            _ => return None,
        });
        came |= flags != TRAILERS;
        rest = after;
    }
    Some(decompressed.freeze())
}

/// Encodes trailers as a gRPC-web frame.
pub fn framed_trailers(trailers: &HeaderMap) -> Bytes {
    let mut text = Vec::new();
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    frame(TRAILERS, &text)
}

fn frame(flags: u8, content: &[u8]) -> Bytes {
    let mut whole = BytesMut::with_capacity(HEAD + content.len());
    whole.put_u8(flags);
    // Bodies are limited to far less than the maximum length.
    whole.put_u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
    whole.extend_from_slice(content);
    whole.freeze()
}

/// The flags and the content of the first frame, and the rest.
fn split(body: &Bytes) -> Result<(u8, Bytes, Bytes), FrameError> {
    let (head, rest) = body.split_at_checked(HEAD).ok_or(FrameError::Length)?;
    let &[flags, a, b, c, d] = head else {
        return Err(FrameError::Length);
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| FrameError::Length)?;
    if length > rest.len() {
        return Err(FrameError::Length);
    }
    Ok((flags, body.slice(HEAD..HEAD + length), body.slice(HEAD + length..)))
}

fn parsed(text: &[u8]) -> HeaderMap {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..at)?, line.get(at + 1..)?);
        let name = HeaderName::from_bytes(&name.trim_ascii().to_ascii_lowercase()).ok()?;
        Some((name, HeaderValue::from_bytes(value.trim_ascii()).ok()?))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framed_message_round_trips() {
        for content in [&b""[..], b"x", &[0xff; 70_000]] {
            assert_eq!(message(&framed(content)).unwrap(), content);
        }
        assert_eq!(framed(b"\x0a\x02s1").as_ref(), b"\x00\x00\x00\x00\x04\x0a\x02s1");
    }

    #[test]
    fn only_one_complete_uncompressed_message_is_accepted() {
        let read = |bytes: &'static [u8]| message(&Bytes::from_static(bytes));
        assert_eq!(read(b""), Err(FrameError::Length));
        assert_eq!(read(b"\0\0\0\0"), Err(FrameError::Length));
        assert_eq!(read(b"\0\0\0\0\x02x"), Err(FrameError::Length));
        assert_eq!(read(b"\0\0\0\0\x01xy"), Err(FrameError::Length));
        assert_eq!(read(b"\0\0\0\0\0\0\0\0\0\0"), Err(FrameError::Length), "two messages");
        assert_eq!(read(b"\0\xff\xff\xff\xffx"), Err(FrameError::Length));
        assert_eq!(read(b"\x01\0\0\0\x01x"), Err(FrameError::Compressed));
        assert_eq!(read(b"\x80\0\0\0\x01x"), Err(FrameError::Flags));
        assert_eq!(read(b"\x02\0\0\0\x01x"), Err(FrameError::Flags));
    }

    #[test]
    fn trailers_in_a_body_round_trip() {
        let trailers: HeaderMap = [("grpc-status", "5"), ("grpc-message", "no: such")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        let body = Bytes::from([framed(b"abc"), framed_trailers(&trailers)].concat());
        assert_eq!(response(&body), Ok((Some(Bytes::from_static(b"abc")), Some(trailers.clone()))));
        assert_eq!(response(&framed_trailers(&trailers)), Ok((None, Some(trailers.clone()))));
        assert_eq!(response(&Bytes::new()), Ok((None, None)));
        let compressed = Bytes::from([&b"\x01\0\0\0\x01x"[..], &framed_trailers(&trailers)].concat());
        assert_eq!(response(&compressed), Ok((None, Some(trailers.clone()))), "how the call ended can be read");
        let twice = Bytes::from([&b"\x01\0\0\0\x01x"[..], &framed(b"abc")].concat());
        assert_eq!(response(&twice), Err(FrameError::Length));
        let wrong = Bytes::from([framed_trailers(&trailers), framed(b"abc")].concat());
        assert_eq!(response(&wrong), Err(FrameError::Length));
    }
}
