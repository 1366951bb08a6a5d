//! A session of Pingora's as the client's side of a request.

use super::context::{Context, KEPT_BODY};
use super::downstream::Downstream;
use super::head::{content_length, is_http2};
use crate::edge::StrictHttp1Stream;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::Session;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, OrErr, Result};
use std::time::Duration;

/// Up to this size, in bytes, a body is handed to the HTTP/2 library without waiting for the client: a client that does
/// not read costs no more than the body.
const AT_ONCE: usize = 2 << 10;

/// How often a connection is checked whose request body is not read meanwhile.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

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

    fn http2_body_read(&self) -> Option<u64> {
        is_http2(self).then(|| self.downstream_session.body_bytes_read() as u64)
    }

    async fn send_continue(&mut self) -> Result<()> {
        self.write_continue_response().await
    }

    async fn until_client_leaves(&mut self, context: &Context) {
        until_client_leaves(self, context).await;
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

/// Returns when the client has left. Over HTTP/1.1 that shows only behind what the client has sent, so its body is read
/// meanwhile, as far as Pingora keeps it for the provider. Behind a larger body the connection is checked at intervals.
async fn until_client_leaves(session: &mut Session, context: &Context) {
    if session.is_http2() && !session.as_mut().is_body_done() {
        if let Some(reset) = session.downstream_session.watch_h2_stream_close() {
            let _ = reset.await;
        }
        return;
    }
    while !session.as_mut().is_body_done() {
        if !is_kept(session) {
            return until_connection_closes(session).await;
        }
        match session.read_request_body().await {
            Ok(Some(_)) => context.body_came(session.http2_body_read(), false),
            Ok(None) => break,
            Err(_) => return,
        }
    }
    // The whole body is here.
    context.body_came(session.http2_body_read(), true);
    let _ = session.downstream_session.read_body_or_idle(true).await;
}

/// Returns when an HTTP/1 client has left whose body must not be read yet: unread data hides the end from readers. If
/// the client has sent more than the socket buffer holds, the end has not arrived; then the client's absence shows only
/// after the wait.
async fn until_connection_closes(session: &mut Session) {
    while !StrictHttp1Stream::is_disconnected(session) {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Whether Pingora keeps all of a body that is read before it goes to the provider.
fn is_kept(session: &mut Session) -> bool {
    let length = content_length(session.req_header());
    session.as_mut().get_retry_buffer().is_some() && length.is_some_and(|length| length <= KEPT_BODY)
}
