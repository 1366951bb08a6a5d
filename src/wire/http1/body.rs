//! The body of a request: which of the bytes after the head belong to it.

use super::chunks::Chunks;
use super::error::RequestError;

/// The rest of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyFraming(pub(super) Framing);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many more bytes.
    Length(u64),
    Chunked(Chunks),
}

impl BodyFraming {
    /// Consumes the next bytes. Returns how many of them belong to the body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, RequestError> {
        match &mut self.0 {
            Framing::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Framing::Chunked(chunks) => chunks.take(bytes),
        }
    }

    /// How many bytes are missing; `None` if a body has no declared length.
    pub fn left(&self) -> Option<u64> {
        match &self.0 {
            Framing::Length(left) => Some(*left),
            Framing::Chunked(_) => None,
        }
    }

    /// Whether the body is complete.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunks) => chunks.is_over(),
        }
    }
}
