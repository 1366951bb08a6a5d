//! The provider as a Pingora peer, for pass-through requests.

use super::context::Context;
use super::custom_connection::{Connector, lone_pool};
use crate::client;
use crate::gateway::{ClientIdentity, Protocol, Target, Timeouts};
use crate::provider::Provider;
use crate::wire::carrier::Carrier;
use http::HeaderMap;
use parking_lot::RwLock;
use pingora::http::RequestHeader;
use pingora::prelude::{HttpPeer, Session};
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::{Peer, PeerOptions};
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use pingora::{Error, ErrorType, Result};
use rustls_pki_types::CertificateDer;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How many calls share one HTTP/2 connection.
const MAX_STREAMS: usize = 100;

/// How long after the end of the time for a connection Pingora's own timeout ends it.
const TUNNEL_GRACE: Duration = Duration::from_millis(50);

/// The TLS certificates for a provider, in Pingora's types.
pub(super) struct Certificates {
    authorities: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
}

impl Certificates {
    /// The certificates of a target, which `config` has checked.
    fn of(target: &Target) -> Certificates {
        let parsed = |all: &[CertificateDer<'_>]| -> Arc<CaType> {
            all.iter().map(|one| WrappedX509::new(one.to_vec(), parse_x509)).collect::<Vec<_>>().into()
        };
        let identity = target.identity.as_ref().map(|ClientIdentity { chain, key }| {
            let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
            Arc::new(CertKey::new(chain, key.secret_der().to_vec()))
        });
        Certificates { authorities: target.authorities.as_deref().map(parsed), identity }
    }
}

/// Credentials by [`Provider::trust`]. There are few, and they seldom change.
#[derive(Default)]
pub(super) struct ProviderCertificates {
    known: RwLock<HashMap<u64, Arc<Certificates>>>,
}

impl ProviderCertificates {
    /// The certificates for a provider, if it needs any.
    fn for_provider(&self, provider: &Provider, target: &Target) -> Option<Arc<Certificates>> {
        if target.authorities.is_none() && target.identity.is_none() {
            return None;
        }
        if let Some(known) = self.known.read().get(&provider.trust()) {
            return Some(known.clone());
        }
        let certificates = Arc::new(Certificates::of(target));
        self.known.write().insert(provider.trust(), certificates.clone());
        Some(certificates)
    }
}

/// What of a request decides which connection carries it.
pub(super) struct Needs {
    pub versions: Versions,
    /// Whether it offers to switch protocols.
    pub is_upgrade: bool,
    /// Whether its body is here completely.
    pub is_whole: bool,
}

impl Needs {
    /// What the request of a session needs.
    pub fn of(session: &mut Session, context: &Context) -> Needs {
        Needs {
            versions: versions(context, session.req_header(), session.is_upgrade_req()),
            is_upgrade: session.is_upgrade_req(),
            is_whole: session.as_mut().is_body_done(),
        }
    }
}

/// The provider as a Pingora peer, with its timeouts.
pub(super) fn peer(context: &mut Context, known: &ProviderCertificates, needs: &Needs) -> Result<Box<HttpPeer>> {
    let unknown = || Error::explain(ErrorType::ConnectNoRoute, "the provider's address is not available");
    // A retry has its own timeout, or none.
    context.is_whole = false;
    context.timing.as_ref().inspect(|timing| timing.stop_timers());
    context.sending();
    let address = context.next_address().ok_or_else(unknown)?;
    let upstream = context.upstream.as_ref().ok_or_else(unknown)?;
    let provider = context.runtime.provider(upstream).ok_or_else(unknown)?;
    let target = &upstream.target;
    // Without a name, Pingora would not verify the certificate.
    let mut peer =
        HttpPeer::new(address, target.tls, if target.tls { target.server_name().to_owned() } else { String::new() });
    let (alpn, kind) = match needs.versions {
        Versions::Http1 if needs.is_upgrade => (ALPN::H1, 3),
        Versions::Http1 => (ALPN::H1, 0),
        Versions::Http2 => (ALPN::H2, 1),
        Versions::Both => (ALPN::H2H1, 2),
    };
    // Pingora's pool ignores trusted authorities and HTTP versions, and identifies client certificates by serial number
    // only.
    let pool_generation = provider.pool_generation();
    let pool = if [1, 2].contains(&kind) { pool_generation } else { 0 };
    let tunnel = provider.tunnel();
    let is_lone = kind == 3 || has_tls_proxy(provider);
    let shared = provider.trust().wrapping_add(pool) << 2 | kind;
    peer.group_key = if is_lone { lone_pool() } else { shared };
    let certificates = known.for_provider(provider, target);
    peer.client_cert_key = certificates.as_ref().and_then(|certificates| certificates.identity.clone());
    let options = &mut peer.options;
    options.alpn = alpn;
    if is_lone || tunnel.is_some() {
        let tunnel = tunnel.map(|tunnel| (tunnel.clone(), target.timeouts.connect));
        options.custom_l4 = Some(Arc::new(Connector { tunnel, is_lone }));
    }
    // Over HTTP/2, Pingora does not restart its read timeout while a request body is sent: see `first_byte`.
    let is_timed = [1, 2].contains(&kind) && !needs.is_whole;
    set_limits(options, target.timeouts, is_timed);
    if is_lone {
        options.idle_timeout = Some(Duration::ZERO);
    }
    if tunnel.is_some() {
        // The error of the tunnel says more, so it comes first.
        options.total_connection_timeout = Some(target.timeouts.connect + TUNNEL_GRACE);
    }
    options.ca = certificates.and_then(|certificates| certificates.authorities.clone());
    (context.pool_generation, context.is_timed) = (pool_generation, is_timed);
    Ok(Box::new(peer))
}

/// Whether the connection to a forward proxy itself uses TLS.
fn has_tls_proxy(provider: &Provider) -> bool {
    provider.tunnel().is_some_and(|tunnel| tunnel.has_tls())
}

fn set_limits(options: &mut PeerOptions, timeouts: Timeouts, is_timed: bool) {
    options.max_h2_streams = MAX_STREAMS;
    options.h2_stream_window_size = Some(client::STREAMING_WINDOW);
    options.h2_connection_window_size = Some(client::CONNECTION_WINDOW);
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.idle).filter(|_| !is_timed);
    options.write_timeout = Some(timeouts.idle);
    options.idle_timeout = Some(timeouts.keepalive);
}

/// The HTTP versions that may carry a request to its provider.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    Http1,
    Http2,
    Both,
}

/// Whether requests to a provider use HTTP/1, except calls, which need HTTP/2.
pub(super) fn is_http1(target: &Target) -> bool {
    // Without TLS there is no ALPN to choose by.
    target.protocol == Protocol::Http1 || target.protocol == Protocol::Auto && !target.tls
}

/// The HTTP versions that may carry this request.
pub(super) fn versions(context: &Context, request: &RequestHeader, is_upgrade: bool) -> Versions {
    let target = context.upstream.as_ref().map(|upstream| &upstream.target);
    if is_grpc(context, &request.headers) {
        // gRPC needs HTTP/2.
        Versions::Http2
    } else if target.is_none_or(is_http1) {
        Versions::Http1
    } else if target.is_some_and(|target| target.protocol == Protocol::Http2) {
        Versions::Http2
    } else if is_upgrade || context.provider().is_some_and(|provider| has_tls_proxy(provider)) {
        // A WebSocket needs HTTP/1.1. And Pingora remembers for ever what each pool has negotiated, while behind a proxy
        // with TLS each request has a pool.
        Versions::Http1
    } else {
        Versions::Both
    }
}

/// Whether a request is a gRPC call to a provider that has them.
pub(super) fn is_grpc(context: &Context, headers: &HeaderMap) -> bool {
    let takes = context.upstream.as_ref().is_some_and(|upstream| upstream.dialect.has_grpc);
    takes && is_call(headers)
}

/// Whether a request has the content type of a gRPC call.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| Carrier::of_caller(text).is_grpc())
}

/// A connection to a peer failed. Nothing was sent, so any request may try the next address.
pub(super) fn go_on(context: &mut Context, peer: &HttpPeer, mut error: Box<Error>) -> Box<Error> {
    // Pingora's errors for sockets that it could not create.
    let local = matches!(error.etype(), ErrorType::InternalError | ErrorType::SocketError | ErrorType::BindError);
    let through_proxy = context.provider().is_some_and(|provider| provider.tunnel().is_some());
    let dead = !local && client::is_address_failure(error.root_cause(), through_proxy);
    let goes_on = peer.address().as_inet().is_some_and(|address| context.goes_on_from(*address, dead))
        && !client::is_final(error.root_cause());
    error.set_retry(goes_on);
    error
}

/// The request has got a connection to a peer.
pub(super) fn connected(context: &mut Context, peer: &HttpPeer, reused: bool) {
    if let Some(address) = peer.address().as_inet() {
        context.is_connected(*address);
    }
    if let Some(upstream) = &context.upstream {
        context.runtime.metrics.upstream_connection(upstream.index, reused);
    }
}
