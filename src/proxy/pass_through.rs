//! Passed requests: where they go and what the provider sees of them.

use super::context::Context;
use super::head::is_http2;
use super::switch;
use crate::client;
use crate::gateway::{Identity, Protocol, Target};
use crate::model::Rejection;
use crate::provider::{Provider, heads, joined_cookies};
use crate::wire::carrier::Carrier;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, StatusCode, Uri, Version};
use parking_lot::RwLock;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{HttpPeer, Session};
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::Peer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use pingora::{Error, ErrorSource, ErrorType, Result};
use rustls_pki_types::CertificateDer;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Calls that share one connection of HTTP/2.
const MAX_STREAMS: usize = 100;

/// What TLS with a provider needs, in the form that Pingora takes it.
pub(super) struct Credentials {
    authorities: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
}

impl Credentials {
    /// Those of a target, whose certificates have been parsed before.
    fn of(target: &Target) -> Credentials {
        let parsed = |all: &[CertificateDer<'_>]| -> Arc<CaType> {
            all.iter().map(|one| WrappedX509::new(one.to_vec(), parse_x509)).collect::<Vec<_>>().into()
        };
        let identity = target.identity.as_ref().map(|Identity { chain, key }| {
            let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
            Arc::new(CertKey::new(chain, key.secret_der().to_vec()))
        });
        Credentials { authorities: target.authorities.as_deref().map(parsed), identity }
    }
}

/// Credentials by what stands for them: few, and seldom others.
#[derive(Default)]
pub(super) struct KnownCredentials {
    known: RwLock<HashMap<u64, Arc<Credentials>>>,
}

impl KnownCredentials {
    /// Those towards a provider, where it needs any.
    fn towards(&self, provider: &Provider, target: &Target) -> Option<Arc<Credentials>> {
        if target.authorities.is_none() && target.identity.is_none() {
            return None;
        }
        if let Some(known) = self.known.read().get(&provider.trust()) {
            return Some(known.clone());
        }
        let credentials = Arc::new(Credentials::of(target));
        self.known.write().insert(provider.trust(), credentials.clone());
        Some(credentials)
    }
}

/// How long a body is, where the head says so.
pub(super) fn content_length(header: &RequestHeader) -> Option<usize> {
    header.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Waits until the body of a request begins to come, where it is declared: a client that sends none of it costs no
/// connection to the provider. Whoever waits to be told to send it is told here.
pub(super) async fn await_body(session: &mut Session, context: &Context) -> Result<()> {
    if session.is_body_empty() || !session.req_header().headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    if session.req_header_mut().remove_header(&EXPECT).is_some() && session.req_header().version > Version::HTTP_10 {
        session.write_continue_response().await.map_err(|error| error.into_down())?;
    }
    // Pingora sends what it has kept for another try before what it reads.
    session.as_mut().enable_retry_buffering();
    session.read_request_body().await.map_err(|error| error.into_down())?;
    let whole = session.as_mut().is_body_done();
    context.body_came(session, whole);
    if session.as_ref().retry_buffer_truncated() {
        return Err(Error::explain(ErrorType::InternalError, "the first part of the body is too large to be kept"));
    }
    Ok(())
}

/// The provider as a peer of Pingora's.
pub(super) fn peer(context: &mut Context, known: &KnownCredentials, session: &mut Session) -> Result<Box<HttpPeer>> {
    let unknown = || Error::explain(ErrorType::ConnectNoRoute, "the provider's address is not known");
    // Another try is timed by itself, or not at all.
    context.is_whole = false;
    context.timing.as_ref().inspect(|timing| timing.is_not_timed());
    let address = context.next_address().ok_or_else(unknown)?;
    let upstream = context.upstream.as_ref().ok_or_else(unknown)?;
    let provider = context.runtime.provider(upstream).ok_or_else(unknown)?;
    let whole = session.as_mut().is_body_done();
    let target = &upstream.target;
    let timeouts = target.timeouts;
    // Without a name the certificate would not be verified.
    let mut peer =
        HttpPeer::new(address, target.tls, if target.tls { target.server_name().to_owned() } else { String::new() });
    let (alpn, kind) = match versions(context, session) {
        Versions::Http1 if session.is_upgrade_req() => (ALPN::H1, 3),
        Versions::Http1 => (ALPN::H1, 0),
        Versions::Http2 => (ALPN::H2, 1),
        Versions::Both => (ALPN::H2H1, 2),
    };
    // Pingora pools connections without a look at authorities or versions, and tells certificates apart by their serial
    // numbers.
    let left = provider.left();
    let pool = if [1, 2].contains(&kind) { left } else { 0 };
    let switches = kind == 3;
    let shared = provider.trust().wrapping_add(pool) << 2 | kind;
    peer.group_key = if switches { switch::lone() } else { shared };
    let credentials = known.towards(provider, target);
    peer.client_cert_key = credentials.as_ref().and_then(|credentials| credentials.identity.clone());
    let options = &mut peer.options;
    options.alpn = alpn;
    if switches {
        options.custom_l4 = Some(Arc::new(switch::Connector));
    }
    options.max_h2_streams = MAX_STREAMS;
    options.h2_stream_window_size = Some(client::RELAY_WINDOW);
    options.h2_connection_window_size = Some(client::CONNECTION_WINDOW);
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    // Pingora has one deadline for every read, which over HTTP/2 it does not renew while a body goes the other way: see
    // `first_byte`.
    let is_timed = [1, 2].contains(&kind) && !whole;
    options.read_timeout = Some(timeouts.idle).filter(|_| !is_timed);
    options.write_timeout = Some(timeouts.idle);
    options.idle_timeout = Some(if switches { Duration::ZERO } else { timeouts.keepalive });
    options.ca = credentials.and_then(|credentials| credentials.authorities.clone());
    (context.left, context.is_timed) = (left, is_timed);
    Ok(Box::new(peer))
}

/// The versions of HTTP that a request can go to its provider in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    Http1,
    Http2,
    Both,
}

/// Those that this request can go in.
pub(super) fn versions(context: &Context, session: &Session) -> Versions {
    let target = context.upstream.as_ref().map(|upstream| &upstream.target);
    let (protocol, tls) = target.map_or((Protocol::Http1, false), |target| (target.protocol, target.tls));
    match protocol {
        // gRPC needs HTTP/2 all the way.
        _ if is_grpc(context, &session.req_header().headers) => Versions::Http2,
        Protocol::Http1 => Versions::Http1,
        Protocol::Http2 => Versions::Http2,
        // A WebSocket needs HTTP/1.1, and so does whoever cannot choose.
        Protocol::Auto if !tls || session.is_upgrade_req() => Versions::Http1,
        Protocol::Auto => Versions::Both,
    }
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

/// It could not be connected to a peer. Nothing was sent, so any request may go on to another address.
pub(super) fn go_on(context: &mut Context, peer: &HttpPeer, mut error: Box<Error>) -> Box<Error> {
    // Pingora says so of sockets that it cannot make.
    let local = matches!(error.etype(), ErrorType::InternalError | ErrorType::SocketError | ErrorType::BindError);
    let dead = !local && client::is_of_address(error.root_cause());
    let goes_on = peer.address().as_inet().is_some_and(|address| context.goes_on_from(*address, dead));
    error.set_retry(goes_on);
    error
}

/// The request has a connection to a peer.
pub(super) fn connected(context: &mut Context, peer: &HttpPeer, reused: bool) {
    if let Some(address) = peer.address().as_inet() {
        context.is_connected(*address);
    }
    if let Some(upstream) = &context.upstream {
        context.runtime.metrics.upstream_connection(upstream.index, reused);
    }
}

/// What the provider sees: the caller's request with the provider's own host, and without a client's word on what only
/// proxies may say.
pub(super) async fn request(context: &mut Context, session: &mut Session, request: &mut RequestHeader) -> Result<()> {
    context.tries += 1;
    // Pingora may have found another address than the gateway itself, where another version is spoken.
    context.over_http2 |= request.version == Version::HTTP_2;
    let Some(upstream) = &context.upstream else {
        return Ok(());
    };
    let Some(provider) = context.runtime.provider(upstream) else {
        return Ok(());
    };
    if request.version == Version::HTTP_2 && request.remove_header(&EXPECT).is_some() && context.tries <= 1 {
        // Pingora does not hear the provider's 100, and some clients wait for it for ever.
        session.write_continue_response().await.map_err(|error| error.into_down())?;
    }
    check_version(request, versions(context, session))?;
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
    // Pingora takes it out where a request is sent once more.
    let te = session.req_header().headers.get(TE).filter(|_| request.version == Version::HTTP_2 && is_http2(session));
    if let Some(te) = te.cloned() {
        request.insert_header(TE, te)?;
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

/// A response's head without the buffer that it was read into, of which its headers are parts. A connection of HTTP/2
/// remembers headers, and with them would keep all of it.
pub(super) fn released(response: &ResponseHeader) -> Result<ResponseHeader> {
    let mut own = ResponseHeader::build(response.status, Some(response.headers.len() + 1))?;
    own.set_version(response.version);
    for (name, value) in &response.headers {
        own.append_header(name.clone(), value.as_bytes())?;
    }
    Ok(own)
}

/// Frames an answer for its client, and leaves out what speaks of the provider's connection. A client of HTTP/1.0 reads
/// no chunks: for it the response ends with the connection (RFC 9112, section 6.1).
pub(super) fn frame(session: &mut Session, response: &mut ResponseHeader) {
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    for name in heads::of_connection(&response.headers) {
        // Which trailers come behind a body is said to its reader.
        if name != TRAILER && (!switches || ![CONNECTION, UPGRADE].contains(&name)) {
            response.remove_header(&name);
        }
    }
    let old = session.req_header().version < Version::HTTP_11;
    if old && !response.headers.contains_key(CONTENT_LENGTH) {
        session.set_keepalive(None);
    }
    if old || heads::has_no_length(response.status) {
        response.remove_header(&TRANSFER_ENCODING);
    }
    if heads::has_no_length(response.status) {
        response.remove_header(&CONTENT_LENGTH);
    }
}

/// Whether the client of a response will see it end where the gateway does: Pingora passes codings on that it does not
/// know, and a switch to another protocol that nobody asked for.
pub(super) fn check(response: &ResponseHeader, upgrades: bool) -> Result<()> {
    let wrong = if response.status == StatusCode::SWITCHING_PROTOCOLS && !upgrades {
        "a switch of protocols that the client did not ask for"
    } else if let Some(fault) = heads::fault(&response.headers) {
        fault
    } else {
        return Ok(());
    };
    Err(Error::explain(ErrorType::InvalidHTTPHeader, wrong).into_up())
}

/// The same of what stands behind a body.
pub(super) fn check_trailers(trailers: &HeaderMap) -> Result<()> {
    if heads::are_bounded(trailers) {
        return Ok(());
    }
    Err(Error::explain(ErrorType::InvalidHTTPHeader, "the answer has too many trailers").into_up())
}

/// Whether a request goes to its provider in a version that it may have: Pingora falls back to HTTP/1.1 where TLS
/// agrees on nothing.
fn check_version(request: &RequestHeader, versions: Versions) -> Result<()> {
    if request.version != Version::HTTP_2 && versions == Versions::Http2 {
        return Err(Error::explain(ErrorType::ConnectError, "the provider does not speak HTTP/2").into_up());
    }
    Ok(())
}

/// Whether the provider says that it has not looked at the request, so that any may be tried again.
pub(super) fn was_rejected(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && client::was_refused(error.root_cause())
}

/// What an error says, for the log: what it is, what was being done, and what it came from.
pub(super) fn told(error: &Error) -> String {
    let what = format!("{} {}", error.etype().as_str(), error.esource().as_str());
    let doing = error.context.as_ref().map(|context| context.as_str().to_owned());
    let cause = Some(error.root_cause()).filter(|cause| !cause.is::<Error>()).map(ToString::to_string);
    [Some(what), doing, cause].into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// What it means to the client that a provider was waited for in vain for so long. A connection of HTTP/2 that may hang
/// is left: others would wait for it too.
pub(super) fn late(context: &Context, within: Duration) -> Rejection {
    context.provider().into_iter().for_each(|provider| provider.leave(context.left));
    Rejection::UpstreamTimeout(within)
}

/// What an error of Pingora's means to the client.
pub(super) fn failure(error: &Error, context: &Context) -> Rejection {
    let timeouts = context.upstream.as_ref().map(|upstream| upstream.target.timeouts);
    let known = context.provider().is_some_and(|provider| provider.addresses().are_known());
    let limit = |of: fn(&crate::gateway::Timeouts) -> Duration| timeouts.as_ref().map_or(Duration::ZERO, of);
    match (error.etype(), error.esource()) {
        (ErrorType::ConnectNoRoute, _) if !known => Rejection::Unavailable,
        (ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout, _) => {
            Rejection::UpstreamTimeout(limit(|t| t.connect))
        }
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => {
            Rejection::UpstreamTimeout(limit(|t| t.idle))
        }
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => Rejection::BodyTimeout(limit(|t| t.idle)),
        (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => Rejection::Header("Connection"),
        (_, ErrorSource::Downstream) => Rejection::Malformed("the request broke off or its framing is wrong".into()),
        (_, ErrorSource::Upstream | ErrorSource::Internal | ErrorSource::Unset) => Rejection::UpstreamFailed,
    }
}
