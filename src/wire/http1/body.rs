//! The body of a request: how much of what follows a head belongs to it.

use super::chunks::Chunks;
use super::fault::RequestError;

/// What is behind a head, as far as it has not come yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyFraming(pub(super) Framing);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes.
    Length(u64),
    Chunked(Chunks),
}

impl BodyFraming {
    /// How many of these bytes, which follow those before, belong to the body.
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

    /// Whether the request ends here.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunks) => chunks.is_over(),
        }
    }
}
