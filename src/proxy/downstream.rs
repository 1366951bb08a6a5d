//! The client's side of a request that the gateway responds to itself: a session of Pingora's, or a connection without one
//! ([`super::direct`]). What is decided for a request does not depend on which.

use super::context::Context;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

/// The client's side of one request. Errors are those of its connection.
pub(super) trait Downstream: Send {
    /// The head of the request.
    fn request(&self) -> &RequestHeader;

    /// Whether the request has a body.
    fn has_body(&mut self) -> bool;

    /// The next part of the body; `None` after its end.
    fn read_body(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// How many bytes of the body have been read; `None` over HTTP/1, where the connection counts them.
    fn http2_body_read(&self) -> Option<u64>;

    /// Sends 100: the client may send the body.
    fn send_continue(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Returns when the client has left.
    fn until_client_leaves(&mut self, context: &Context) -> impl Future<Output = ()> + Send;

    /// Closes the connection after the response.
    fn close(&mut self);

    /// Writes a whole response, which is for this client's protocol.
    fn write(
        &mut self,
        context: &mut Context,
        header: ResponseHeader,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The status of the response, once its head has been written.
    fn written_status(&self) -> Option<StatusCode>;

    /// Whether a response with a declared length has been written completely.
    fn is_response_whole(&self) -> bool;

    /// Whether what follows on the connection is another protocol.
    fn was_upgraded(&self) -> bool;

    /// Ends a connection of HTTP/1 so that the client can read what was written.
    fn shutdown(&mut self) -> impl Future<Output = ()> + Send;
}
