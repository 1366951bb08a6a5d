//! A complete response, or why there is none.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::time::{Duration, Instant};

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No address is known or accepts connections, or the time was over.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The server is reached, but not over TLS.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No connection: the server cannot have processed the request.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke; the request may have been processed.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server says that it has not processed the request.
    #[error("the provider did not process the request: {0}")]
    Refused(String),
    /// A kept connection was closed before any byte of a response arrived.
    #[error("a reused connection was closed")]
    Closed,
    /// No complete response within this timeout.
    #[error("no complete response within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The response, with this status, exceeds this number of bytes.
    #[error("the response has more than {0} bytes")]
    TooLarge(usize, StatusCode),
    /// Memory is too short for the response.
    #[error("the response was aborted because memory is low")]
    OutOfMemory,
}

/// A complete response.
#[derive(Debug)]
pub struct Exchange {
    /// The status.
    pub status: StatusCode,
    /// When the head had arrived.
    pub head_at: Instant,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
}
