//! Version 1: a line of text.

use super::header::{ProxyHeader, ProxyHeaderError};
use std::iter::Peekable;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::{FromStr, Split};

/// What a line begins with.
pub(super) const START: &[u8] = b"PROXY ";
/// The length of the longest line with its end, in bytes.
pub(super) const MAX_LINE: usize = 107;
/// The words that may follow.
const PROTOCOLS: [&str; 3] = ["TCP4", "TCP6", UNKNOWN];
/// The word before an address that has to be ignored.
const UNKNOWN: &str = "UNKNOWN";

pub(super) fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
    let line = bytes.get(START.len()..end.unwrap_or(bytes.len().min(MAX_LINE))).unwrap_or_default();
    // Only LF may follow CR, except in what has to be ignored.
    let (line, is_whole) = match line.strip_suffix(b"\r") {
        Some(line) => (line, true),
        None if end.is_some() => return Err(ProxyHeaderError::Line),
        None => (line, false),
    };
    let client = client(line, is_whole)?;
    match end {
        Some(end) => Ok(Some(ProxyHeader { length: end + 1, client, tls: false })),
        None if bytes.len() < MAX_LINE => Ok(None),
        None => Err(ProxyHeaderError::TooLong(MAX_LINE)),
    }
}

/// The client in the rest of the line. Also `None` for a line that is not whole, as long as it can become valid.
fn client(line: &[u8], is_whole: bool) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    if line.strip_prefix(UNKNOWN.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b' ', ..])) {
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Line)?;
    let mut fields = Fields { rest: line.split(' ').peekable(), is_whole };
    let address = match fields.rest.next() {
        Some("TCP4") => address::<Ipv4Addr>,
        Some("TCP6") => address::<Ipv6Addr>,
        _ if !is_whole && PROTOCOLS.iter().any(|protocol| protocol.starts_with(line)) => return Ok(None),
        _ => return Err(ProxyHeaderError::Line),
    };
    let is_in_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let ip = fields.next(address, is_in_address)?;
    // The destination is not used. If it is not valid, this is no header that a proxy sends.
    fields.next(address, is_in_address)?;
    let source_port = fields.next(port, u8::is_ascii_digit)?;
    fields.next(port, u8::is_ascii_digit)?;
    match fields.rest.next() {
        Some(_) => Err(ProxyHeaderError::Line),
        None => Ok(ip.zip(source_port).map(SocketAddr::from)),
    }
}

/// The fields of a line, of which the last may have more bytes if the line is not whole.
struct Fields<'a> {
    rest: Peekable<Split<'a, char>>,
    is_whole: bool,
}

impl Fields<'_> {
    /// The next field; `None` if it has not arrived. `may_have` are the bytes that it may consist of.
    fn next<T>(
        &mut self,
        parse: fn(&str) -> Result<T, ProxyHeaderError>,
        may_have: impl Fn(&u8) -> bool,
    ) -> Result<Option<T>, ProxyHeaderError> {
        match self.rest.next() {
            Some(field) if !self.is_whole && self.rest.peek().is_none() && field.as_bytes().iter().all(&may_have) => {
                Ok(None)
            }
            Some(field) => parse(field).map(Some),
            None if self.is_whole => Err(ProxyHeaderError::Line),
            None => Ok(None),
        }
    }
}

fn address<A: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, ProxyHeaderError> {
    let address: IpAddr = text.parse::<A>().map_err(|_| ProxyHeaderError::Address)?.into();
    Ok(address.to_canonical())
}

/// A port in decimal digits, without leading zeros.
fn port(text: &str) -> Result<u16, ProxyHeaderError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(ProxyHeaderError::Port)
}
