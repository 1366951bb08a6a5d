//! Who sends a request, and from where.

use super::context::Context;
use crate::edge;
use crate::gateway::{CallerCheck, Credential, Upstream};
use crate::model::Rejection;
use crate::runtime::Runtime;
use crate::serve::clock;
use crate::token::is_jwt;
use bytes::Bytes;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use pingora::prelude::Session;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether a request has a token that the gateway knows to be valid, or can verify without a fetch.
pub(super) fn is_recognized(runtime: &Runtime, upstream: &Upstream, headers: &HeaderMap) -> bool {
    let shown = runtime.issuer(upstream).zip(upstream.dialect.token(headers).ok().filter(|token| is_jwt(token)));
    shown.is_some_and(|(issuer, token)| issuer.recognizes(token, clock::seconds()))
}

/// The credential of a request, verified as its upstream requires.
pub(super) async fn credential(
    context: &Context,
    upstream: &Upstream,
    session: &Session,
) -> Result<Credential, Rejection> {
    let (runtime, headers) = (&context.runtime, &session.req_header().headers);
    let opaque = matches!(upstream.check, CallerCheck::Token { opaque: true, .. });
    match runtime.issuer(upstream) {
        Some(issuer) => match upstream.dialect.token(headers)? {
            token if opaque && !is_jwt(token) => Ok(Credential::Forwarded(Bytes::copy_from_slice(token.as_bytes()))),
            token => {
                let source = || source(context, session);
                issuer.verify(token, clock::seconds(), source).await.map(Credential::Verified)
            }
        },
        None => Ok(match upstream.dialect.shown_credentials(headers).next() {
            Some((_, value)) => Credential::Forwarded(Bytes::copy_from_slice(value)),
            None => Credential::Anonymous,
        }),
    }
}

/// The address whose share of slots a request uses. `None` for verified callers, for clients without an IP address, and
/// for trusted peers that report no client.
pub(super) fn source(context: &Context, session: &Session) -> Option<IpAddr> {
    if context.verified {
        return None;
    }
    let peer = session.client_addr().and_then(|address| address.as_inet())?.ip();
    let from = if context.runtime.trusts(peer) {
        reported(&context.runtime, &session.req_header().headers)?
    } else {
        peer.to_canonical()
    };
    Some(edge::source(from))
}

/// The client's address as a trusted peer reports it: the last one that is not a trusted peer's. The client may have
/// written those before it.
fn reported(runtime: &Runtime, headers: &HeaderMap) -> Option<IpAddr> {
    let lines = |name: &HeaderName| headers.get_all(name).iter().rev().filter_map(|value| value.to_str().ok());
    let parts = |line: &'_ str| line.rsplit(',').map(str::to_owned).collect::<Vec<_>>();
    let named = headers.contains_key(&FORWARDED_FOR);
    let mut through: Box<dyn Iterator<Item = Option<IpAddr>>> = if named {
        Box::new(lines(&FORWARDED_FOR).flat_map(parts).map(|part| address(&part)))
    } else {
        Box::new(lines(&FORWARDED).flat_map(parts).map(|part| address(forwarded_for(&part)?)))
    };
    through.find(|address| address.is_none_or(|address| !runtime.trusts(address))).flatten()
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
