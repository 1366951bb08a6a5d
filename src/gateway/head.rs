//! Checks of a request's head, before anything else.

use super::Upstream;
use super::upstream::without_port;
use crate::dialect::path::canonical_value;
use crate::dialect::{BodyKind, Dialect, Query, Route, TrustedHeader, TrustedValue};
use crate::model::Rejection;
use crate::wire::carrier::{Carrier, is_json};
use crate::wire::http1::connection_options;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method};

/// Headers with which some servers override the method.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The name of the listener.
    pub listener: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The original path.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The requested host, with or without a port.
    pub host: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Whether the request came over HTTP/2.
    pub http2: bool,
    /// Whether the request came from a trusted peer.
    pub trusted: bool,
}

/// The body's size, as a head declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySize {
    /// No body, or one that must be empty.
    None,
    /// This many bytes.
    Declared(usize),
    /// Unknown length (chunked).
    Unknown,
}

impl RequestHead<'_> {
    /// The header that overrides the method, if any. Underscores count as hyphens.
    pub fn method_override(&self) -> Option<&'static str> {
        let is = |own: &str, name: &str| own.len() == name.len() && own == name.replace('_', "-");
        METHOD_OVERRIDES.into_iter().find(|own| self.headers.keys().any(|name| is(own, name.as_str())))
    }
}

/// What the head of a governed request contains.
pub(super) struct CheckedHead {
    /// The call's encoding.
    pub carrier: Carrier,
    /// The body's declared size.
    pub size: BodySize,
    /// The query to forward, for operations with query parameters.
    pub query: Option<String>,
    /// The session's token, if the query contains it.
    pub token: Option<String>,
}

/// Checks the head of a governed request.
pub(super) fn check(dialect: &Dialect, route: &Route, head: &RequestHead) -> Result<CheckedHead, Rejection> {
    if let Some(name) = head.method_override() {
        return Err(Rejection::Header(name, "is not allowed"));
    }
    let shown = head.query.unwrap_or_default();
    let (query, token) = match route.query {
        Query::Parameters(known) => (parameters(known, shown)?, None),
        Query::SessionToken(names) => (None, session_token(names, shown)?),
    };
    if head.headers.contains_key(http::header::UPGRADE) {
        return Err(Rejection::Header("Upgrade", "is not allowed"));
    }
    dialect.check_credentials(head.headers)?;
    let size = body_size(head.headers)?;
    let carrier = match route.call {
        Some(_) => carrier(route, head, size)?,
        None => {
            check_document(route, head.headers, size)?;
            Carrier::Rest
        }
    };
    Ok(CheckedHead { carrier, size, query, token })
}

/// Checks the headers that describe the body, for operations without message schemas.
fn check_document(route: &Route, headers: &HeaderMap, size: BodySize) -> Result<(), Rejection> {
    let needed = match route.body {
        BodyKind::Nothing if matches!(size, BodySize::Declared(1..)) => return Err(Rejection::UnexpectedBody),
        BodyKind::Nothing => return Ok(()),
        BodyKind::Metadata(_) => true,
        // A revocation of everything may have no body, and then no content type.
        BodyKind::Revocation(terms) => {
            !terms.one_of.is_empty() || !matches!(size, BodySize::None | BodySize::Declared(0))
        }
    };
    check_coding(headers)?;
    check_json(headers, needed)
}

/// The encoding of a call. Rejects encodings that are not supported.
fn carrier(route: &Route, head: &RequestHead, size: BodySize) -> Result<Carrier, Rejection> {
    check_coding(head.headers)?;
    if !route.is_rpc() {
        if !route.takes_body() && matches!(size, BodySize::Declared(1..)) {
            return Err(Rejection::UnexpectedBody);
        }
        // A read or a deletion may have the content type of a body that it does not have.
        check_json(head.headers, route.needs_body())?;
        return Ok(Carrier::Rest);
    }
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    let one = types.next().and_then(|value| value.to_str().ok()).filter(|_| types.next().is_none());
    let carrier = one.and_then(Carrier::of_call).ok_or(Rejection::ContentType)?;
    // gRPC over HTTP/1 has no trailers, and no server accepts it.
    if carrier.is_grpc() && !head.http2 { Err(Rejection::ContentType) } else { Ok(carrier) }
}

/// The headers by which carriers name the encoding of a body.
const CODINGS: [HeaderName; 3] =
    [CONTENT_ENCODING, HeaderName::from_static("grpc-encoding"), HeaderName::from_static("connect-content-encoding")];

/// Rejects content encodings, in any of the headers that carriers use.
fn check_coding(headers: &HeaderMap) -> Result<(), Rejection> {
    let plain = |name| headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if CODINGS.iter().all(plain) { Ok(()) } else { Err(Rejection::ContentCoding) }
}

fn check_json(headers: &HeaderMap, needed: bool) -> Result<(), Rejection> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next().map(|value| value.to_str().ok()), types.next()) {
        (None, _) if !needed => Ok(()),
        (Some(Some(one)), None) if is_json(one) => Ok(()),
        _ => Err(Rejection::ContentType),
    }
}

/// Accepts known parameters, each at most once, with canonical values. One without `=` has an empty value, as some
/// SDKs send it.
fn parameters(known: &'static [&'static str], query: &str) -> Result<Option<String>, Rejection> {
    if query.is_empty() {
        return Ok(None);
    }
    let mut names = Vec::new();
    let mut all = String::with_capacity(query.len());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let expected = known.contains(&name) && !names.contains(&name);
        let value = canonical_value(value).filter(|_| expected).ok_or(Rejection::Query(known))?;
        let separator = if names.is_empty() { "" } else { "&" };
        all.extend([separator, name, "=", &value]);
        names.push(name);
    }
    Ok(Some(all))
}

/// Accepts only the session's token, in one of its spellings.
fn session_token(names: &'static [&'static str], query: &str) -> Result<Option<String>, Rejection> {
    if query.is_empty() {
        return Ok(None);
    }
    let (name, token) = query.split_once('=').ok_or(Rejection::Query(names))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=%:".contains(&b);
    let good = names.contains(&name) && token.bytes().all(plain);
    if good { Ok(Some(token.to_owned())) } else { Err(Rejection::Query(names)) }
}

/// What the provider's response depends on, if it depends on the caller: the credential, the organization, and the
/// headers that select the instance.
pub(super) fn caller(upstream: &Upstream, head: &RequestHead) -> Vec<u8> {
    let mut caller = Vec::new();
    let mut part = |value: &[u8]| {
        caller.extend_from_slice(&(value.len() as u64).to_be_bytes());
        caller.extend_from_slice(value);
    };
    part(if upstream.preserve_host { head.host.as_bytes() } else { b"" });
    // Each value follows its header name, so values of different headers cannot be confused.
    let dialect = upstream.dialect;
    let credentials = dialect.shown_credentials(head.headers);
    let keyed = forwarded(head, dialect.headers.cache_key.iter().copied());
    let others = trusted_peer_headers(upstream, head).filter(|(header, _)| header.value != TrustedValue::Address);
    for (name, value) in credentials.chain(keyed).chain(others.map(|(header, value)| (header.name, value))) {
        part(name.as_bytes());
        part(value);
    }
    caller
}

/// The names that identify a tenant among those behind one address of a provider, which may have sessions with the same
/// ID: the host that the provider receives, the hosts in the headers of trusted peers, and the name in the path. Empty
/// for the tenant of the provider's own name. Hosts are normalized and without a port.
pub(super) fn tenant(upstream: &Upstream, head: &RequestHead, in_path: Option<&str>) -> Vec<Vec<u8>> {
    // `server_name` has neither a port nor brackets.
    let own = upstream.target.server_name().trim_end_matches('.').to_ascii_lowercase().into_bytes();
    let forwarded_host = Some(head.host.as_bytes()).filter(|host| upstream.preserve_host && !host.is_empty());
    let host = forwarded_host.map_or_else(|| own.clone(), normalized_host);
    let mut names = Vec::new();
    for (header, value) in trusted_peer_headers(upstream, head) {
        // A header that repeats the host does not change the tenant.
        let others = hosts(header.value, value).into_iter().map(normalized_host).filter(|named| *named != host);
        names.extend(others.flat_map(|named| [header.name.as_bytes().to_vec(), named]));
    }
    names.extend(in_path.into_iter().flat_map(|named| [b"path".to_vec(), named.as_bytes().to_vec()]));
    if names.is_empty() && host == own { names } else { [vec![host], names].concat() }
}

/// The hosts in a trusted peer's header. Other parts, such as the client and the scheme, do not select the tenant.
fn hosts(kind: TrustedValue, value: &[u8]) -> Vec<&[u8]> {
    match kind {
        TrustedValue::Host => return vec![value.trim_ascii()],
        TrustedValue::Scheme | TrustedValue::Address => return Vec::new(),
        TrustedValue::Parameters => {}
    }
    let pairs = value.split(|byte| b",;".contains(byte)).map(<[u8]>::trim_ascii);
    let hosts = pairs.filter(|pair| pair.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"host=")));
    hosts.filter_map(|pair| pair.get(5..)).collect()
}

/// A host in lower case, without its port, brackets, quotes and trailing dot.
fn normalized_host(host: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(host) else {
        return host.to_vec();
    };
    let name = without_port(text.trim_matches('"')).trim_matches(['[', ']']).trim_end_matches('.');
    name.to_ascii_lowercase().into_bytes()
}

/// The headers of a trusted peer that are forwarded to the provider.
fn trusted_peer_headers<'a>(
    upstream: &Upstream,
    head: &RequestHead<'a>,
) -> impl Iterator<Item = (&'static TrustedHeader, &'a [u8])> {
    let trusted = if head.trusted { upstream.dialect.headers.trusted_peer } else { &[] };
    let values = forwarded(head, trusted.iter().map(|header| header.name));
    values.filter_map(|(name, value)| Some((trusted.iter().find(|header| header.name == name)?, value)))
}

/// These headers and their values, without those that `Connection` names.
fn forwarded<'a>(
    head: &RequestHead<'a>,
    names: impl ExactSizeIterator<Item = &'static str>,
) -> impl Iterator<Item = (&'static str, &'a [u8])> {
    let headers = head.headers;
    let dropped = if names.len() == 0 { Vec::new() } else { connection_options(headers) };
    let stay = names.filter(move |name| !dropped.iter().any(|own| own.eq_ignore_ascii_case(name)));
    stay.flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value.as_bytes())))
}

fn body_size(headers: &HeaderMap) -> Result<BodySize, Rejection> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    if first.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some() {
        return Err(Rejection::Header("Transfer-Encoding", "is not a single `chunked`"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Rejection::Header("Content-Length", "occurs more than once"));
    }
    if length.is_some() && headers.contains_key(TRANSFER_ENCODING) {
        return Err(Rejection::Header("Content-Length", "is combined with `Transfer-Encoding`"));
    }
    match length.map(|length| length.to_str().ok().and_then(|text| text.parse().ok())) {
        None if headers.contains_key(TRANSFER_ENCODING) => Ok(BodySize::Unknown),
        None => Ok(BodySize::None),
        Some(Some(size)) => Ok(BodySize::Declared(size)),
        Some(None) => Err(Rejection::Header("Content-Length", "is not a number")),
    }
}
