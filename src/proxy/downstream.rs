//! The client's side of a request that the gateway answers itself: a session of Pingora's, or a connection without one
//! ([`super::direct`]). What is decided for a request does not depend on which.

use super::client_presence;
use super::context::Context;
use super::head::is_http2;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::Session;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, OrErr, Result};

/// Up to this size, in bytes, a body is handed to the HTTP/2 library without waiting for the client: a client that does
/// not read costs no more than the body.
const AT_ONCE: usize = 2 << 10;

/// The client's side of one request. Errors are those of its connection.
pub(super) trait Downstream: Send {
    /// The head of the request.
    fn request(&self) -> &RequestHeader;

    /// Whether the request has a body.
    fn has_body(&mut self) -> bool;

    /// The next part of the body; `None` after its end.
    fn read_body(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// How many bytes of the body have been read.
    fn body_bytes_read(&self) -> usize;

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

impl Downstream for Session {
    fn request(&self) -> &RequestHeader {
        self.req_header()
    }

    fn has_body(&mut self) -> bool {
        !self.is_body_empty()
    }

    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        self.read_request_body().await
    }

    fn body_bytes_read(&self) -> usize {
        self.downstream_session.body_bytes_read()
    }

    async fn send_continue(&mut self) -> Result<()> {
        self.write_continue_response().await
    }

    async fn until_client_leaves(&mut self, context: &Context) {
        client_presence::until_client_leaves(self, context).await;
    }

    fn close(&mut self) {
        self.set_keepalive(None);
    }

    async fn write(
        &mut self,
        context: &mut Context,
        header: ResponseHeader,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> Result<()> {
        if self.is_http2() && (1..=AT_ONCE).contains(&body.len()) {
            context.written = body.len();
            return write_at_once(self, header, body, trailers).await;
        }
        let empty = body.is_empty();
        write_head(self, header, empty && trailers.is_none()).await?;
        if !empty {
            self.write_response_body(Some(body), trailers.is_none()).await?;
        }
        match trailers {
            Some(trailers) => self.write_response_trailers(trailers).await,
            None => Ok(()),
        }
    }

    fn written_status(&self) -> Option<StatusCode> {
        self.response_written().map(|response| response.status)
    }

    fn is_response_whole(&self) -> bool {
        self.response_written().is_some_and(|response| {
            let length = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            length == Some(self.body_bytes_sent())
        })
    }

    fn was_upgraded(&self) -> bool {
        self.downstream_session.was_upgraded()
    }

    async fn shutdown(&mut self) {
        if !is_http2(self) {
            self.downstream_session.shutdown().await;
        }
    }
}

/// Writes the head of a response. Over HTTP/2 it ends the stream if nothing follows: the head of a call without a
/// message is its trailers.
pub(super) async fn write_head(session: &mut Session, header: ResponseHeader, over: bool) -> Result<()> {
    let written = match &mut *session.downstream_session {
        ServerSession::H2(stream) if over => stream.write_response_header(Box::new(header), true),
        ServerSession::Custom(stream) if over => stream.write_response_header(Box::new(header), true).await,
        _ => session.write_response_header(Box::new(header), over).await,
    };
    written.map_err(|error| error.into_down())
}

/// Writes a response to an HTTP/2 stream without waiting for the client's window.
async fn write_at_once(
    session: &mut Session,
    header: ResponseHeader,
    body: Bytes,
    trailers: Option<HeaderMap>,
) -> Result<()> {
    session.write_response_header(Box::new(header), false).await?;
    let writer = match &mut *session.downstream_session {
        ServerSession::H2(stream) => stream.take_response_body_writer(),
        _ => None,
    };
    let mut writer = writer.ok_or_else(|| Error::explain(ErrorType::H2Error, "the stream is not writable"))?;
    let failed = "while writing a response";
    writer.send_data(body, trailers.is_none()).or_err(ErrorType::WriteError, failed)?;
    match trailers {
        Some(trailers) => writer.send_trailers(trailers).or_err(ErrorType::WriteError, failed),
        None => Ok(()),
    }
}
