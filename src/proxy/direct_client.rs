//! The client of a request that is served without a session of Pingora's.

use super::context::Context;
use super::downstream::Downstream;
use crate::edge::StrictHttp1Stream;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use httparse::Header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Shutdown;
use pingora::protocols::http::date;
use pingora::{Error, ErrorType, Result};
use std::mem::MaybeUninit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The most headers of a plain request.
const MAX_HEADERS: usize = 32;
/// The most bytes of a body that are read at once.
const BODY_PART: usize = 16 << 10;
/// The capacity of a buffer for the head of a response, in bytes.
const RESPONSE_HEAD: usize = 1024;

/// The head of a plain request. `None` for any other, which Pingora parses.
fn plain_request(head: &Bytes) -> Option<RequestHeader> {
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

/// How the client finds the end of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// There is no body, whatever the head declares.
    Bodiless,
    /// It has the declared length.
    Length,
    Chunked,
}

/// The client of a request.
pub(super) struct DirectClient<'a> {
    pub request: RequestHeader,
    /// The bytes of the head.
    pub head: Bytes,
    pub stream: &'a mut StrictHttp1Stream,
    /// Whether the connection stays open.
    pub is_kept: bool,
    /// The status of the last head that has been written, also of an informational response.
    pub status: Option<StatusCode>,
    /// How many bytes of the body have been written.
    pub sent: usize,
    /// The declared length of the response.
    length: Option<usize>,
    framing: Framing,
}

impl<'a> DirectClient<'a> {
    /// The client of a plain request. `None` for any other request, which Pingora parses.
    pub fn new(head: Bytes, stream: &'a mut StrictHttp1Stream) -> Option<DirectClient<'a>> {
        let request = plain_request(&head)?;
        let (status, sent, length, framing) = (None, 0, None, Framing::Bodiless);
        Some(DirectClient { request, head, stream, is_kept: true, status, sent, length, framing })
    }

    /// The whole body of the request.
    pub async fn whole_body(&mut self) -> Result<Bytes> {
        let mut whole = self.read_body().await?.unwrap_or_default();
        while let Some(part) = self.read_body().await? {
            whole = [whole, part].concat().into();
        }
        Ok(whole)
    }

    /// Writes a response that precedes the final one.
    pub async fn write_informational(&mut self, header: &ResponseHeader) -> Result<()> {
        let mut head = head_bytes(header);
        head.put_slice(b"\r\n");
        self.stream.write_all(&head).await.map_err(|error| gone("writing a head", error))?;
        self.flush().await?;
        self.status = Some(header.status);
        Ok(())
    }

    /// Writes the head of the final response, which declares the length of its body, or that it comes in chunks.
    pub async fn begin_response(&mut self, mut header: ResponseHeader) -> Result<()> {
        if self.stream.body_left() > 0 {
            // As Pingora does: what the client still sends is not read as a request.
            self.close();
        }
        // Written below; an insertion takes longer.
        for own in [DATE, CONNECTION] {
            if header.headers.contains_key(&own) {
                header.remove_header(&own);
            }
        }
        let status = header.status;
        let length = header.headers.get(CONTENT_LENGTH);
        self.length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let is_bodiless =
            self.request.method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        self.framing = match self.length {
            _ if is_bodiless => Framing::Bodiless,
            _ if header.headers.contains_key(TRANSFER_ENCODING) => Framing::Chunked,
            Some(_) => Framing::Length,
            // The client would look for the end of the body in another place than the gateway.
            None => return Error::e_explain(ErrorType::InternalError, "a response without a length"),
        };
        let mut head = head_bytes(&header);
        let connection: &[u8] = if self.is_kept { b"keep-alive" } else { b"close" };
        for part in [b"Date: ", date::get_cached_date().as_bytes(), b"\r\nConnection: ", connection, b"\r\n\r\n"] {
            head.put_slice(part);
        }
        self.stream.write_all(&head).await.map_err(|error| gone("writing a head", error))?;
        // A head that has a body counts as written once it is in the buffer, and everything else once it was sent: so
        // counts Pingora.
        if self.framing == Framing::Bodiless || self.is_response_whole() {
            self.flush().await?;
        }
        self.status = Some(status);
        Ok(())
    }

    /// Writes a part of the body. Fails if the body is longer than the head declares.
    pub async fn write_part(&mut self, part: &[u8]) -> Result<()> {
        let failed = |error| gone("writing a body", error);
        let sent = self.sent + part.len();
        match self.framing {
            _ if part.is_empty() => {}
            Framing::Bodiless => return Ok(()),
            Framing::Length if self.length.is_none_or(|length| length < sent) => {
                return Error::e_explain(ErrorType::InternalError, "the body is longer than declared");
            }
            Framing::Length => {
                self.stream.write_all(part).await.map_err(failed)?;
                if self.length == Some(sent) {
                    self.flush().await?;
                }
            }
            Framing::Chunked => {
                let size = format!("{:X}\r\n", part.len());
                for bytes in [size.as_bytes(), part, b"\r\n"] {
                    self.stream.write_all(bytes).await.map_err(failed)?;
                }
            }
        }
        self.sent = sent;
        Ok(())
    }

    /// Sends what was written.
    pub async fn flush(&mut self) -> Result<()> {
        self.stream.flush().await.map_err(|error| gone("sending a response", error))
    }

    /// Ends the body.
    pub async fn end_response(&mut self) -> Result<()> {
        match self.framing {
            Framing::Bodiless => return Ok(()),
            Framing::Length if self.is_response_whole() => return Ok(()),
            Framing::Length => return Error::e_explain(ErrorType::InternalError, "the body is incomplete"),
            Framing::Chunked => {}
        }
        self.stream.write_all(b"0\r\n\r\n").await.map_err(|error| gone("writing a body", error))?;
        self.flush().await
    }
}

/// The error of a client that cannot be written to.
fn gone(doing: &'static str, error: std::io::Error) -> Box<Error> {
    Error::because(ErrorType::WriteError, doing, error).into_down()
}

/// The bytes of a head without its last line, as Pingora writes them.
fn head_bytes(header: &ResponseHeader) -> Vec<u8> {
    let version: &[u8] = if header.version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    let reason = header.get_reason_phrase().unwrap_or_default();
    let mut head = Vec::with_capacity(RESPONSE_HEAD);
    for part in [version, header.status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"] {
        head.put_slice(part);
    }
    header.header_to_h1_wire(&mut head);
    head
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
        _: &mut Context,
        header: ResponseHeader,
        body: Bytes,
        _: Option<HeaderMap>,
    ) -> Result<()> {
        self.begin_response(header).await?;
        self.write_part(&body).await
    }

    fn written_status(&self) -> Option<StatusCode> {
        self.status
    }

    fn is_response_whole(&self) -> bool {
        self.length == Some(self.sent)
    }

    fn was_upgraded(&self) -> bool {
        false
    }

    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.stream).await;
    }
}
