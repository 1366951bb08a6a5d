//! The head of a request: what must hold of it before anything else is looked at.

use crate::model::{Operation, Refusal};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Method};

/// Headers by which some servers let a request stand for another method.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, as it was sent.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The host that the request is for, with or without a port.
    pub host: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// What a head says of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySize {
    /// There is none, or there may be one that has to be empty.
    None,
    /// It has this many bytes.
    Known(usize),
    /// It ends when it ends.
    Unknown,
}

impl Head<'_> {
    /// The header that asks for another method than the request's own, also where it is spelled with underscores.
    pub(super) fn method_override(&self) -> Option<&'static str> {
        let is = |own: &str, name: &str| own.len() == name.len() && own == name.replace('_', "-");
        METHOD_OVERRIDES.into_iter().find(|own| self.headers.keys().any(|name| is(own, name.as_str())))
    }
}

/// What must hold of a governed request's head.
pub(super) fn judge(operation: Operation, head: &Head) -> Result<BodySize, Refusal> {
    if let Some(name) = head.method_override() {
        return Err(Refusal::Header(name));
    }
    if head.query.is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::Query);
    }
    if head.headers.contains_key(http::header::UPGRADE) {
        return Err(Refusal::Header("Upgrade"));
    }
    if head.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Refusal::Header("Authorization"));
    }
    let size = body_size(head.headers)?;
    if operation != Operation::UpdateSession {
        return if matches!(size, BodySize::Known(1..)) { Err(Refusal::UnexpectedBody) } else { Ok(size) };
    }
    let coding = head.headers.get_all(CONTENT_ENCODING).iter();
    if coding.into_iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::ContentCoding);
    }
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    match (types.next().and_then(|value| value.to_str().ok()), types.next()) {
        (Some(one), None) if is_json(one) => Ok(size),
        _ => Err(Refusal::ContentType),
    }
}

fn body_size(headers: &HeaderMap) -> Result<BodySize, Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    if first.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some() {
        return Err(Refusal::Header("Transfer-Encoding"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() || (length.is_some() && headers.contains_key(TRANSFER_ENCODING)) {
        return Err(Refusal::Header("Content-Length"));
    }
    match length.map(|length| length.to_str().ok().and_then(|text| text.parse().ok())) {
        None if headers.contains_key(TRANSFER_ENCODING) => Ok(BodySize::Unknown),
        None => Ok(BodySize::None),
        Some(Some(size)) => Ok(BodySize::Known(size)),
        Some(None) => Err(Refusal::Header("Content-Length")),
    }
}

/// `application/json`, with no parameter but `charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let charset = parts.next();
    let utf8 = |text: &str| ["charset=utf-8", "charset=\"utf-8\""].iter().any(|own| text.eq_ignore_ascii_case(own));
    json && charset.is_none_or(utf8) && parts.next().is_none()
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::CredentialMissing)?;
    if values.next().is_some() {
        return Err(Refusal::Header("Authorization"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::CredentialMalformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::CredentialMalformed)?;
    // Without a branch for each byte: tokens are long, and this is on the way of every request.
    let plain = token.bytes().fold(true, |plain, b| plain & (b > b' ') & (b < 0x7f) & (b != b','));
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !plain {
        return Err(Refusal::CredentialMalformed);
    }
    Ok(token)
}
