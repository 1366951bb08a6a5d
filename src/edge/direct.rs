//! Requests of HTTP/1 that are served without a session of Pingora's.

use super::connection_context::ConnectionContext;
use super::strict_http1::StrictHttp1Stream;
use bytes::Bytes;
use std::pin::Pin;

/// A request whose whole head has arrived, and whose body has a known length.
pub(crate) struct DirectRequest<'a> {
    /// Its head. The stream still has it: [`StrictHttp1Stream::take_head`].
    pub head: Bytes,
    pub stream: &'a mut StrictHttp1Stream,
}

/// How a request was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectEnd {
    /// Not at all: Pingora serves it. Nothing was read or written.
    Unserved,
    /// The connection serves further requests.
    Kept,
    /// The connection ends.
    Closed,
}

/// The future of a response.
pub(crate) type DirectServing<'a> = Pin<Box<dyn Future<Output = DirectEnd> + Send + 'a>>;

/// Serves requests without Pingora.
pub(crate) trait DirectApp: Send + Sync {
    /// Whether a request with this host and target may be served here. It only decides whether it is worth a try.
    fn may_serve(&self, connection: &ConnectionContext, host: &str, target: &str) -> bool;

    /// Serves a request; `None` leaves it to Pingora.
    fn serve<'a>(&'a self, request: DirectRequest<'a>) -> Option<DirectServing<'a>>;
}
