//! The static and the dynamic table of HPACK (RFC 7541, section 2.3).

use bytes::Bytes;
use std::collections::VecDeque;

/// The maximum size of a dynamic table, in bytes: the gateway announces no other (RFC 9113, section 6.5.2).
const MAX_TABLE_SIZE: usize = 4096;
/// The size of an entry in addition to its name and value, in bytes.
pub(super) const ENTRY_OVERHEAD: usize = 32;

/// Invalid HPACK. The dynamic table is unknown from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the head of a request is no HPACK")]
pub struct HpackError;

/// A header or pseudo-header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub name: Bytes,
    pub value: Bytes,
}

impl Field {
    /// The size as HPACK and receivers of a head count it, in bytes.
    pub fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
    }
}

/// RFC 7541, appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The dynamic table, newest entry first.
#[derive(Debug, Clone)]
pub(super) struct Table {
    entries: VecDeque<Field>,
    size: usize,
    most: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table { entries: VecDeque::new(), size: 0, most: MAX_TABLE_SIZE }
    }
}

impl Table {
    /// The field at this index of both tables.
    pub fn get(&self, index: usize) -> Result<Field, HpackError> {
        let at = index.checked_sub(1).ok_or(HpackError)?;
        match STATIC_TABLE.get(at) {
            Some((name, value)) => {
                let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
                Ok(Field { name: bytes(name), value: bytes(value) })
            }
            None => self.entries.get(at - STATIC_TABLE.len()).cloned().ok_or(HpackError),
        }
    }

    /// Adds a field. One larger than the table only empties it.
    pub fn add(&mut self, field: Field) {
        let size = field.size();
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front(field);
        }
    }

    /// Changes the maximum size, as the client requests.
    pub fn resize(&mut self, most: usize) -> Result<(), HpackError> {
        if most > MAX_TABLE_SIZE {
            return Err(HpackError);
        }
        self.most = most;
        self.shrink(most);
        Ok(())
    }

    /// The size of all entries, in bytes as HPACK counts.
    pub fn size(&self) -> usize {
        self.size
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most {
            let Some(dropped) = self.entries.pop_back() else { break };
            self.size -= dropped.size();
        }
    }
}
