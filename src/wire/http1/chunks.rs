//! A body in chunks (RFC 9112, 7.1).

use super::fault::{Fault, HeadLimits};
use super::token::is_token_byte;

/// The longest extension of a chunk. Nobody reads any, and nobody is known to send one.
const LONGEST_EXTENSION: usize = 256;
/// The most digits of a size.
const MOST_DIGITS: u32 = 15;

/// A body in chunks, as far as it has not come yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    place: Place,
    limits: HeadLimits,
    /// How many trailers have come, and how many bytes they have.
    trailers: (usize, usize),
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
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
        Chunks { place: Place::Size { digits: 0, size: 0 }, limits, trailers: (0, 0) }
    }

    pub fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// How many of these bytes belong to the body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            match self.place {
                Place::Over => break,
                Place::Data(left) => {
                    let part = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                    let left = left - part as u64;
                    self.place = if left == 0 { Place::DataEnd } else { Place::Data(left) };
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

    fn next(&mut self, place: Place, byte: u8) -> Result<Place, Fault> {
        Ok(match (place, byte) {
            (Place::Size { digits: 1.., size }, b'\r') => Place::SizeEnd { size },
            (Place::Size { digits: 1.., size }, b';') => Place::Extension { size, length: 1 },
            (Place::Size { digits: digits @ ..MOST_DIGITS, size }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Fault::Chunk)?;
                Place::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (Place::Extension { size, .. }, b'\r') => Place::SizeEnd { size },
            (Place::Extension { size, length: length @ ..LONGEST_EXTENSION }, b'\t' | b' '..=b'~') => {
                Place::Extension { size, length: length + 1 }
            }
            (Place::SizeEnd { size: 0 }, b'\n') => Place::Trailer,
            (Place::SizeEnd { size }, b'\n') => Place::Data(size),
            (Place::DataEnd, b'\r') => Place::DataEndLf,
            (Place::DataEndLf, b'\n') => Place::Size { digits: 0, size: 0 },
            (Place::Trailer, b'\r') => Place::LastLf,
            (Place::LastLf, b'\n') => Place::Over,
            (Place::Trailer | Place::Name | Place::Value | Place::TrailerEnd, _) => self.trailer(place, byte)?,
            _ => return Err(Fault::Chunk),
        })
    }

    /// Trailers are dropped, but lines of them that servers read differently would end the body at different places.
    fn trailer(&mut self, place: Place, byte: u8) -> Result<Place, Fault> {
        let (count, length) = &mut self.trailers;
        *count += usize::from(place == Place::Trailer);
        *length += 1;
        if *count > self.limits.count || *length > self.limits.block {
            return Err(Fault::Chunk);
        }
        match (place, byte) {
            (Place::Trailer | Place::Name, byte) if is_token_byte(byte) => Ok(Place::Name),
            (Place::Name, b':') => Ok(Place::Value),
            (Place::Value, b'\r') => Ok(Place::TrailerEnd),
            (Place::Value, b'\t' | b' '..=b'~' | 0x80..) => Ok(Place::Value),
            (Place::TrailerEnd, b'\n') => Ok(Place::Trailer),
            _ => Err(Fault::Chunk),
        }
    }
}
