//! The head of a request: what must hold of it before anything else is looked at.

use super::Upstream;
use super::upstream::without_port;
use crate::dialect::path::canonical_value;
use crate::dialect::{BodyKind, Route};
use crate::model::{Operation, Rejection};
use crate::wire::carrier::{Carrier, is_json};
use crate::wire::http1::connection_options;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Method};

/// Headers by which some servers let a request stand for another method.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The name of the listener that it came in at.
    pub listener: &'a str,
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
    /// Whether it came over HTTP/2.
    pub http2: bool,
    /// Whether it came from a peer that may speak for others.
    pub trusted: bool,
}

/// What a head says of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySize {
    /// There is none, or there may be one that has to be empty.
    None,
    /// It has this many bytes.
    Declared(usize),
    /// It ends when it ends.
    Unknown,
}

impl RequestHead<'_> {
    /// The header that asks for another method than the request's own, also where it is spelled with underscores.
    pub(super) fn method_override(&self) -> Option<&'static str> {
        let is = |own: &str, name: &str| own.len() == name.len() && own == name.replace('_', "-");
        METHOD_OVERRIDES.into_iter().find(|own| self.headers.keys().any(|name| is(own, name.as_str())))
    }
}

/// What a governed request's head says.
pub(super) struct CheckedHead {
    /// How the call stands on the wire.
    pub carrier: Carrier,
    /// What it says of the body.
    pub size: BodySize,
    /// The query, where it is one of parameters.
    pub query: Option<String>,
    /// The session's token, where the query shows it.
    pub token: Option<String>,
}

/// What must hold of a governed request's head.
pub(super) fn check(route: &Route, head: &RequestHead) -> Result<CheckedHead, Rejection> {
    if let Some(name) = head.method_override() {
        return Err(Rejection::Header(name));
    }
    let shown = head.query.unwrap_or_default();
    let (query, token) = match route.call {
        None => (parameters(route.query, shown)?, None),
        Some(_) => (None, query(route, shown)?),
    };
    if head.headers.contains_key(http::header::UPGRADE) {
        return Err(Rejection::Header("Upgrade"));
    }
    if head.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Rejection::Header("Authorization"));
    }
    let size = body_size(head.headers)?;
    let carrier = match route.call {
        Some(call) => carrier(route, call.is_rpc, head, size)?,
        None => {
            check_document(route, head.headers, size)?;
            Carrier::Rest
        }
    };
    Ok(CheckedHead { carrier, size, query, token })
}

/// What must hold of the body of an operation without messages, as far as the head speaks of it.
fn check_document(route: &Route, headers: &HeaderMap, size: BodySize) -> Result<(), Rejection> {
    let needed = match route.body {
        BodyKind::Nothing if matches!(size, BodySize::Declared(1..)) => return Err(Rejection::UnexpectedBody),
        BodyKind::Nothing => return Ok(()),
        BodyKind::Metadata(_) => true,
        // Whoever revokes all that there is may come without a body, and then without its type.
        BodyKind::Revocation(terms) => {
            !terms.one_of.is_empty() || !matches!(size, BodySize::None | BodySize::Declared(0))
        }
    };
    check_coding(headers)?;
    check_json(headers, needed)
}

/// The carrier of a call, which may have any that is read here, and no other.
fn carrier(route: &Route, is_rpc: bool, head: &RequestHead, size: BodySize) -> Result<Carrier, Rejection> {
    check_coding(head.headers)?;
    if !is_rpc {
        let reads = route.operation == Operation::ReadSession;
        if reads && matches!(size, BodySize::Declared(1..)) {
            return Err(Rejection::UnexpectedBody);
        }
        let needed = !reads && route.operation != Operation::DeleteSession;
        // A read or a removal may come with the type of a body that it has not.
        check_json(head.headers, needed)?;
        return Ok(Carrier::Rest);
    }
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    let one = types.next().and_then(|value| value.to_str().ok()).filter(|_| types.next().is_none());
    let carrier = one.and_then(Carrier::of_call).ok_or(Rejection::ContentType)?;
    // Without HTTP/2 it has no trailers, and no server of it reads it.
    if carrier.is_grpc() && !head.http2 { Err(Rejection::ContentType) } else { Ok(carrier) }
}

/// No coding of the body, in any of the headers that carriers have for it.
fn check_coding(headers: &HeaderMap) -> Result<(), Rejection> {
    let plain =
        |name: &str| headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    let all = [CONTENT_ENCODING.as_str(), "grpc-encoding", "connect-content-encoding"];
    if all.into_iter().all(plain) { Ok(()) } else { Err(Rejection::ContentCoding) }
}

fn check_json(headers: &HeaderMap, needed: bool) -> Result<(), Rejection> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next().map(|value| value.to_str().ok()), types.next()) {
        (None, _) if !needed => Ok(()),
        (Some(Some(one)), None) if is_json(one) => Ok(()),
        _ => Err(Rejection::ContentType),
    }
}

/// Known parameters, each once, with values in their canonical form. One without `=` has an empty value, as Auth0's
/// Ruby SDK sends it.
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

/// The session's token is all that the query of a call may show, in one of its two spellings, and only where a session
/// is read.
fn query(route: &Route, query: &str) -> Result<Option<String>, Rejection> {
    if query.is_empty() {
        return Ok(None);
    }
    let reads = route.operation == Operation::ReadSession && route.call.is_some_and(|call| !call.is_rpc);
    let (name, token) = query.split_once('=').filter(|_| reads).ok_or(Rejection::Query(&[]))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=%:".contains(&b);
    let good = matches!(name, "sessionToken" | "session_token") && token.bytes().all(plain);
    if good { Ok(Some(token.to_owned())) } else { Err(Rejection::Query(&[])) }
}

/// What decides a provider's response where it depends on who asks: the credential, the organization that it is used
/// in, and what names the instance.
pub(super) fn caller(upstream: &Upstream, head: &RequestHead) -> Vec<u8> {
    let mut caller = Vec::new();
    let mut part = |value: &[u8]| {
        caller.extend_from_slice(&(value.len() as u64).to_be_bytes());
        caller.extend_from_slice(value);
    };
    part(if upstream.preserve_host { head.host.as_bytes() } else { b"" });
    // Each with its name: no value can be taken for one of another's.
    let credential = head.headers.get_all(AUTHORIZATION).iter().map(|value| (AUTHORIZATION.as_str(), value.as_bytes()));
    let others = entrusted(upstream, head).filter(|(name, _)| *name != CLIENT);
    for (name, value) in credential.chain(forwarded(head, upstream.dialect.cache_key_headers)).chain(others) {
        part(name.as_bytes());
        part(value);
    }
    caller
}

/// What tells the tenants behind one address of a provider apart, which may have sessions of the same id: the host that
/// the provider is told, and the hosts by which those that may speak for others name the instance. Nothing for the
/// tenant that the provider's own name is for. A name has one spelling here, and no port.
pub(super) fn tenant(upstream: &Upstream, head: &RequestHead) -> Vec<Vec<u8>> {
    // It has neither a port nor brackets.
    let own = upstream.target.server_name().trim_end_matches('.').to_ascii_lowercase().into_bytes();
    let told = Some(head.host.as_bytes()).filter(|host| upstream.preserve_host && !host.is_empty());
    let host = told.map_or_else(|| own.clone(), plain);
    let mut names = Vec::new();
    for (name, value) in entrusted(upstream, head) {
        // Who repeats the host says nothing new.
        let others = hosts(name, value).into_iter().map(plain).filter(|named| *named != host);
        names.extend(others.flat_map(|named| [name.as_bytes().to_vec(), named]));
    }
    if names.is_empty() && host == own { names } else { [vec![host], names].concat() }
}

/// The hosts in a header that says for whom a request is. What stands beside them (the client, the scheme) tells no
/// tenants apart.
fn hosts<'a>(name: &str, value: &'a [u8]) -> Vec<&'a [u8]> {
    if name.ends_with("host") {
        return vec![value.trim_ascii()];
    }
    let pairs = value.split(|byte| b",;".contains(byte)).map(<[u8]>::trim_ascii);
    let hosts = pairs.filter(|pair| pair.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"host=")));
    hosts.filter_map(|pair| pair.get(5..)).collect()
}

/// A host without its port, its brackets or quotes, and its last dot, in lower case.
fn plain(host: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(host) else {
        return host.to_vec();
    };
    let name = without_port(text.trim_matches('"')).trim_matches(['[', ']']).trim_end_matches('.');
    name.to_ascii_lowercase().into_bytes()
}

/// What peers say for others, as far as the provider is told.
fn entrusted<'a>(upstream: &Upstream, head: &RequestHead<'a>) -> impl Iterator<Item = (&'static str, &'a [u8])> {
    forwarded(head, if head.trusted { upstream.dialect.trusted_peer_headers } else { &[] })
}

/// These headers with their values, as far as they are forwarded.
fn forwarded<'a>(
    head: &RequestHead<'a>,
    names: &'static [&'static str],
) -> impl Iterator<Item = (&'static str, &'a [u8])> {
    let headers = head.headers;
    let dropped = if names.is_empty() { Vec::new() } else { connection_options(headers) };
    let stay = names.iter().copied().filter(move |name| !dropped.iter().any(|own| own.eq_ignore_ascii_case(name)));
    stay.flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value.as_bytes())))
}

/// Says where a request comes from, not whom it is for.
const CLIENT: &str = "x-forwarded-for";

fn body_size(headers: &HeaderMap) -> Result<BodySize, Rejection> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    if first.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some() {
        return Err(Rejection::Header("Transfer-Encoding"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() || (length.is_some() && headers.contains_key(TRANSFER_ENCODING)) {
        return Err(Rejection::Header("Content-Length"));
    }
    match length.map(|length| length.to_str().ok().and_then(|text| text.parse().ok())) {
        None if headers.contains_key(TRANSFER_ENCODING) => Ok(BodySize::Unknown),
        None => Ok(BodySize::None),
        Some(Some(size)) => Ok(BodySize::Declared(size)),
        Some(None) => Err(Rejection::Header("Content-Length")),
    }
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Rejection> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Rejection::CredentialMissing)?;
    if values.next().is_some() {
        return Err(Rejection::Header("Authorization"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Rejection::CredentialMalformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Rejection::CredentialMalformed)?;
    // Without a branch for each byte: tokens are long, and this is on the way of every request.
    let plain = token.bytes().fold(true, |plain, b| plain & (b > b' ') & (b < 0x7f) & (b != b','));
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !plain {
        return Err(Rejection::CredentialMalformed);
    }
    Ok(token)
}
