//! Heads of HTTP/2 as HPACK has them (RFC 7541), as far as it takes to find the field that names a host and to give it another value.
//!
//! Only values of `:authority` that are no hosts are replaced; all other bytes are copied. The shorter value changes the size of an
//! entry in the table that both sides keep, and so when entries are dropped, but not what an index means: it counts from the newest.

use super::http1::is_authority;

/// What stands where an authority was that is no host: libraries take it for one, and no host is called that.
pub const NO_HOST: &str = "=";

/// The field that names the host of a request.
const NAME: &[u8] = b":authority";
/// Its place in the table that everybody knows, which has so many entries.
const AUTHORITY: usize = 1;
const STATIC: usize = 61;
/// A field that is not kept, with the name at [`AUTHORITY`], and the value [`NO_HOST`].
const NAMELESS: &[u8] = &[0x01, 1, b'='];
/// Numbers have so many bytes at the most.
const LONGEST_NUMBER: u32 = 4;

/// The code for strings (RFC 7541, appendix B), as far as hosts need it: how many bits, the first code of that many, and characters
/// whose codes follow each other from there.
const CODES: [(u32, u32, &[u8]); 5] = [
    (5, 0x00, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
    (13, 0x1ff8, b"\0$@[]~"),
];
const LONGEST_CODE: u32 = 13;

/// A head that is none: nothing is known of the table from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the head of a request is no HPACK")]
pub struct Unreadable;

/// The authorities in the heads of one connection.
#[derive(Debug, Default)]
pub struct Authorities {
    /// Which entries of the table are called [`NAME`], the newest first. A table of 4,096 bytes has no more than 128.
    named: u128,
}

/// Bytes that are read one after the other.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// A string: a name or a value.
struct Text<'b> {
    coded: bool,
    bytes: &'b [u8],
}

impl Authorities {
    /// The next head of the connection, with [`NO_HOST`] in the place of an authority that is no host; none where it has none.
    pub fn mend(&mut self, head: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        let mut reader = Reader { bytes: head, at: 0 };
        let mut mended = Vec::new();
        let mut copied = 0;
        while let Some(first) = head.get(reader.at) {
            let start = reader.at;
            let replaced = match first {
                0x80.. => (reader.number(0x7f)? == AUTHORITY).then_some((start, NAMELESS)),
                0x40.. => self.literal(&mut reader, 0x3f, true)?,
                // The table gets another size.
                0x20.. => reader.number(0x1f).map(|_| None)?,
                _ => self.literal(&mut reader, 0x0f, false)?,
            };
            if let Some((from, value)) = replaced {
                mended.extend_from_slice(head.get(copied..from).unwrap_or_default());
                mended.extend_from_slice(value);
                copied = reader.at;
            }
        }
        if copied == 0 {
            return Ok(None);
        }
        mended.extend_from_slice(head.get(copied..).unwrap_or_default());
        Ok(Some(mended))
    }

    /// A field with a value of its own. Says from where on it is to be replaced, and by what.
    fn literal(
        &mut self,
        reader: &mut Reader,
        mask: u8,
        kept: bool,
    ) -> Result<Option<(usize, &'static [u8])>, Unreadable> {
        let named = match reader.number(mask)? {
            0 => reader.text()?.is(NAME),
            AUTHORITY => true,
            index => index.checked_sub(STATIC + 1).is_some_and(|at| self.is_named(at)),
        };
        let value_at = reader.at;
        let value = reader.text()?;
        if kept {
            self.named = self.named << 1 | u128::from(named);
        }
        Ok((named && !value.is_host()).then_some((value_at, NAMELESS.get(1..).unwrap_or_default())))
    }

    fn is_named(&self, at: usize) -> bool {
        u32::try_from(at).is_ok_and(|at| self.named.checked_shr(at).unwrap_or_default() & 1 == 1)
    }
}

impl<'b> Reader<'b> {
    fn byte(&mut self) -> Result<u8, Unreadable> {
        let byte = self.bytes.get(self.at).ok_or(Unreadable)?;
        self.at += 1;
        Ok(*byte)
    }

    /// A number that begins in the last bits of a byte.
    fn number(&mut self, mask: u8) -> Result<usize, Unreadable> {
        let first = self.byte()? & mask;
        let mut number = usize::from(first);
        if first < mask {
            return Ok(number);
        }
        for part in 0..LONGEST_NUMBER {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << (7 * part);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    fn text(&mut self) -> Result<Text<'b>, Unreadable> {
        let coded = self.bytes.get(self.at).ok_or(Unreadable)? & 0x80 != 0;
        let length = self.number(0x7f)?;
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.get(..length)).ok_or(Unreadable)?;
        self.at += length;
        Ok(Text { coded, bytes })
    }
}

impl Text<'_> {
    fn is(&self, text: &[u8]) -> bool {
        if self.coded { decoded(self.bytes).is_some_and(|own| own == text) } else { self.bytes == text }
    }

    fn is_host(&self) -> bool {
        if self.coded { decoded(self.bytes).is_some_and(|own| is_authority(&own)) } else { is_authority(self.bytes) }
    }
}

/// A string out of its code; none where it has a character that no host has, or ends wrongly.
fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while let Some((character, length)) = first(bits, count) {
            text.push(character);
            count -= length;
            bits &= (1 << count) - 1;
        }
        if count >= LONGEST_CODE {
            return None;
        }
    }
    // The rest of the last byte is all ones.
    (count < 8 && bits == (1 << count) - 1).then_some(text)
}

/// The first character in so many bits, and how long its code is; none where its code is not whole, or not one of a host's.
fn first(bits: u32, count: u32) -> Option<(u8, u32)> {
    CODES.iter().find_map(|(length, first, characters)| {
        let code = bits >> count.checked_sub(*length)?;
        let at = usize::try_from(code.checked_sub(*first)?).ok()?;
        characters.get(at).map(|character| (*character, *length))
    })
}

#[cfg(test)]
mod tests;
