//! Carriers: the protocols of a call: REST, gRPC, gRPC-web, Connect.
//!
//! Sources: gRPC's documents "gRPC over HTTP2" and "gRPC-Web Protocol", Connect's "Protocol Reference".

use super::frame::{self, FrameError};
use super::json::{Document, Kind, member};
use super::message::Codec;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use std::time::Duration;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
const GRPC_TIMEOUT: &str = "grpc-timeout";
const CONNECT_TIMEOUT: &str = "connect-timeout-ms";

/// The protocol of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Carrier {
    /// An HTTP method on a resource, with JSON.
    #[default]
    Rest,
    /// gRPC over HTTP/2.
    Grpc(Codec),
    /// gRPC-web over any HTTP version.
    GrpcWeb(Codec),
    /// Connect, unary calls.
    Connect(Codec),
}

/// A decoded response, whatever its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedCall {
    /// The HTTP status, or the HTTP equivalent of the gRPC status.
    pub status: StatusCode,
    /// The message; `None` if absent or unreadable.
    pub message: Option<Bytes>,
}

impl Carrier {
    /// Every carrier, in the order of declaration.
    pub const ALL: [Carrier; 7] = [
        Carrier::Rest,
        Carrier::Grpc(Codec::Proto),
        Carrier::Grpc(Codec::Json),
        Carrier::GrpcWeb(Codec::Proto),
        Carrier::GrpcWeb(Codec::Json),
        Carrier::Connect(Codec::Proto),
        Carrier::Connect(Codec::Json),
    ];

    /// The name in cache keys.
    pub fn name(self) -> &'static str {
        match self {
            Carrier::Rest => "rest",
            Carrier::Grpc(Codec::Proto) => "grpc",
            Carrier::Grpc(Codec::Json) => "grpc+json",
            Carrier::GrpcWeb(Codec::Proto) => "grpc-web",
            Carrier::GrpcWeb(Codec::Json) => "grpc-web+json",
            Carrier::Connect(Codec::Proto) => "connect",
            Carrier::Connect(Codec::Json) => "connect+json",
        }
    }

    /// The carrier of a call with this content type. `None` if the type or a parameter is unknown.
    pub fn of_call(content_type: &str) -> Option<Carrier> {
        match content_type.trim().to_ascii_lowercase().as_str() {
            "application/grpc" | "application/grpc+proto" => Some(Carrier::Grpc(Codec::Proto)),
            "application/grpc+json" => Some(Carrier::Grpc(Codec::Json)),
            "application/grpc-web" | "application/grpc-web+proto" => Some(Carrier::GrpcWeb(Codec::Proto)),
            "application/grpc-web+json" => Some(Carrier::GrpcWeb(Codec::Json)),
            "application/proto" => Some(Carrier::Connect(Codec::Proto)),
            other if is_json(other) => Some(Carrier::Connect(Codec::Json)),
            _ => None,
        }
    }

    /// The carrier in which a caller most likely understands an error.
    pub fn of_caller(content_type: &str) -> Carrier {
        let is = |start: &str| content_type.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start));
        match content_type {
            _ if is("application/grpc-web") => Carrier::GrpcWeb(Codec::Proto),
            _ if is("application/grpc") => Carrier::Grpc(Codec::Proto),
            _ if is("application/proto") => Carrier::Connect(Codec::Proto),
            _ => Carrier::Connect(Codec::Json),
        }
    }

    /// The encoding of messages.
    pub fn codec(self) -> Codec {
        match self {
            Carrier::Rest => Codec::Json,
            Carrier::Grpc(codec) | Carrier::GrpcWeb(codec) | Carrier::Connect(codec) => codec,
        }
    }

    /// Whether messages are wrapped in frames.
    pub fn is_framed(self) -> bool {
        match self {
            Carrier::Grpc(_) | Carrier::GrpcWeb(_) => true,
            Carrier::Rest | Carrier::Connect(_) => false,
        }
    }

    /// Whether it needs HTTP/2 and trailers.
    pub fn is_grpc(self) -> bool {
        matches!(self, Carrier::Grpc(_))
    }

    /// The headers in which callers of any carrier say how long they wait.
    pub const DEADLINE_HEADERS: [&str; 2] = [GRPC_TIMEOUT, CONNECT_TIMEOUT];

    /// How long the caller waits for the response, from the head of its request on. REST has no such header.
    pub fn deadline(self, headers: &HeaderMap) -> Option<Duration> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match self {
            Carrier::Rest => return None,
            Carrier::Connect(_) => return text(CONNECT_TIMEOUT)?.parse().ok().map(Duration::from_millis),
            Carrier::Grpc(_) | Carrier::GrpcWeb(_) => {}
        }
        let (number, unit) = text(GRPC_TIMEOUT).and_then(|text| text.split_at_checked(text.len().checked_sub(1)?))?;
        let number: u64 = number.parse().ok()?;
        match unit {
            "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
            "M" => Some(Duration::from_secs(number.saturating_mul(60))),
            "S" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_millis(number)),
            "u" => Some(Duration::from_micros(number)),
            "n" => Some(Duration::from_nanos(number)),
            _ => None,
        }
    }

    /// Extracts the message of a request.
    pub fn request_message(self, body: &Bytes) -> Result<Bytes, FrameError> {
        if self.is_framed() { frame::message(body) } else { Ok(body.clone()) }
    }

    /// Wraps a message as the body of a request.
    pub fn request_body(self, message: Bytes) -> Bytes {
        if self.is_framed() { frame::framed(&message) } else { message }
    }

    /// Decodes a response. `trailers` are the HTTP trailers.
    pub fn decode_response(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
        trailers: Option<&HeaderMap>,
    ) -> DecodedCall {
        if !self.is_framed() {
            return DecodedCall { status, message: Some(body.clone()) };
        }
        if status != StatusCode::OK {
            return DecodedCall { status, message: None };
        }
        let Ok((message, inner)) = frame::response(body) else {
            return DecodedCall { status: StatusCode::BAD_GATEWAY, message: None };
        };
        let places = [inner.as_ref(), trailers, Some(headers)];
        let said = places.into_iter().flatten().find_map(|place| place.get(GRPC_STATUS));
        let code = said.and_then(|code| code.to_str().ok()?.parse().ok());
        // A response without a status was cut off.
        let status = code.map_or(StatusCode::BAD_GATEWAY, http_status);
        DecodedCall { status, message: message.filter(|_| status == StatusCode::OK) }
    }

    /// The error text of a response, as it is on the wire: framed carriers encode all but printable ASCII.
    /// `path` leads to the JSON member of a REST error that identifies it.
    pub fn error_text(
        self,
        path: &[&str],
        headers: &HeaderMap,
        body: &Bytes,
        trailers: Option<&HeaderMap>,
    ) -> Option<String> {
        if self.is_framed() {
            let inner = frame::response(body).ok().and_then(|(_, inner)| inner);
            let places = [inner.as_ref(), trailers, Some(headers)];
            let said = places.into_iter().flatten().find_map(|place| place.get(GRPC_MESSAGE))?;
            return said.to_str().ok().map(str::to_owned);
        }
        let document = Document::parse(body.clone()).ok()?;
        let path = if self == Carrier::Rest { path } else { &["message"] };
        let mut found = document.root();
        for name in path {
            let Kind::Object(members) = &found.kind else {
                return None;
            };
            found = member(members, name)?;
        }
        match &found.kind {
            Kind::Text(text) => Some(text.to_string()),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    /// Replaces the message in a response's body.
    pub fn replace_message(self, body: &Bytes, message: Bytes) -> Bytes {
        if !self.is_framed() {
            return message;
        }
        match frame::response(body) {
            Ok((_, Some(trailers))) => [frame::framed(&message), frame::framed_trailers(&trailers)].concat().into(),
            Ok((_, None)) | Err(_) => frame::framed(&message),
        }
    }

    /// The body of a response with this message, if any, and nothing else but how the call ended.
    pub fn bare_body(self, body: &Bytes, message: Option<Bytes>) -> Bytes {
        if !self.is_framed() {
            return message.unwrap_or_default();
        }
        let trailers = frame::response(body).ok().and_then(|(_, trailers)| trailers);
        let trailers = trailers.map(|trailers| frame::framed_trailers(&ends_of(&trailers)));
        let parts = [message.map(|message| frame::framed(&message)), trailers];
        parts.into_iter().flatten().collect::<Vec<_>>().concat().into()
    }
}

/// Whether this header or trailer tells how a framed call ended.
pub fn tells_end(name: &HeaderName) -> bool {
    name == GRPC_STATUS || name == GRPC_MESSAGE
}

/// What of trailers tells how a framed call ended.
pub fn ends_of(trailers: &HeaderMap) -> HeaderMap {
    let ends = trailers.iter().filter(|(name, _)| tells_end(name));
    ends.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether a content type is `application/json`, with an optional UTF-8 charset in any common spelling. Some clients
/// send empty parameters, too (RFC 9110, section 5.6.6).
pub fn is_json(content_type: &str) -> bool {
    const UTF8: [&str; 4] = ["charset=utf-8", "charset=utf8", "charset=\"utf-8\"", "charset=\"utf8\""];
    let mut parts = content_type.split(';').map(|part| part.trim_matches([' ', '\t']));
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let mut parameters = parts.filter(|parameter| !parameter.is_empty());
    let charset = parameters.next();
    let utf8 = |text: &str| UTF8.iter().any(|own| text.eq_ignore_ascii_case(own));
    json && charset.is_none_or(utf8) && parameters.next().is_none()
}

/// The HTTP status for a gRPC code, as gRPC gateways and Connect map it.
pub fn http_status(code: u32) -> StatusCode {
    let status = match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let one = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn content_types_name_carriers_or_nothing() {
        for (text, carrier) in [
            ("application/grpc", Some(Carrier::Grpc(Codec::Proto))),
            ("Application/gRPC+proto", Some(Carrier::Grpc(Codec::Proto))),
            ("application/grpc+json", Some(Carrier::Grpc(Codec::Json))),
            ("application/grpc-web", Some(Carrier::GrpcWeb(Codec::Proto))),
            ("application/grpc-web+proto", Some(Carrier::GrpcWeb(Codec::Proto))),
            ("application/grpc-web+json", Some(Carrier::GrpcWeb(Codec::Json))),
            ("application/proto", Some(Carrier::Connect(Codec::Proto))),
            ("application/json", Some(Carrier::Connect(Codec::Json))),
            ("application/json; charset=UTF-8", Some(Carrier::Connect(Codec::Json))),
            ("application/json; charset=utf-16", None),
            ("application/json;", Some(Carrier::Connect(Codec::Json))),
            ("application/json ; ;charset=utf8", Some(Carrier::Connect(Codec::Json))),
            ("APPLICATION/JSON;Charset=\"UTF8\";", Some(Carrier::Connect(Codec::Json))),
            ("application/json; charset=utf-8; charset=utf-8", None),
            ("application/json; charset = utf-8", None),
            ("application/json; charset='utf-8'", None),
            ("application/json; charset=utf-8; version=1", None),
            ("application/json; x", None),
            ("application/jsonx", None),
            ("application/grpc-web-text", None),
            ("application/grpc; charset=utf-8", None),
            ("application/grpc+cbor", None),
            ("application/connect+proto", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Carrier::of_call(text), carrier, "{text}");
        }
    }

    #[test]
    fn errors_have_the_same_text_in_every_carrier() {
        let none = HeaderMap::new();
        let told = map(&[("grpc-status", "9"), ("grpc-message", "User is locked (COMMAND-JLK35)")]);
        let text = Some("User is locked (COMMAND-JLK35)".to_owned());
        let body = Bytes::from_static(br#"{"code":9,"message":"User is locked (COMMAND-JLK35)","details":[]}"#);
        for carrier in Carrier::ALL {
            let said = match carrier {
                Carrier::Rest | Carrier::Connect(_) => carrier.error_text(&["message"], &none, &body, None),
                Carrier::Grpc(_) => carrier.error_text(&["message"], &none, &Bytes::new(), Some(&told)),
                Carrier::GrpcWeb(_) => carrier.error_text(&["message"], &none, &frame::framed_trailers(&told), None),
            };
            assert_eq!(said, text, "{}", carrier.name());
        }
        let web = Carrier::GrpcWeb(Codec::Proto);
        assert_eq!(web.error_text(&["message"], &told, &Bytes::new(), None), text, "in the headers");
        assert_eq!(Carrier::Rest.error_text(&["message"], &none, &Bytes::from_static(b"<html>"), None), None);
    }

    #[test]
    fn responses_decode_alike_in_every_carrier() {
        let framed = frame::framed(b"m");
        let good = DecodedCall { status: StatusCode::OK, message: Some(Bytes::from_static(b"m")) };
        let (none, zero, five) = (HeaderMap::new(), map(&[("grpc-status", "0")]), map(&[("grpc-status", "5")]));
        let grpc = Carrier::Grpc(Codec::Proto);
        assert_eq!(grpc.decode_response(StatusCode::OK, &none, &framed, Some(&zero)), good);
        let web = Carrier::GrpcWeb(Codec::Proto);
        let body = Bytes::from([framed.clone(), frame::framed_trailers(&zero)].concat());
        assert_eq!(web.decode_response(StatusCode::OK, &none, &body, None), good);
        let missing = DecodedCall { status: StatusCode::NOT_FOUND, message: None };
        assert_eq!(grpc.decode_response(StatusCode::OK, &none, &Bytes::new(), Some(&five)), missing);
        assert_eq!(grpc.decode_response(StatusCode::OK, &five, &Bytes::new(), None), missing, "trailers only");
        assert_eq!(web.decode_response(StatusCode::OK, &five, &Bytes::new(), None), missing, "in the headers");
        assert_eq!(web.decode_response(StatusCode::OK, &none, &frame::framed_trailers(&five), None), missing);
        assert_eq!(
            grpc.decode_response(StatusCode::OK, &none, &framed, None).status,
            StatusCode::BAD_GATEWAY,
            "broken off"
        );
        let proto = Carrier::Connect(Codec::Proto);
        assert_eq!(proto.decode_response(StatusCode::OK, &none, &Bytes::from_static(b"m"), None), good);
    }
}
