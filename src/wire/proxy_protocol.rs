//! The header of the PROXY protocol, versions 1 and 2, as HAProxy specifies it (`doc/proxy-protocol.txt`): what a proxy
//! that forwards connections sends before the client's bytes.
//!
//! The parser is strict: an optional header would let any client that knows the protocol choose its address, and a
//! header that two parsers end at different bytes would let a client hide a request in it. It rejects a field as soon as
//! it has arrived, so that other protocols do not wait for the timeout; extensions of version 2 are checked when all of
//! them have arrived. No header is longer than [`MAX_LENGTH`].

mod header;
mod v1;
mod v2;

pub use header::{MAX_LENGTH, ProxyHeader, ProxyHeaderError};

/// Parses the header that a connection begins with. `None` if more bytes are needed.
///
/// # Errors
///
/// No bytes that follow could make it a header.
pub fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let may_be = |start: &[u8]| bytes.iter().zip(start).all(|(byte, expected)| byte == expected);
    if may_be(v1::START) {
        v1::parse(bytes)
    } else if may_be(v2::SIGNATURE) {
        v2::parse(bytes)
    } else {
        Err(ProxyHeaderError::Absent)
    }
}

#[cfg(test)]
mod tests;
