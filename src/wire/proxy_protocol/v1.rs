//! Version 1: a line of text.

use super::header::{ProxyHeader, ProxyHeaderError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What a line begins with.
pub(super) const START: &[u8] = b"PROXY ";
/// The length of the longest line with its end, in bytes.
pub(super) const MAX_LINE: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_LINE { Ok(None) } else { Err(ProxyHeaderError::TooLong(MAX_LINE)) };
    };
    let line = bytes.get(START.len()..end).and_then(|line| line.strip_suffix(b"\r"));
    let client = client(line.ok_or(ProxyHeaderError::Line)?)?;
    Ok(Some(ProxyHeader { length: end + 1, client, tls: false }))
}

/// The client in the rest of the line.
fn client(line: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    // What follows has to be ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Line)?;
    let fields: Vec<&str> = line.split(' ').collect();
    let [protocol, source, destination, source_port, destination_port] = *fields.as_slice() else {
        return Err(ProxyHeaderError::Line);
    };
    let address = match protocol {
        "TCP4" => address::<Ipv4Addr>,
        "TCP6" => address::<Ipv6Addr>,
        _ => return Err(ProxyHeaderError::Line),
    };
    let client = SocketAddr::new(address(source)?, port(source_port)?);
    // The destination is not used. If it is not valid, this is no header that a proxy sends.
    let _ = (address(destination)?, port(destination_port)?);
    Ok(Some(client))
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
