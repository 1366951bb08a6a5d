//! The address of a client as a trusted peer reports it.

use crate::runtime::Runtime;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address as a trusted peer reports it: the last one that is not a trusted peer's. The client may have
/// written those before it.
pub(super) fn reported(runtime: &Runtime, headers: &HeaderMap) -> Option<IpAddr> {
    if headers.contains_key(&FORWARDED_FOR) {
        return last_untrusted(runtime, elements(headers, &FORWARDED_FOR).map(address));
    }
    last_untrusted(runtime, elements(headers, &FORWARDED).map(|element| address(forwarded_for(element)?)))
}

/// The elements of a list in headers of this name, from the last to the first.
fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().rev().filter_map(|value| value.to_str().ok()).flat_map(|line| line.rsplit(','))
}

/// The first of these that is not a trusted peer's address. `None` also if it is no address.
fn last_untrusted(runtime: &Runtime, mut addresses: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
    addresses.find(|address| address.is_none_or(|address| !runtime.trusts(address))).flatten()
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = { pairs }.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    Some(node.trim_matches('"'))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
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
            assert_eq!(address(text), Some(one), "{text}");
        }
        assert_eq!(address("[2001:db8::1]"), address("2001:db8::1"));
        for text in ["", "unknown", "_hidden", "1.2.3.4, 5.6.7.8"] {
            assert_eq!(address(text), None, "{text}");
        }
        assert_eq!(forwarded_for(" For=\"[2001:db8::1]:80\" ; proto=https"), Some("[2001:db8::1]:80"));
        assert_eq!(forwarded_for("proto=https"), None);
    }
}
