//! What a head may be, and why a request is not read.

/// How large the head of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// All headers together, in bytes, with what separates them.
    pub block: usize,
    /// How many headers.
    pub count: usize,
    /// A single header: its name, `: `, and its value.
    pub single: usize,
    /// The target in the request line, or the path with its query.
    pub target: usize,
}

/// Why a request is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A line ends in something other than CR LF, or a CR or LF stands within one.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// A control character.
    #[error("there is a control character in the head")]
    Control,
    /// The first line is not a method, a target and a version with one space between them.
    #[error("the request line is not a method, a target and a version with one space between them")]
    RequestLine,
    /// The method is no token, or longer than any.
    #[error("the method is not one")]
    Method,
    /// The method asks for a tunnel.
    #[error("CONNECT is not for this server")]
    Connect,
    /// A version other than 1.0 and 1.1.
    #[error("the version is not HTTP/1.1 or HTTP/1.0")]
    Version,
    /// The target is no path and no URL, or has characters in it that have to be encoded.
    #[error("the target is not a path, or has characters in it that have to be encoded")]
    Target,
    /// A name that is no token, a line without one, or one that continues the line before it.
    #[error("a header has no name, white space beside it, or is continued in the next line")]
    Name,
    /// A header whose name, with `-` for `_`, is one that decides how the request is read.
    #[error("the header `{0}` is not to be spelled with `_`")]
    Alias(&'static str),
    /// No `Host`, two, one that is not a host, or another than that of the target.
    #[error("`Host` is missing, stands twice, is not a host, or not that of the target")]
    Host,
    /// A length that stands twice, beside a transfer coding, or is not a plain number.
    #[error("`Content-Length` stands twice, beside a transfer coding, or is not a number")]
    Length,
    /// A transfer coding other than a single `chunked`.
    #[error("`Transfer-Encoding` is not a single `chunked`, or stands in HTTP/1.0")]
    Coding,
    /// A header that speaks of a connection, in HTTP/2.
    #[error("HTTP/2 has no headers that speak of a connection")]
    OfConnection,
    /// A chunk that is not framed as it has to be, or trailers that are not.
    #[error("a chunk of the body is not framed as it has to be")]
    Chunk,
    /// More headers than this number.
    #[error("there are more than {0} headers")]
    Count(usize),
    /// A header of more than this number of bytes.
    #[error("a header has more than {0} bytes")]
    Single(usize),
    /// Headers of more than this number of bytes together.
    #[error("the headers have more than {0} bytes")]
    Block(usize),
    /// A target of more than this number of bytes.
    #[error("the target has more than {0} bytes")]
    TargetLength(usize),
}
