//! Finds out how a call ended while its response arrives in parts. A failed call has no message: its status is in the
//! headers, in the trailers, or for gRPC-web in a frame of the body.

use super::carrier::Carrier;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

/// The maximum length of a buffered status, in bytes: more than any needs.
const MAX_BUFFERED: usize = 16 << 10;
/// The flag of a trailers frame.
const TRAILERS: u8 = 0x80;

/// What is known so far about the end of a call.
#[derive(Debug)]
pub struct CallEnd {
    carrier: Carrier,
    headers: HeaderMap,
    body: BytesMut,
    /// Whether the body is in base64 (`application/grpc-web-text`).
    text: bool,
    status: Option<StatusCode>,
}

impl CallEnd {
    /// Starts with the head of a response.
    pub fn new(carrier: Carrier, status: StatusCode, headers: &HeaderMap) -> CallEnd {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let text = content_type.to_ascii_lowercase().starts_with("application/grpc-web-text");
        let (headers, body) = (headers.clone(), BytesMut::new());
        let mut end = CallEnd { carrier, headers, body, text, status: None };
        if status != StatusCode::OK {
            end.status = Some(status);
        } else if end.headers.contains_key("grpc-status") {
            end.conclude(None);
        }
        end
    }

    /// The HTTP equivalent of the call's status, once known. A response with a message counts as a success.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Adds a part of the body.
    pub fn data(&mut self, part: &Bytes) {
        let Some(first) = self.body.first().or(part.first()).copied().filter(|_| self.status.is_none()) else {
            return;
        };
        let ends = match self.text {
            // The six bits of the first character are the highest bits of the flags.
            true => !matches!(first, b'A'..=b'Z' | b'a'..=b'f'),
            false => first & TRAILERS != 0,
        };
        if !ends || self.body.len() + part.len() > MAX_BUFFERED {
            self.status = Some(StatusCode::OK);
            return;
        }
        self.body.extend_from_slice(part);
    }

    /// Adds the trailers.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        self.conclude(Some(trailers));
    }

    /// Ends the response, and returns the status.
    pub fn over(&mut self) -> StatusCode {
        self.conclude(None);
        self.status.unwrap_or(StatusCode::BAD_GATEWAY)
    }

    fn conclude(&mut self, trailers: Option<&HeaderMap>) {
        if self.status.is_none() {
            let body = if self.text { decoded(&self.body) } else { Bytes::copy_from_slice(&self.body) };
            self.status = Some(self.carrier.decode_response(StatusCode::OK, &self.headers, &body, trailers).status);
        }
    }
}

/// Decodes base64 that may have padding after each part.
fn decoded(text: &[u8]) -> Bytes {
    text.chunks(4).filter_map(|group| STANDARD.decode(group).ok()).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{framed, framed_trailers};
    use crate::wire::message::Codec;
    use http::{HeaderName, HeaderValue};

    const GRPC: Carrier = Carrier::Grpc(Codec::Proto);
    const WEB: Carrier = Carrier::GrpcWeb(Codec::Proto);

    fn map(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let one = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(one).collect()
    }

    fn of(carrier: Carrier, headers: &[(&'static str, &'static str)]) -> CallEnd {
        CallEnd::new(carrier, StatusCode::OK, &map(headers))
    }

    #[test]
    fn a_status_in_the_head_is_known_at_once() {
        assert_eq!(of(GRPC, &[("grpc-status", "16")]).status(), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(of(WEB, &[("grpc-status", "7")]).status(), Some(StatusCode::FORBIDDEN));
        let rejected = CallEnd::new(GRPC, StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new());
        assert_eq!(rejected.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(of(GRPC, &[]).status(), None);
    }

    #[test]
    fn message_means_success_and_trailers_without_one_give_the_status() {
        let mut end = of(GRPC, &[]);
        end.data(&Bytes::new());
        assert_eq!(end.status(), None);
        end.data(&framed(b"m").slice(..1));
        assert_eq!(end.status(), Some(StatusCode::OK));
        let mut end = of(GRPC, &[]);
        end.trailers(&map(&[("grpc-status", "16")]));
        assert_eq!(end.status(), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(of(GRPC, &[]).over(), StatusCode::BAD_GATEWAY, "it broke off");
    }

    #[test]
    fn grpc_web_trailers_are_read_from_the_body_in_parts_and_in_base64() {
        let trailers = framed_trailers(&map(&[("grpc-status", "16"), ("grpc-message", "no")]));
        let padded = [STANDARD.encode(&trailers[..7]), STANDARD.encode(&trailers[7..])].concat();
        for (content_type, body) in
            [("application/grpc-web+proto", trailers.clone()), ("application/grpc-web-text", Bytes::from(padded))]
        {
            let mut end = of(WEB, &[("content-type", content_type)]);
            for part in body.chunks(3) {
                end.data(&Bytes::copy_from_slice(part));
            }
            assert_eq!(end.status(), None);
            assert_eq!(end.over(), StatusCode::UNAUTHORIZED, "{content_type}");
            let mut end = of(WEB, &[("content-type", content_type)]);
            let message = framed(b"m");
            let text = Bytes::from(STANDARD.encode(&message));
            end.data(if content_type.ends_with("text") { &text } else { &message });
            assert_eq!(end.status(), Some(StatusCode::OK), "{content_type}");
        }
        let mut end = of(WEB, &[]);
        end.data(&Bytes::from(vec![TRAILERS; MAX_BUFFERED + 1]));
        assert_eq!(end.status(), Some(StatusCode::OK), "more than a status");
    }
}
