//! Passed requests: where they go and what the provider sees of them.

use super::context::Context;
use crate::model::Refusal;
use crate::upstream::{Provider, has_plain_coding, joined_cookies};
use crate::wire::carrier::Carrier;
use http::{HeaderMap, HeaderName, Uri};
use parking_lot::RwLock;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{HttpPeer, Session};
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::{WrappedX509, parse_x509};
use pingora::{Error, ErrorSource, ErrorType, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Calls that share one connection of HTTP/2.
const MAX_STREAMS: usize = 100;

/// The authorities to trust instead of the system's, in the form that Pingora takes them, by what stands for them: few, and seldom
/// others.
#[derive(Default)]
pub(super) struct Authorities {
    known: RwLock<HashMap<u64, Arc<CaType>>>,
}

impl Authorities {
    /// Those of a provider, where it has any.
    pub fn of(&self, provider: &Provider) -> Option<Arc<CaType>> {
        let certificates = provider.authorities()?;
        if let Some(known) = self.known.read().get(&provider.trust()) {
            return Some(known.clone());
        }
        let parsed = certificates.iter().map(|one| WrappedX509::new(one.to_vec(), parse_x509));
        let parsed: Arc<CaType> = parsed.collect::<Vec<_>>().into();
        self.known.write().insert(provider.trust(), parsed.clone());
        Some(parsed)
    }
}

/// The provider as a peer of Pingora's.
/// gRPC needs HTTP/2 all the way, which is one more kind of connection.
pub(super) fn peer(context: &Context, authorities: Option<Arc<CaType>>, grpc: bool) -> Result<Box<HttpPeer>> {
    let unknown = || Error::explain(ErrorType::ConnectNoRoute, "the provider's address is not known");
    let upstream = context.upstream.as_ref().ok_or_else(unknown)?;
    let provider = context.runtime.provider(upstream).ok_or_else(unknown)?;
    let address = provider.addresses().pick().ok_or_else(unknown)?;
    let target = &upstream.target;
    let timeouts = target.timeouts;
    // Without a name the certificate would not be verified.
    let mut peer = HttpPeer::new(address, target.tls, if target.tls { target.host.clone() } else { String::new() });
    // Pingora pools connections without a look at authorities or versions.
    peer.group_key = provider.trust() << 1 | u64::from(grpc);
    let options = &mut peer.options;
    if grpc {
        options.alpn = ALPN::H2;
        options.max_h2_streams = MAX_STREAMS;
    }
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    // Pingora has one deadline for every read, the first included.
    options.read_timeout = Some(timeouts.first_byte.min(timeouts.idle));
    options.write_timeout = Some(timeouts.idle);
    options.idle_timeout = Some(timeouts.keepalive);
    options.ca = authorities;
    Ok(Box::new(peer))
}

/// Whether a request is a call of gRPC, to a provider that takes them.
pub(super) fn is_grpc(context: &Context, headers: &HeaderMap) -> bool {
    let takes = context.upstream.as_ref().is_some_and(|upstream| upstream.dialect.has_calls);
    takes && is_call(headers)
}

/// Whether a request says that it is a call of gRPC.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| Carrier::of_caller(text).is_grpc())
}

/// What the provider sees: the caller's request with the provider's own host, and without a client's word on what only proxies
/// may say.
pub(super) fn request(context: &Context, session: &Session, request: &mut RequestHeader) -> Result<()> {
    let Some(upstream) = &context.upstream else {
        return Ok(());
    };
    let Some(provider) = context.runtime.provider(upstream) else {
        return Ok(());
    };
    let origin = context.origin(session);
    let forwarded = provider.forwarded(&request.headers, &origin);
    let kept_out = |name: &&HeaderName| provider.keeps_out(name, &origin);
    let spoofed: Vec<HeaderName> = request.headers.keys().filter(kept_out).cloned().collect();
    for name in spoofed {
        request.remove_header(&name);
    }
    let host = if upstream.dialect.forwarded || upstream.preserve_host {
        for (name, value) in forwarded {
            request.insert_header(name, value)?;
        }
        provider.host(&origin)
    } else {
        provider.authority().clone()
    };
    request.insert_header(http::header::HOST, host)?;
    if let Some(cookie) = joined_cookies(&request.headers) {
        request.insert_header(http::header::COOKIE, cookie)?;
    }
    for (name, value) in origin.trace.changes() {
        match value {
            Some(value) => request.insert_header(name, value.clone())?,
            None => drop(request.remove_header(&name)),
        }
    }
    let path = upstream.matcher.inner(request.uri.path());
    let moved = path.len() != request.uri.path().len() || !upstream.target.base_path.is_empty();
    // An absolute target names the gateway's host, not the provider's.
    if moved || !request.raw_path().starts_with(b"/") && request.uri.path() != "*" {
        let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let uri = format!("{}{path}{query}", upstream.target.base_path);
        let uri: Uri = uri.parse().map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "the path"))?;
        request.set_uri(uri);
    }
    Ok(())
}

/// Whether the client of an answer will see it end where the gateway does: Pingora passes codings on that it does not know.
pub(super) fn judge(response: &ResponseHeader) -> Result<()> {
    if has_plain_coding(&response.headers) {
        return Ok(());
    }
    Err(Error::explain(ErrorType::InvalidHTTPHeader, "a transfer coding other than chunked").into_up())
}

/// Whether an error shows that nothing reached the provider.
pub(super) fn was_not_sent(error: &Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
    )
}

/// What an error of Pingora's means to the client.
pub(super) fn failure(error: &Error, context: &Context) -> Refusal {
    let timeouts = context.upstream.as_ref().map(|upstream| upstream.target.timeouts);
    let limit = |of: fn(&crate::gateway::Timeouts) -> Duration| timeouts.as_ref().map_or(Duration::ZERO, of);
    match (error.etype(), error.esource()) {
        (ErrorType::ConnectNoRoute, _) => Refusal::Unavailable,
        (ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout, _) => {
            Refusal::UpstreamTimeout(limit(|t| t.connect))
        }
        (ErrorType::ReadTimedout, ErrorSource::Upstream) => {
            Refusal::UpstreamTimeout(limit(|t| t.first_byte.min(t.idle)))
        }
        (ErrorType::WriteTimedout, ErrorSource::Upstream) => Refusal::UpstreamTimeout(limit(|t| t.idle)),
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => Refusal::BodyTimeout(limit(|t| t.idle)),
        (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => Refusal::Header("Connection"),
        (_, ErrorSource::Downstream) => Refusal::Malformed("the request broke off or its framing is wrong".into()),
        (_, ErrorSource::Upstream | ErrorSource::Internal | ErrorSource::Unset) => Refusal::UpstreamFailed,
    }
}
