//! Slots of requests: which source they are counted for, and waiting that ends where the client leaves.

use super::context::{Context, KEPT_BODY};
use super::governed::Stop;
use super::pass_through::content_length;
use crate::edge::{self, StrictHttp1Stream};
use crate::gateway::Upstream;
use crate::provider::Slot;
use crate::runtime::Runtime;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use pingora::prelude::Session;
use pingora::{Error, ErrorType, Result};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How often it is looked whether a client is there whose body is not read.
const LOOK: Duration = Duration::from_millis(100);
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Takes a slot for a request whose body has been read, or has begun to come.
pub(super) async fn take(session: &mut Session, context: &Context, upstream: &Upstream) -> Result<Slot, Stop> {
    let source = source(context, session);
    Ok(attended(session, context, context.runtime.slot(upstream, source)).await??)
}

/// Where a request comes from that counts for its source: not where its caller is verified, nor where it has none.
/// Those of this machine and trusted peers that do not say for whom they speak have none.
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

/// The address that a trusted peer reports: the last one that is no trusted peer's. What stands before it, its client
/// may have written.
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

/// The `for` of one element of `Forwarded` (RFC 7239).
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

/// Goes on with something for as long as the client is there; nothing is begun for one that has left already.
pub(super) async fn attended<T>(session: &mut Session, context: &Context, work: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        biased;
        () = left(session, context) => Err(Error::explain(ErrorType::ConnectionClosed, "the client has left").into_down()),
        done = work => Ok(done),
    }
}

/// Ends when the client has left. Over HTTP/1.1 that is behind what it has sent: as much of its body is read meanwhile
/// as Pingora keeps for the provider. Behind a larger one the connection is looked at from time to time.
async fn left(session: &mut Session, context: &Context) {
    if session.is_http2() && !session.as_mut().is_body_done() {
        if let Some(reset) = session.downstream_session.watch_h2_stream_close() {
            let _ = reset.await;
        }
        return;
    }
    while !session.as_mut().is_body_done() {
        if !is_kept(session) {
            return hangs_up(session).await;
        }
        match session.read_request_body().await {
            Ok(Some(_)) => context.body_came(session, false),
            Ok(None) => break,
            Err(_) => return,
        }
    }
    // Nothing of it is waited for any more.
    context.body_came(session, true);
    let _ = session.downstream_session.read_body_or_idle(true).await;
}

/// Ends when a client of HTTP/1 has left, of whose body nothing may be read yet: what it has sent hides that from those
/// who read. Where more has been sent than the system holds, the end has not come yet: that is seen when the wait is
/// over.
async fn hangs_up(session: &mut Session) {
    while !StrictHttp1Stream::has_left(session) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether all of a body is kept that is read before it goes on to the provider.
fn is_kept(session: &mut Session) -> bool {
    let length = content_length(session.req_header());
    session.as_mut().get_retry_buffer().is_some() && length.is_some_and(|length| length <= KEPT_BODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_the_forms_of_many_proxies() {
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
