//! How a dialect renders rejections. What holds for every provider is in the rows of [`Reason`]: status, gRPC code and
//! text. A dialect adds the shape of its provider's errors, and overrides where the provider's own errors differ:
//!
//! ```text
//! pub(super) static OVERRIDES: &[Override] = &[
//!     of(&[Reason::Deleted]).code("E0000007").text("Not found: Resource not found"),
//! ];
//!
//! pub(super) fn shape(error: &ProviderError, _: Carrier) -> OwnResponse {
//!     let body = json!({ "code": error.code, "message": error.sentence(MAX_TEXT) });
//!     OwnResponse::new(error.status, "application/json", body.to_string())
//! }
//! ```

use crate::model::{GrpcCode, Reason, Rejection};
use crate::wire::OwnResponse;
use crate::wire::carrier::Carrier;
use http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

/// The maximum length of violations in a body, in bytes. With more, a small request could cause a large response.
pub(super) const MAX_TEXT: usize = 8 << 10;

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

/// How a dialect renders rejections.
#[derive(Debug)]
pub struct RejectionFormat {
    /// Where the provider's own errors differ from the rows of the reasons.
    pub overrides: &'static [Override],
    /// Renders an error as the provider does in this carrier: status, content type, body and trailers. The headers that
    /// do not depend on the provider are added to it.
    pub shape: fn(&ProviderError, Carrier) -> OwnResponse,
}

/// What differs from the rows of some reasons. For each reason, a dialect sets each of the three at most once.
#[derive(Debug, Clone, Copy)]
pub struct Override {
    /// The reasons.
    pub reasons: &'static [Reason],
    /// The HTTP status.
    pub status: Option<u16>,
    /// The provider's own code of the error, which its SDKs compare.
    pub code: Option<&'static str>,
    /// The text, as it is sent: with the provider's capitals and punctuation. It may have the parameters that the
    /// reason's own text may have.
    pub text: Option<&'static str>,
}

/// Overrides nothing yet of these reasons.
pub(super) const fn of(reasons: &'static [Reason]) -> Override {
    Override { reasons, status: None, code: None, text: None }
}

impl Override {
    pub(super) const fn status(self, status: u16) -> Override {
        Override { status: Some(status), ..self }
    }

    pub(super) const fn code(self, code: &'static str) -> Override {
        Override { code: Some(code), ..self }
    }

    pub(super) const fn text(self, text: &'static str) -> Override {
        Override { text: Some(text), ..self }
    }
}

/// A rejection as an error of the provider: the row of its reason, with the dialect's overrides.
#[derive(Debug)]
pub struct ProviderError<'r> {
    /// The rejection.
    pub rejection: &'r Rejection,
    /// The HTTP status.
    pub status: StatusCode,
    /// The status of gRPC and Connect.
    pub grpc_code: GrpcCode,
    /// The provider's own code, if an override sets it.
    pub code: Option<&'static str>,
    /// The text if an override sets it.
    own_text: Option<&'static str>,
}

impl ProviderError<'_> {
    /// The text. Violations have about `most` bytes at most.
    pub fn text(&self, most: usize) -> String {
        self.rejection.filled(self.own_text.unwrap_or(self.rejection.reason().row().text), most)
    }

    /// The text for a provider whose errors are sentences: a text that is not overridden gets a capital and a period.
    pub fn sentence(&self, most: usize) -> String {
        let text = self.text(most);
        let mut chars = text.chars();
        match (self.own_text, chars.next()) {
            (None, Some(first)) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
            (Some(_), _) | (None, None) => text,
        }
    }
}

impl RejectionFormat {
    /// Renders a rejection in the provider's shape, for the carrier of the call.
    pub fn response(&self, rejection: &Rejection, carrier: Carrier) -> OwnResponse {
        let error = self.error(rejection);
        let response = (self.shape)(&error, carrier);
        match header(rejection, carrier, &response) {
            Some((name, value)) => response.with(name, value),
            None => response,
        }
    }

    fn error<'r>(&self, rejection: &'r Rejection) -> ProviderError<'r> {
        let reason = rejection.reason();
        let row = reason.row();
        let overrides = || self.overrides.iter().filter(|one| one.reasons.contains(&reason));
        let status = overrides().find_map(|one| one.status).unwrap_or(row.status);
        ProviderError {
            rejection,
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            grpc_code: row.grpc_code,
            code: overrides().find_map(|one| one.code),
            own_text: overrides().find_map(|one| one.text),
        }
    }
}

/// The header that says how to do better, which is the same for every provider.
fn header(rejection: &Rejection, carrier: Carrier, response: &OwnResponse) -> Option<(HeaderName, HeaderValue)> {
    match rejection {
        Rejection::Method(allowed) => Some((ALLOW, HeaderValue::from_str(allowed).ok()?)),
        // Tells clients which encoding to retry with (gRPC's document "Compression"; RFC 9110, section 12.5.3).
        Rejection::ContentCoding if carrier.is_framed() => Some((GRPC_ACCEPT_ENCODING, IDENTITY)),
        Rejection::ContentCoding => Some((ACCEPT_ENCODING, IDENTITY)),
        _ if response.status == StatusCode::UNAUTHORIZED => {
            let challenged = response.headers.iter().any(|(name, _)| *name == WWW_AUTHENTICATE);
            (!challenged).then_some((WWW_AUTHENTICATE, BEARER))
        }
        _ => Some((RETRY_AFTER, rejection.retry_after()?.into())),
    }
}
