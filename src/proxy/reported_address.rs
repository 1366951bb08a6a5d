//! The address of a client as a trusted peer reports it.

use crate::config::ForwardingHeaders;
use crate::runtime::Runtime;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use pingora::http::RequestHeader;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Drops the forwarding headers that trusted peers do not write. What such a peer forwards of them is the client's own.
pub(super) fn drop_unwritten(head: &mut RequestHeader, written: ForwardingHeaders) {
    let is_unwritten = |name: &str| match written {
        ForwardingHeaders::XForwarded => name == "forwarded",
        ForwardingHeaders::Forwarded => name.starts_with("x-forwarded-"),
        ForwardingHeaders::Both => false,
    };
    let names: Vec<HeaderName> = head.headers.keys().filter(|name| is_unwritten(name.as_str())).cloned().collect();
    names.iter().for_each(|name| drop(head.remove_header(name)));
}

/// The client's address as a trusted peer reports it: the last one that is not a trusted peer's. The client may have
/// written those before it, so what is no address ends the search, and is never skipped.
pub(super) fn reported(runtime: &Runtime, headers: &HeaderMap) -> Option<IpAddr> {
    let last_untrusted = |mut addresses: Vec<Option<IpAddr>>| {
        while let Some(address) = addresses.pop() {
            match address {
                Some(address) if runtime.trusts(address) => {}
                address => return address,
            }
        }
        None
    };
    let lines = |name| headers.get_all(name).iter().map(|line| line.as_bytes());
    if headers.contains_key(&FORWARDED_FOR) {
        return last_untrusted(
            lines(&FORWARDED_FOR).flat_map(|line| line.split(|byte| *byte == b',')).map(address).collect(),
        );
    }
    last_untrusted(lines(&FORWARDED).flat_map(forwarded).collect())
}

/// The addresses in a `Forwarded` header (RFC 7239), one for each element. A header whose quotation marks do not match
/// counts as one element without an address.
fn forwarded(line: &[u8]) -> Vec<Option<IpAddr>> {
    match unquoted_parts(line, b',') {
        Some(elements) => elements.into_iter().map(|element| address(forwarded_for(element)?)).collect(),
        None => vec![None],
    }
}

/// The `for` parameter of one element of `Forwarded`.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut pairs = unquoted_parts(element, b';')?.into_iter().filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(equals);
        Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
    });
    let (_, node) = pairs.find(|(name, _)| name.eq_ignore_ascii_case(b"for"))?;
    Some(node.strip_prefix(b"\"").and_then(|node| node.strip_suffix(b"\"")).unwrap_or(node))
}

/// The parts between separators that are outside of quotation marks. `None` if the marks do not match.
fn unquoted_parts(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|byte| {
        match *byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            byte => return byte == separator && !is_quoted,
        }
        false
    });
    let parts = parts.collect();
    (!is_quoted).then_some(parts)
}

/// An address, with or without a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_forms_of_common_proxies_are_parsed() {
        let one: IpAddr = "1.2.3.4".parse().unwrap();
        for text in ["1.2.3.4", " 1.2.3.4 ", "1.2.3.4:5678", "::ffff:1.2.3.4", "[::ffff:1.2.3.4]:80"] {
            assert_eq!(address(text.as_bytes()), Some(one), "{text}");
        }
        assert_eq!(address(b"[2001:db8::1]"), address(b"2001:db8::1"));
        for text in ["", "unknown", "_hidden", "1.2.3.4, 5.6.7.8"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
        assert_eq!(forwarded_for(b" For=\"[2001:db8::1]:80\" ; proto=https"), Some(&b"[2001:db8::1]:80"[..]));
        assert_eq!(forwarded_for(b"proto=https"), None);
    }

    #[test]
    fn quoted_separators_do_not_begin_an_element() {
        let own: Option<IpAddr> = "9.9.9.9".parse().ok();
        assert_eq!(forwarded(b"for=9.9.9.9;host=\"x,for=6.6.6.6\";proto=https"), [own]);
        assert_eq!(forwarded(b"host=\"a\\\";for=6.6.6.6\" ; FOR=\"9.9.9.9:1\", for=_hidden"), [own, None]);
        for line in [&b"for=6.6.6.6;host=\"x"[..], b"for=6.6.6.6, for=\"9.9.9.9"] {
            assert_eq!(forwarded(line), [None]);
        }
    }
}
