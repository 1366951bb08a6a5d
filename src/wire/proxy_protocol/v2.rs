//! Version 2: binary, with a declared length, addresses, and extensions (TLVs).

use super::header::{MAX_LENGTH, ProxyHeader, ProxyHeaderError};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the signature, the version and command, the family and transport, and the length field.
const FIXED: usize = 16;
/// The lengths of the addresses and ports of each family, in bytes.
const INET: usize = 12;
const INET6: usize = 36;
const UNIX: usize = 216;

/// The type of the extension with the checksum.
const CRC32C: u8 = 0x03;
/// The type of the extension on the client's TLS.
const SSL: u8 = 0x20;
/// Its first fields: a byte of flags, and the result of verifying a client certificate.
const SSL_FIXED: usize = 5;
/// The flag for a client that uses TLS.
const CLIENT_SSL: u8 = 0x01;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let is_local = match bytes.get(SIGNATURE.len()) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(0x22..=0x2f) => return Err(ProxyHeaderError::Command),
        Some(_) => return Err(ProxyHeaderError::Version),
    };
    // All that follows a LOCAL command has to be ignored.
    let addresses = match bytes.get(SIGNATURE.len() + 1) {
        None => return Ok(None),
        Some(_) if is_local => 0,
        Some(family) => length_of_addresses(*family)?,
    };
    let Some(([.., family, high, low], rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let declared = usize::from(u16::from_be_bytes([*high, *low]));
    let length = FIXED + declared;
    if length > MAX_LENGTH {
        return Err(ProxyHeaderError::TooLong(MAX_LENGTH));
    }
    if declared < addresses {
        return Err(ProxyHeaderError::Length);
    }
    let (Some(whole), Some(block)) = (bytes.get(..length), rest.get(..declared)) else {
        return Ok(None);
    };
    if is_local {
        return Ok(Some(ProxyHeader { length, client: None, tls: false }));
    }
    let (client, extensions) = client(*family, block)?;
    Ok(Some(ProxyHeader { length, client, tls: uses_tls(whole, extensions)? }))
}

/// The length of the addresses and ports of a family, in bytes.
fn length_of_addresses(family: u8) -> Result<usize, ProxyHeaderError> {
    match family {
        0x00 => Ok(0),
        0x11 | 0x12 => Ok(INET),
        0x21 | 0x22 => Ok(INET6),
        0x31 | 0x32 => Ok(UNIX),
        _ => Err(ProxyHeaderError::Family),
    }
}

/// The client, and the extensions after the addresses. A front of HTTP/3 declares datagrams; its client has an address
/// like any other.
fn client(family: u8, block: &[u8]) -> Result<(Option<SocketAddr>, &[u8]), ProxyHeaderError> {
    let short = || ProxyHeaderError::Length;
    match family {
        0x00 => Ok((None, block)),
        0x11 | 0x12 => {
            let (addresses, rest) = block.split_first_chunk::<INET>().ok_or_else(short)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            Ok((Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)), rest))
        }
        0x21 | 0x22 => {
            let (addresses, rest) = block.split_first_chunk::<INET6>().ok_or_else(short)?;
            let (source, _) = addresses.split_first_chunk::<16>().ok_or_else(short)?;
            let [.., high, low, _, _] = *addresses;
            let address = Ipv6Addr::from(*source).to_canonical();
            Ok((Some(SocketAddr::new(address, u16::from_be_bytes([high, low]))), rest))
        }
        0x31 | 0x32 => Ok((None, block.split_first_chunk::<UNIX>().ok_or_else(short)?.1)),
        _ => Err(ProxyHeaderError::Family),
    }
}

/// Whether the client uses TLS. Checks the extensions: they fill the header, and the checksum is right, if there is one.
fn uses_tls(whole: &[u8], mut extensions: &[u8]) -> Result<bool, ProxyHeaderError> {
    let (mut tls, mut has_checksum) = (None, false);
    while !extensions.is_empty() {
        let split = extensions.split_first_chunk::<3>().and_then(|([kind, high, low], after)| {
            let (value, next) = after.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
            Some((*kind, whole.len() - after.len(), value, next))
        });
        let (kind, position, value, next) = split.ok_or(ProxyHeaderError::Tlv)?;
        match (kind, value) {
            (CRC32C, [a, b, c, d]) if !has_checksum => {
                if checksum(whole, position) != u32::from_be_bytes([*a, *b, *c, *d]) {
                    return Err(ProxyHeaderError::Checksum);
                }
                has_checksum = true;
            }
            (SSL, [flags, ..]) if tls.is_none() && value.len() >= SSL_FIXED => tls = Some(flags & CLIENT_SSL != 0),
            (CRC32C | SSL, _) => return Err(ProxyHeaderError::Tlv),
            _ => {}
        }
        extensions = next;
    }
    Ok(tls.unwrap_or(false))
}

/// The CRC-32C (RFC 3720, appendix B.4) of the header, as if the four bytes of the checksum at `position` were zero. Bit
/// by bit: headers are short.
pub(super) fn checksum(whole: &[u8], position: usize) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let own = position..position + 4;
    let bytes = whole.iter().enumerate().map(|(at, byte)| if own.contains(&at) { 0 } else { *byte });
    !bytes.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 })
    })
}
