//! The provider's timeouts for pass-through requests, where Pingora's own do not fit. Pingora has one timeout for every
//! read from a provider: the one between two parts of a response. Over HTTP/2 it starts with the request and is not
//! restarted while the request body is sent, so the gateway switches it off for requests whose body has not arrived
//! completely.
//!
//! A timeout takes effect where the client is watched meanwhile: over HTTP/1 at its connection ([`crate::edge`]), over
//! HTTP/2 here, in a stream that Pingora treats as one of a custom protocol. If Pingora watches neither side, because
//! the provider stops reading or Pingora has stopped writing, the whole request is aborted
//! ([`ClientTiming::stalled`]). If the client may be the silent side, the request does not count as a failure of
//! the provider.

use super::context::Context;
use super::head::is_http2;
use super::peer::is_call;
use crate::edge::ClientTiming;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::Session;
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as Custom;
use pingora::protocols::http::v2::server::HttpSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// How much longer a response that has begun may make no progress while neither side is watched: its client may be
/// the slow side.
const SLOW_CLIENT: Duration = Duration::from_secs(600);

/// The head of a request goes to the provider while its body is still arriving.
pub(super) fn watch(session: &mut Session, context: &Context) {
    let (Some(idle), Some(timing)) = (own_idle(context), &context.timing) else {
        return;
    };
    timing.start_stall_timer(idle + idle.max(timing.timeouts.idle));
    // Other clients have to send their bodies: see `edge`.
    if is_http2(session) && is_call(&session.req_header().headers) {
        timing.expect_response(idle);
        watch_client(session, timing);
    }
}

/// The whole request is here and goes to the provider: the timeout for its response starts.
pub(super) fn expect(session: &mut Session, context: &mut Context) {
    if let Some(timing) = start(context) {
        watch_client(session, timing);
    }
}

/// Starts the timeout for the response to a request that is here completely. `None` if it needs none.
pub(super) fn start(context: &mut Context) -> Option<&Arc<ClientTiming>> {
    context.is_whole = true;
    let timeouts = context.upstream.as_ref().map(|upstream| upstream.target.timeouts)?;
    let timing = context.timing.as_ref()?;
    // A timeout that is no shorter than the one of every read needs no other.
    let within = match context.begun {
        true => own_idle(context),
        false if context.is_timed || timeouts.first_byte < timeouts.idle => {
            Some(timeouts.first_byte.min(timeouts.idle))
        }
        false => None,
    };
    timing.expect_response(within?);
    Some(timing)
}

/// The response begins.
pub(super) fn begins(context: &Context) {
    let idle = own_idle(context);
    context.timing.as_ref().inspect(|timing| {
        timing.response_progressed(idle);
        if let Some(idle) = idle {
            timing.start_stall_timer(idle + SLOW_CLIENT);
        }
    });
}

/// A part of the request goes to the provider, or a part of the response to the client.
pub(super) fn progressed(context: &Context) {
    if context.is_timed {
        context.timing.as_ref().inspect(|timing| timing.progressed());
    }
}

/// How long the provider may be silent; `None` if Pingora times that.
fn own_idle(context: &Context) -> Option<Duration> {
    let upstream = context.upstream.as_ref().filter(|_| context.is_timed)?;
    Some(upstream.target.timeouts.idle)
}

/// Watches the HTTP/2 client of a request that waits for its response.
fn watch_client(session: &mut Session, timing: &Arc<ClientTiming>) {
    let place = &mut *session.downstream_session;
    *place = match std::mem::replace(place, ServerSession::new_custom(Box::new(()))) {
        ServerSession::H2(stream) => ServerSession::new_custom(Box::new(Watched { stream, timing: timing.clone() })),
        other => other,
    };
}

/// An HTTP/2 stream whose request waits for its response.
struct Watched {
    stream: HttpSession,
    timing: Arc<ClientTiming>,
}

#[async_trait]
impl Custom for Watched {
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        let read = self.stream.read_body_or_idle(no_body_expected);
        let Some(due) = self.timing.response_deadline() else {
            return read.await;
        };
        match timeout_at(Instant::from_std(due), read).await {
            Ok(read) => read,
            Err(_) => {
                self.timing.response_is_late();
                Err(Error::explain(ErrorType::ReadTimedout, "the provider does not respond"))
            }
        }
    }

    fn req_header(&self) -> &RequestHeader {
        self.stream.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.stream.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.stream.read_body_bytes().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.stream.drain_request_body().await
    }

    async fn write_response_header(&mut self, header: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.stream.write_response_header(header, end)
    }

    async fn write_response_header_ref(&mut self, header: &ResponseHeader, end: bool) -> Result<()> {
        self.stream.write_response_header_ref(header, end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.stream.write_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.stream.write_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.stream.response_duplex_vec(tasks).await
    }

    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.stream.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.stream.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.stream.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.stream.response_written()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.stream.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.stream.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.stream.finish()
    }

    fn is_body_empty(&mut self) -> bool {
        self.stream.is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.stream.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.stream.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.stream.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.stream.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.stream.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.stream.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.stream.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.stream.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.stream.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.stream.get_retry_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
