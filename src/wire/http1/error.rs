//! The limits of a request's head, and the reasons to reject a request.

/// The limits of a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The maximum size of all headers, in bytes, including separators.
    pub block: usize,
    /// The maximum number of headers.
    pub count: usize,
    /// The maximum size of one header: name, `: ` and value.
    pub single: usize,
    /// The maximum length of the target.
    pub target: usize,
}

impl HeadLimits {
    /// The defaults of `clients.limits`.
    pub const DEFAULT: HeadLimits = HeadLimits { block: 32 << 10, count: 100, single: 8 << 10, target: 8 << 10 };
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits::DEFAULT
    }
}

/// Why a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A line does not end in CR LF, or contains a CR or LF.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// A control character.
    #[error("there is a control character in the head")]
    Control,
    /// The request line is not a method, a target and a version, separated by single spaces.
    #[error("the request line is not a method, a target and a version with one space between them")]
    RequestLine,
    /// The method is not a token, or too long.
    #[error("the method is invalid")]
    Method,
    /// The method is CONNECT.
    #[error("CONNECT is not supported")]
    Connect,
    /// The version is neither 1.0 nor 1.1.
    #[error("the version is not HTTP/1.1 or HTTP/1.0")]
    Version,
    /// The target is neither a path nor a URL, or contains characters that must be encoded.
    #[error("the target is not a path, or has unencoded characters")]
    Target,
    /// A header has an invalid name or none, or is folded.
    #[error("a header name is missing, has white space around it, or the header is folded")]
    Name,
    /// With `-` for `_`, the header's name is one that decides how the request is read.
    #[error("the header `{0}` must not be spelled with `_`")]
    Alias(&'static str),
    /// `Host` is missing, repeated or invalid, or differs from the target's host.
    #[error("`Host` is missing, duplicated, invalid, or differs from the target")]
    Host,
    /// `Content-Length` is repeated, not a plain number, or combined with `Transfer-Encoding`.
    #[error("`Content-Length` is duplicated, combined with a transfer coding, or not a number")]
    Length,
    /// `Transfer-Encoding` is not a single `chunked`.
    #[error("`Transfer-Encoding` is not a single `chunked`, or is used with HTTP/1.0")]
    Coding,
    /// An HTTP/2 request has a connection-specific header.
    #[error("connection-specific headers are not allowed in HTTP/2")]
    OfConnection,
    /// A chunk, or the trailers, are malformed.
    #[error("a chunk of the body is malformed")]
    Chunk,
    /// More headers than this limit.
    #[error("there are more than {0} headers")]
    Count(usize),
    /// A header of more bytes than this limit.
    #[error("a header has more than {0} bytes")]
    Single(usize),
    /// All headers have more bytes than this limit.
    #[error("the headers have more than {0} bytes")]
    Block(usize),
    /// The target has more bytes than this limit.
    #[error("the target has more than {0} bytes")]
    TargetLength(usize),
}
