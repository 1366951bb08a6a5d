//! What a header says, and what can be wrong with it.

use std::net::SocketAddr;

/// The length of the longest header, in bytes. Version 1 allows 107. The length field of version 2 allows 64 KiB; 4 KiB
/// is nginx's limit too, and has room for every extension that load balancers send.
pub const MAX_LENGTH: usize = 4096;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its length, in bytes. The client's bytes follow.
    pub length: usize,
    /// The client's address. `None` if the proxy does not name one: it connects for itself, as for a health check
    /// (`LOCAL`), or its client has no IP address (`UNKNOWN`, `AF_UNSPEC`, `AF_UNIX`).
    pub client: Option<SocketAddr>,
    /// Whether the client's connection to the proxy uses TLS, as far as the proxy says (`PP2_TYPE_SSL`).
    pub tls: bool,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// Something else than a header, such as a request, or a TLS handshake.
    #[error("the connection does not begin with a PROXY protocol header")]
    Absent,
    /// A header of version 1 without the end of line, or a declared length beyond the limit.
    #[error("the header is longer than {0} bytes")]
    TooLong(usize),
    /// Version 1: not the fields that the protocol prescribes.
    #[error("the line of version 1 is malformed")]
    Line,
    /// Version 1: not an IP address of the declared protocol.
    #[error("an address is invalid")]
    Address,
    /// Version 1: not a port in decimal digits.
    #[error("a port is invalid")]
    Port,
    /// Neither version 1 nor 2.
    #[error("the version is neither 1 nor 2")]
    Version,
    /// Version 2: a command that the protocol does not define.
    #[error("the command is neither LOCAL nor PROXY")]
    Command,
    /// Version 2: an address family or transport that the protocol does not define.
    #[error("the address family or the transport is undefined")]
    Family,
    /// Version 2: the declared length has no room for the addresses.
    #[error("the length is too small for the addresses")]
    Length,
    /// Version 2: the extensions do not fill the declared length, or one is malformed or repeated.
    #[error("a TLV is malformed or repeated")]
    Tlv,
    /// Version 2: the checksum is not that of the header.
    #[error("the checksum is wrong")]
    Checksum,
}
