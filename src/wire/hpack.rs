//! Heads of HTTP/2 as HPACK has them (RFC 7541), written anew so that they name a host or, with [`NO_HOST`], none.
//!
//! A head is taken apart with the table that its client fills, and written without one: so the library's table stays
//! empty, and cannot differ from the client's, whatever is left out here or has another length.

mod huffman;
mod table;

use super::http1::is_authority;
use bytes::Bytes;
pub use table::HpackError;
use table::{Field, Table};

/// What stands where a request names no host: libraries take it for an authority, and no host is called that.
pub const NO_HOST: &str = "=";

/// The fields that name the host of a request.
const AUTHORITY: &[u8] = b":authority";
const HOST: &[u8] = b"host";
/// Numbers have so many bytes at the most.
const MAX_NUMBER_BYTES: u32 = 4;

/// The authorities in the heads of one connection.
#[derive(Debug, Default)]
pub struct AuthorityRewriter {
    table: Table,
}

/// Bytes that are read one after the other.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl AuthorityRewriter {
    /// The next head of the connection, with [`NO_HOST`] where it names no host. In place of a head that is larger than
    /// `most`, as its receiver counts that, there is one that is too large as well, and says nothing else.
    pub fn rewrite(&mut self, head: &[u8], most: usize) -> Result<Vec<u8>, HpackError> {
        let mut fields = self.fields(head, most)?;
        name_one_host(&mut fields);
        let mut written = Vec::with_capacity(head.len());
        fields.iter().for_each(|field| field.write(&mut written));
        Ok(written)
    }

    /// How large the table is.
    pub fn size(&self) -> usize {
        self.table.size()
    }

    fn fields(&mut self, head: &[u8], most: usize) -> Result<Vec<Field>, HpackError> {
        let mut reader = Reader { bytes: head, at: 0 };
        let (mut fields, mut size, mut resizes) = (Vec::new(), 0, true);
        while let Some(first) = head.get(reader.at) {
            let field = match first {
                0x80.. => self.table.get(reader.number(0x7f)?)?,
                0x40.. => {
                    let field = self.literal(&mut reader, 0x3f)?;
                    self.table.add(field.clone());
                    field
                }
                0x20.. if resizes => {
                    self.table.resize(reader.number(0x1f)?)?;
                    continue;
                }
                0x20.. => return Err(HpackError),
                _ => self.literal(&mut reader, 0x0f)?,
            };
            resizes = false;
            size += field.size();
            // An index of one byte may be a field of thousands: what is too large is not collected.
            if size <= most {
                fields.push(field);
            }
        }
        let too_large = || Field { name: Bytes::from_static(b"x"), value: vec![b'x'; most].into() };
        Ok(if size > most { vec![too_large()] } else { fields })
    }

    /// A field with a value of its own.
    fn literal(&self, reader: &mut Reader, mask: u8) -> Result<Field, HpackError> {
        let name = match reader.number(mask)? {
            0 => reader.text()?,
            index => self.table.get(index)?.name,
        };
        Ok(Field { name, value: reader.text()? })
    }
}

/// Leaves out what names no host, so that a field beside it counts that does. Whatever is to be rejected stays: fields
/// that come twice, user names (RFC 9110, section 4.2.4), and heads with neither field, as of HTTP/1.1 those without
/// `Host`.
fn name_one_host(fields: &mut Vec<Field>) {
    let is_request = fields.iter().any(|field| field.name.starts_with(b":"));
    let twice = [AUTHORITY, HOST].iter().any(|name| fields.iter().filter(|field| field.name == *name).count() > 1);
    let has_user = fields.iter().any(|field| field.names_host() && field.value.contains(&b'@'));
    if !is_request || twice || has_user {
        return;
    }
    let count = fields.len();
    fields.retain(|field| !field.names_host() || is_authority(&field.value));
    if fields.len() < count && !fields.iter().any(Field::names_host) {
        let no_host = Field { name: Bytes::from_static(AUTHORITY), value: Bytes::from_static(NO_HOST.as_bytes()) };
        fields.insert(0, no_host);
    }
}

impl Field {
    fn names_host(&self) -> bool {
        self.name == AUTHORITY || self.name == HOST
    }

    /// Writes it as a field that is not kept.
    fn write(&self, out: &mut Vec<u8>) {
        out.push(0);
        for text in [&self.name, &self.value] {
            write_length(text.len(), out);
            out.extend_from_slice(text);
        }
    }
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    const MASK: usize = 0x7f;
    let low = |number: usize| u8::try_from(number & MASK).unwrap_or_default();
    if length < MASK {
        return out.push(low(length));
    }
    out.push(low(MASK));
    let mut left = length - MASK;
    while left > MASK {
        out.push(0x80 | low(left));
        left >>= 7;
    }
    out.push(low(left));
}

impl<'b> Reader<'b> {
    fn byte(&mut self) -> Result<u8, HpackError> {
        let byte = self.bytes.get(self.at).ok_or(HpackError)?;
        self.at += 1;
        Ok(*byte)
    }

    /// A number that begins in the last bits of a byte.
    fn number(&mut self, mask: u8) -> Result<usize, HpackError> {
        let first = self.byte()? & mask;
        let mut number = usize::from(first);
        if first < mask {
            return Ok(number);
        }
        for part in 0..MAX_NUMBER_BYTES {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << (7 * part);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(HpackError)
    }

    /// A string: a name or a value.
    fn text(&mut self) -> Result<Bytes, HpackError> {
        let coded = self.bytes.get(self.at).ok_or(HpackError)? & 0x80 != 0;
        let length = self.number(0x7f)?;
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.get(..length)).ok_or(HpackError)?;
        self.at += length;
        if coded {
            huffman::decoded(bytes).map(Bytes::from).ok_or(HpackError)
        } else {
            Ok(Bytes::copy_from_slice(bytes))
        }
    }
}

#[cfg(test)]
mod tests;
