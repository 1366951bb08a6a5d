//! Chunked bodies (RFC 9112, 7.1).

use super::error::{HeadLimits, RequestError};
use super::token::is_token_byte;

/// The maximum length of a chunk extension, in bytes. No client or server is known to use any.
const MAX_EXTENSION: usize = 256;
/// The maximum number of digits of a chunk size.
const MAX_SIZE_DIGITS: u32 = 15;

/// The state of a chunked body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    state: State,
    limits: HeadLimits,
    /// The number and the total size of the trailers so far.
    trailers: (usize, usize),
}

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The size of a chunk, of which this has arrived.
    Size { digits: u32, size: u64 },
    /// The rest of a chunk extension, of which this many bytes have arrived.
    Extension { size: u64, length: usize },
    /// The LF after a chunk size.
    SizeEnd { size: u64 },
    /// This many bytes of a chunk.
    Data(u64),
    /// The CR after a chunk.
    DataEnd,
    /// The LF after a chunk.
    DataEndLf,
    /// A trailer, or the final empty line.
    Trailer,
    /// The rest of a trailer's name.
    Name,
    /// The rest of a trailer's value.
    Value,
    /// The LF after a trailer.
    TrailerEnd,
    /// The LF of the final empty line.
    LastLf,
    /// Nothing: the body is complete.
    Over,
}

impl Chunks {
    pub fn new(limits: HeadLimits) -> Chunks {
        Chunks { state: State::Size { digits: 0, size: 0 }, limits, trailers: (0, 0) }
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Consumes the next bytes. Returns how many of them belong to the body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, RequestError> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            match self.state {
                State::Over => break,
                State::Data(left) => {
                    let part = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                    let left = left - part as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    taken += part;
                }
                state => {
                    self.state = self.next(state, *byte)?;
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }

    fn next(&mut self, state: State, byte: u8) -> Result<State, RequestError> {
        Ok(match (state, byte) {
            (State::Size { digits: 1.., size }, b'\r') => State::SizeEnd { size },
            (State::Size { digits: 1.., size }, b';') => State::Extension { size, length: 1 },
            (State::Size { digits: digits @ ..MAX_SIZE_DIGITS, size }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(RequestError::Chunk)?;
                State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (State::Extension { size, .. }, b'\r') => State::SizeEnd { size },
            (State::Extension { size, length: length @ ..MAX_EXTENSION }, b'\t' | b' '..=b'~') => {
                State::Extension { size, length: length + 1 }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer,
            (State::SizeEnd { size }, b'\n') => State::Data(size),
            (State::DataEnd, b'\r') => State::DataEndLf,
            (State::DataEndLf, b'\n') => State::Size { digits: 0, size: 0 },
            (State::Trailer, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Over,
            (State::Trailer | State::Name | State::Value | State::TrailerEnd, _) => self.trailer(state, byte)?,
            _ => return Err(RequestError::Chunk),
        })
    }

    /// Trailers are dropped, but must be well-formed: otherwise servers would disagree about the end of the body.
    fn trailer(&mut self, state: State, byte: u8) -> Result<State, RequestError> {
        let (count, length) = &mut self.trailers;
        *count += usize::from(state == State::Trailer);
        *length += 1;
        if *count > self.limits.count || *length > self.limits.block {
            return Err(RequestError::Chunk);
        }
        match (state, byte) {
            (State::Trailer | State::Name, byte) if is_token_byte(byte) => Ok(State::Name),
            (State::Name, b':') => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::TrailerEnd),
            (State::Value, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Value),
            (State::TrailerEnd, b'\n') => Ok(State::Trailer),
            _ => Err(RequestError::Chunk),
        }
    }
}
