//! Rewrites HTTP/2 request heads in HPACK (RFC 7541), so that each names a valid host or, with [`NO_HOST`], none.
//!
//! Heads are decoded with the client's dynamic table and encoded without one. So the library's table stays empty and
//! cannot get out of sync, whatever is removed or changes its length here.

mod huffman;
mod table;

use super::http1::is_authority;
use bytes::Bytes;
pub use table::HpackError;
use table::{Field, Table};

/// Stands for a missing host. Libraries accept it as an authority, and no host has this name.
pub const NO_HOST: &str = "=";

/// The headers that name the host of a request.
const AUTHORITY: &[u8] = b":authority";
const HOST: &[u8] = b"host";
/// The maximum number of bytes after a number's prefix.
const MAX_NUMBER_BYTES: u32 = 4;

/// Rewrites the heads of one connection.
#[derive(Debug, Default)]
pub struct AuthorityRewriter {
    table: Table,
}

/// Reads bytes in order.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl AuthorityRewriter {
    /// Rewrites the connection's next head. A head larger than `most`, as its receiver counts, is replaced by one that
    /// is also too large and has no other content.
    pub fn rewrite(&mut self, head: &[u8], most: usize) -> Result<Vec<u8>, HpackError> {
        let mut fields = self.fields(head, most)?;
        remove_invalid_hosts(&mut fields);
        let mut written = Vec::with_capacity(head.len());
        fields.iter().for_each(|field| field.write(&mut written));
        Ok(written)
    }

    /// The size of the dynamic table, in bytes as HPACK counts.
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
            // An index of one byte may stand for a field of thousands, so fields beyond the limit are not collected.
            if size <= most {
                fields.push(field);
            }
        }
        let too_large = || Field { name: Bytes::from_static(b"x"), value: vec![b'x'; most].into() };
        Ok(if size > most { vec![too_large()] } else { fields })
    }

    /// A field with a literal value.
    fn literal(&self, reader: &mut Reader, mask: u8) -> Result<Field, HpackError> {
        let name = match reader.number(mask)? {
            0 => reader.text()?,
            index => self.table.get(index)?.name,
        };
        Ok(Field { name, value: reader.text()? })
    }
}

/// Removes invalid hosts, so that a valid one in the other header counts. Heads to be rejected stay unchanged: those
/// with repeated hosts, user names (RFC 9110, section 4.2.4), or neither header, like HTTP/1.1 requests without `Host`.
fn remove_invalid_hosts(fields: &mut Vec<Field>) {
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

    /// Writes a literal field without indexing.
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

    /// An integer with a prefix in the low bits of a byte.
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

    /// A string literal.
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
