//! Answers whose bodies come part by part.

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

/// How much of a response is read even where memory is full.
const ALWAYS_ALLOWED: usize = 256 << 10;

/// A response whose head is here.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Whether it came over a connection that had been there before: of HTTP/2.
    pub reused: bool,
    /// The body, part by part.
    pub body: Body,
}

/// The body of a response. It is not read further ahead than a connection's window.
pub struct Body(Version);

enum Version {
    Http1(Incoming),
    Http2(http2::Body),
}

impl Response {
    pub(super) fn new(head: Parts, body: Body, reused: bool) -> Response {
        Response { status: head.status, headers: head.headers, reused, body }
    }

    /// The response as a whole, of at most `most` bytes. What is more than every response may have is counted in
    /// `memory`.
    pub(super) async fn collect(
        mut self,
        most: usize,
        memory: Option<&Arc<Memory>>,
    ) -> Result<Exchange, ExchangeError> {
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
        Ok(Exchange { status: self.status, headers: self.headers, body: body.freeze(), trailers })
    }
}

impl Body {
    pub(super) fn http1(body: Incoming) -> Body {
        Body(Version::Http1(body))
    }

    pub(super) fn http2(body: http2::Body) -> Body {
        Body(Version::Http2(body))
    }

    /// The next part; none at the end.
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

    /// Whether its end has come.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            Version::Http1(body) => body.is_end_stream(),
            Version::Http2(body) => body.is_over(),
        }
    }

    /// How much of it may be held unread, in bytes, beside the buffers of a connection.
    pub fn read_ahead(&self) -> usize {
        match &self.0 {
            Version::Http1(_) => 0,
            Version::Http2(_) => STREAMING_WINDOW as usize,
        }
    }

    /// From here on, who gives it up does so for reasons of its own, and its connection is still good.
    pub(super) fn release(&mut self) {
        if let Version::Http2(body) = &mut self.0 {
            body.release();
        }
    }

    /// Nothing has come for too long: if it is given up now, its connection is too.
    pub fn mark_hung(&mut self) {
        if let Version::Http2(body) = &mut self.0 {
            body.mark_hung();
        }
    }
}
