//! Responses whose bodies arrive in parts.

use super::http2::{self, STREAMING_WINDOW};
use super::part::Part;
use super::{Exchange, ExchangeError};
use crate::memory::{Level, Memory, Reservation};
use crate::telemetry::{MemoryKind, Shed};
use bytes::BytesMut;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of a response that are read even if memory is full.
const ALWAYS_ALLOWED: usize = 256 << 10;

/// A response whose head has arrived.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Whether the connection was reused; HTTP/2 only.
    pub reused: bool,
    /// The body.
    pub body: Body,
}

/// The body of a response. At most a connection's window is read ahead.
pub struct Body(Version);

enum Version {
    Http1(Incoming),
    Http2(http2::Body),
}

impl Response {
    pub(super) fn new(head: Parts, body: Body, reused: bool) -> Response {
        Response { status: head.status, headers: head.headers, reused, body }
    }

    /// Reads the complete response, whose head has just arrived, up to `most` bytes. `memory` accounts for the bytes beyond `ALWAYS_ALLOWED`.
    pub(super) async fn collect(
        mut self,
        most: usize,
        memory: Option<&Arc<Memory>>,
    ) -> Result<Exchange, ExchangeError> {
        let head_at = Instant::now();
        let (mut body, mut trailers) = (BytesMut::new(), None);
        let mut held: Option<Reservation> = None;
        while let Some(part) = self.body.next().await? {
            match part {
                Part::Data(part) if body.len() + part.len() > most => {
                    self.body.release();
                    return Err(ExchangeError::TooLarge(most, self.status));
                }
                Part::Data(part) => {
                    body.extend_from_slice(&part);
                    let Some(memory) = memory.filter(|_| body.len() > ALWAYS_ALLOWED) else {
                        continue;
                    };
                    if memory.level() >= Level::Full {
                        memory.count_shed(Shed::ProviderResponse);
                        self.body.release();
                        return Err(ExchangeError::OutOfMemory);
                    }
                    let held = held.get_or_insert_with(|| Reservation::new(memory, MemoryKind::ProviderResponses, 0));
                    held.set(body.capacity());
                }
                Part::Trailers(behind) => trailers = Some(behind),
            }
        }
        Ok(Exchange { status: self.status, head_at, headers: self.headers, body: body.freeze(), trailers })
    }
}

impl Body {
    pub(super) fn http1(body: Incoming) -> Body {
        Body(Version::Http1(body))
    }

    pub(super) fn http2(body: http2::Body) -> Body {
        Body(Version::Http2(body))
    }

    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Part>, ExchangeError> {
        let body = match &mut self.0 {
            Version::Http1(body) => body,
            Version::Http2(body) => return body.next().await,
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ExchangeError::Broken(error.to_string()))?;
            match frame.into_data().map_err(|frame| frame.into_trailers()) {
                Ok(part) => return Ok(Some(Part::Data(part))),
                Err(Ok(trailers)) => return Ok(Some(Part::Trailers(trailers))),
                Err(Err(_)) => {}
            }
        }
        Ok(None)
    }

    /// Whether it is complete.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            Version::Http1(body) => body.is_end_stream(),
            Version::Http2(body) => body.is_over(),
        }
    }

    /// Bytes that may be read ahead, besides the connection's buffers.
    pub fn read_ahead(&self) -> usize {
        match &self.0 {
            Version::Http1(_) => 0,
            Version::Http2(_) => STREAMING_WINDOW as usize,
        }
    }

    /// Dropping the body no longer affects the connection.
    pub(super) fn release(&mut self) {
        if let Version::Http2(body) = &mut self.0 {
            body.release();
        }
    }

    /// The connection hangs: dropping the body ends its use.
    pub fn mark_hung(&mut self) {
        if let Version::Http2(body) = &mut self.0 {
            body.mark_hung();
        }
    }
}
