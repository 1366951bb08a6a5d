//! The client of a request that is served without a session of Pingora's.

use super::context::Context;
use super::downstream::Downstream;
use crate::edge::StrictHttp1Stream;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::Header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Shutdown;
use pingora::protocols::http::date;
use pingora::{Error, ErrorType, OrErr, Result};
use std::mem::MaybeUninit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The most headers of a plain request.
const MAX_HEADERS: usize = 32;
/// The most bytes of a body that are read at once.
const BODY_PART: usize = 16 << 10;
/// The capacity of a buffer for the head of a response, in bytes.
const RESPONSE_HEAD: usize = 1024;

/// The head of a plain request. `None` for any other, which Pingora parses.
pub(super) fn plain_request(head: &Bytes) -> Option<RequestHeader> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    parsed.parse_with_uninit_headers(head, &mut headers).ok().filter(httparse::Status::is_complete)?;
    let target = parsed.path.filter(|target| target.starts_with('/') && parsed.version == Some(1))?;
    if parsed.headers.iter().any(|header| is_about_connection(header)) {
        return None;
    }
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    parts.uri = PathAndQuery::from_maybe_shared(head.slice_ref(target.as_bytes())).ok()?.into();
    parts.headers = HeaderMap::with_capacity(parsed.headers.len());
    for header in &*parsed.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(header.value)).ok()?;
        parts.headers.try_append(name, value).ok()?;
    }
    Some(parts.into())
}

/// Whether a header is for the connection, not for what is behind it.
fn is_about_connection(header: &Header) -> bool {
    match header.name.len() {
        6 => header.name.eq_ignore_ascii_case("expect"),
        7 => header.name.eq_ignore_ascii_case("upgrade"),
        10 => {
            let is_kept = header.value.eq_ignore_ascii_case(b"keep-alive");
            header.name.eq_ignore_ascii_case("connection") && !is_kept
        }
        14 => header.name.eq_ignore_ascii_case("http2-settings"),
        _ => false,
    }
}

/// The client of a request.
pub(super) struct DirectClient<'a> {
    pub request: RequestHeader,
    pub stream: &'a mut StrictHttp1Stream,
    /// Whether the connection stays open.
    pub is_kept: bool,
    /// The status of the response, once its head has been written.
    pub status: Option<StatusCode>,
    /// Whether all of the response has been written.
    pub is_whole: bool,
}

impl Downstream for DirectClient<'_> {
    fn request(&self) -> &RequestHeader {
        &self.request
    }

    fn has_body(&mut self) -> bool {
        self.stream.body_left() > 0
    }

    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let left = usize::try_from(self.stream.body_left()).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        let mut part = BytesMut::with_capacity(left.min(BODY_PART));
        match self.stream.read_buf(&mut part).await {
            Ok(0) => Error::e_explain(ErrorType::ConnectionClosed, "the body is incomplete"),
            Ok(_) => Ok(Some(part.freeze())),
            Err(error) => Error::e_because(ErrorType::ReadError, "reading the body of a request", error),
        }
    }

    fn http2_body_read(&self) -> Option<u64> {
        None
    }

    async fn send_continue(&mut self) -> Result<()> {
        Ok(())
    }

    async fn until_client_leaves(&mut self, _: &Context) {
        // The body has been read, and the stream gives no byte of a further request.
        let _ = self.stream.read_u8().await;
    }

    fn close(&mut self) {
        self.is_kept = false;
    }

    async fn write(
        &mut self,
        context: &mut Context,
        header: ResponseHeader,
        body: Bytes,
        _: Option<HeaderMap>,
    ) -> Result<()> {
        if self.stream.body_left() > 0 {
            // As Pingora does: what the client still sends is not read as a request.
            self.close();
        }
        let mut parts = http::response::Parts::from(header);
        parts.headers.insert(DATE, date::get_cached_date());
        let connection = HeaderValue::from_static(if self.is_kept { "keep-alive" } else { "close" });
        parts.headers.insert(CONNECTION, connection);
        let status = parts.status;
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let has_body = self.request.method != Method::HEAD
            && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        let header = ResponseHeader::from(parts);
        let mut head = Vec::with_capacity(RESPONSE_HEAD);
        for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
            head.put_slice(part.as_bytes());
        }
        header.header_to_h1_wire(&mut head);
        head.put_slice(b"\r\n");
        self.stream.write_all(&head).await.or_err(ErrorType::WriteError, "writing the head of a response")?;
        let body = if has_body { body } else { Bytes::new() };
        // A head that has a body counts as written once it is in the buffer, and everything else once it was sent: so
        // counts Pingora.
        self.status = Some(status).filter(|_| !body.is_empty());
        self.stream.write_all(&body).await.or_err(ErrorType::WriteError, "writing the body of a response")?;
        self.stream.flush().await.or_err(ErrorType::WriteError, "writing a response")?;
        (self.status, context.written) = (Some(status), body.len());
        self.is_whole = length == Some(body.len());
        Ok(())
    }

    fn written_status(&self) -> Option<StatusCode> {
        self.status
    }

    fn is_response_whole(&self) -> bool {
        self.is_whole
    }

    fn was_upgraded(&self) -> bool {
        false
    }

    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.stream).await;
    }
}
