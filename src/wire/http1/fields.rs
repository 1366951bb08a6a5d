//! The rules for headers, the same for HTTP/1 and HTTP/2. Most providers receive HTTP/2 requests as HTTP/1, so neither
//! version may allow what the other rejects.

use super::error::{HeadLimits, RequestError};
use super::token::{MAX_METHOD, is_target, is_token};
use http::header::CONNECTION;
use http::{HeaderMap, Uri, uri};
use std::net::Ipv6Addr;

/// Headers that decide how a request is read. Servers with CGI-like interfaces (WSGI, Rack, PHP) read `_` in a name as
/// `-`, so an alias could contradict what was validated.
const CRITICAL_HEADERS: [&str; 4] = ["content-length", "transfer-encoding", "content-type", "content-encoding"];

/// Connection-specific headers, which HTTP/2 forbids (RFC 9113, section 8.2.2).
const CONNECTION_HEADERS: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// What the headers so far say about the framing of the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FramingFields {
    /// Whether `Host` was present.
    pub host: bool,
    /// Whether `Host` may have another value than a host.
    pub host_optional: bool,
    pub length: Option<u64>,
    pub chunked: bool,
}

/// The header names listed in `Connection`, which are hop-by-hop and not forwarded. A client cannot list its credential
/// or content type this way: the request was validated with them.
pub fn connection_options(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let kept = |name: &&str| {
        !name.is_empty() && !["authorization", "content-type"].iter().any(|own| own.eq_ignore_ascii_case(name))
    };
    values.flat_map(|value| value.split(',')).map(str::trim).filter(kept).collect()
}

impl FramingFields {
    /// Checks the next header. Its value must be trimmed.
    pub fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), RequestError> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let twice = std::mem::replace(&mut self.host, true);
                let fits = is_authority(value) || self.host_optional && !value.contains(&b'@');
                if twice || !fits { Err(RequestError::Host) } else { Ok(()) }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = length(value).ok_or(RequestError::Length)?;
                if self.length.replace(length).is_some() { Err(RequestError::Length) } else { Ok(()) }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let twice = std::mem::replace(&mut self.chunked, true);
                if twice || !value.eq_ignore_ascii_case(b"chunked") { Err(RequestError::Coding) } else { Ok(()) }
            }
            _ => alias(name).map_or(Ok(()), |own| Err(RequestError::Alias(own))),
        }
    }
}

/// The head of an HTTP/2 request.
#[derive(Debug, Clone, Copy)]
pub struct Http2Head<'a> {
    /// `:method`.
    pub method: &'a str,
    /// `:path`.
    pub target: &'a [u8],
    /// `:authority`.
    pub authority: Option<&'a [u8]>,
    /// Whether the request may name no host.
    pub host_optional: bool,
    /// All headers except pseudo-headers.
    pub headers: &'a HeaderMap,
}

/// Checks an HTTP/2 request by the rules of HTTP/1 and those of HTTP/2. Returns the declared length of the body, if
/// any.
pub fn check(parts: Http2Head, limits: HeadLimits) -> Result<Option<u64>, RequestError> {
    check_method(parts.method.as_bytes())?;
    if parts.target.len() > limits.target {
        return Err(RequestError::TargetLength(limits.target));
    }
    if parts.headers.len() > limits.count {
        return Err(RequestError::Count(limits.count));
    }
    let mut block = 0;
    let mut fields = FramingFields::default();
    for (name, value) in parts.headers {
        let (name, value) = (name.as_str(), value.as_bytes());
        let size = name.len() + 2 + value.len();
        if size > limits.single {
            return Err(RequestError::Single(limits.single));
        }
        block += size + 2;
        // The library accepts names that HTTP/1 forbids. It rejects control characters in values itself.
        if !is_token(name.as_bytes()) {
            return Err(RequestError::Name);
        }
        if CONNECTION_HEADERS.contains(&name) || (name == "te" && value != b"trailers") {
            return Err(RequestError::OfConnection);
        }
        fields.take(name.as_bytes(), value)?;
    }
    if block > limits.block {
        return Err(RequestError::Block(limits.block));
    }
    if !parts.authority.map_or(fields.host || parts.host_optional, is_authority) {
        return Err(RequestError::Host);
    }
    if is_target(parts.target, parts.method.as_bytes()) { Ok(fields.length) } else { Err(RequestError::Target) }
}

/// Checks the method of a request of any version.
pub(super) fn check_method(method: &[u8]) -> Result<(), RequestError> {
    match method {
        b"CONNECT" => Err(RequestError::Connect),
        method if !is_token(method) || method.len() > MAX_METHOD => Err(RequestError::Method),
        _ => Ok(()),
    }
}

/// The critical header that this name is an alias of.
fn alias(name: &[u8]) -> Option<&'static str> {
    if !name.contains(&b'_') {
        return None;
    }
    let same = |(one, own): (&u8, &u8)| one.eq_ignore_ascii_case(own) || (*one == b'_' && *own == b'-');
    let is = |own: &&str| own.len() == name.len() && name.iter().zip(own.as_bytes()).all(same);
    CRITICAL_HEADERS.into_iter().find(|own| is(own))
}

/// Whether this is an unambiguous host name or IP address, with an optional port.
pub fn is_authority(value: &[u8]) -> bool {
    let (is_host, rest) = match value {
        [b'[', rest @ ..] => {
            let Some((address, rest)) = rest.iter().position(|byte| *byte == b']').map(|at| rest.split_at(at)) else {
                return false;
            };
            let address = std::str::from_utf8(address).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            (address.is_some(), rest.get(1..).unwrap_or_default())
        }
        name => {
            let end = name.iter().position(|byte| *byte == b':').unwrap_or(name.len());
            let (name, rest) = name.split_at_checked(end).unwrap_or_default();
            (is_host_name(name), rest)
        }
    };
    let is_port = match rest {
        [] => true,
        [b':', port @ ..] => port.len() <= 5 && number(port).is_some_and(|port| port <= u64::from(u16::MAX)),
        _ => false,
    };
    is_host && is_port
}

/// The URI without its authority, if that is not a valid host.
pub fn without_invalid_authority(uri: &Uri) -> Option<Uri> {
    uri.authority().filter(|authority| !is_authority(authority.as_str().as_bytes()))?;
    let mut parts = uri::Parts::default();
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).ok()
}

/// The authority without its trailing dot, but with its port. `None` if it has no trailing dot. `name.` is the same
/// host as `name`; the dot only prevents the use of search domains.
pub fn without_root_dot(authority: &str) -> Option<String> {
    let end = authority.find(':').filter(|_| !authority.starts_with('[')).unwrap_or(authority.len());
    let (name, port) = authority.split_at_checked(end)?;
    let name = name.strip_suffix('.').filter(|name| !name.is_empty() && !name.ends_with('.'))?;
    Some(format!("{name}{port}"))
}

/// The URI without the trailing dot of its host.
pub fn uri_without_root_dot(uri: &Uri) -> Option<Uri> {
    let authority = without_root_dot(uri.authority()?.as_str())?;
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority.parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn is_host_name(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let mut label = 0;
    for byte in name {
        label = match byte {
            b'.' if label == 0 => return false,
            b'.' => 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label + 1,
            _ => return false,
        };
        if label > 63 {
            return false;
        }
    }
    label > 0 && name.len() <= 253
}

/// Parses a number that consists of digits only.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// Parses a length without leading zeros.
fn length(value: &[u8]) -> Option<u64> {
    let padded = value.len() > 1 && value.starts_with(b"0");
    // Some libraries store lengths as `i64`.
    number(value).filter(|length| !padded && *length <= i64::MAX as u64)
}
