//! A body in chunks (RFC 9112, 7.1).

use super::fault::{HeadLimits, RequestError};
use super::token::is_token_byte;

/// The longest extension of a chunk. Nobody reads any, and nobody is known to send one.
const MAX_EXTENSION: usize = 256;
/// The most digits of a size.
const MAX_SIZE_DIGITS: u32 = 15;

/// A body in chunks, as far as it has not come yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    place: State,
    limits: HeadLimits,
    /// How many trailers have come, and how many bytes they have.
    trailers: (usize, usize),
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The size of a chunk, of which this has come.
    Size { digits: u32, size: u64 },
    /// More of an extension, of which this many bytes have come.
    Extension { size: u64, length: usize },
    /// The LF behind the size.
    SizeEnd { size: u64 },
    /// This many bytes of a chunk.
    Data(u64),
    /// The CR behind a chunk.
    DataEnd,
    /// The LF behind it.
    DataEndLf,
    /// A trailer, or the empty line.
    Trailer,
    /// More of a trailer's name.
    Name,
    /// More of a trailer's value.
    Value,
    /// The LF behind a trailer.
    TrailerEnd,
    /// The LF of the empty line.
    LastLf,
    /// Nothing.
    Over,
}

impl Chunks {
    pub fn new(limits: HeadLimits) -> Chunks {
        Chunks { place: State::Size { digits: 0, size: 0 }, limits, trailers: (0, 0) }
    }

    pub fn is_over(&self) -> bool {
        self.place == State::Over
    }

    /// How many of these bytes belong to the body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, RequestError> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            match self.place {
                State::Over => break,
                State::Data(left) => {
                    let part = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                    let left = left - part as u64;
                    self.place = if left == 0 { State::DataEnd } else { State::Data(left) };
                    taken += part;
                }
                place => {
                    self.place = self.next(place, *byte)?;
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }

    fn next(&mut self, place: State, byte: u8) -> Result<State, RequestError> {
        Ok(match (place, byte) {
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
            (State::Trailer | State::Name | State::Value | State::TrailerEnd, _) => self.trailer(place, byte)?,
            _ => return Err(RequestError::Chunk),
        })
    }

    /// Trailers are dropped, but lines of them that servers read differently would end the body at different places.
    fn trailer(&mut self, place: State, byte: u8) -> Result<State, RequestError> {
        let (count, length) = &mut self.trailers;
        *count += usize::from(place == State::Trailer);
        *length += 1;
        if *count > self.limits.count || *length > self.limits.block {
            return Err(RequestError::Chunk);
        }
        match (place, byte) {
            (State::Trailer | State::Name, byte) if is_token_byte(byte) => Ok(State::Name),
            (State::Name, b':') => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::TrailerEnd),
            (State::Value, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Value),
            (State::TrailerEnd, b'\n') => Ok(State::Trailer),
            _ => Err(RequestError::Chunk),
        }
    }
}
