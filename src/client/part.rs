//! The parts that bodies come in, over HTTP/1 and HTTP/2 alike.

use bytes::Bytes;
use http::HeaderMap;

/// A part of a body.
#[derive(Debug)]
pub enum Part {
    /// Bytes.
    Data(Bytes),
    /// The trailers.
    Trailers(HeaderMap),
}
