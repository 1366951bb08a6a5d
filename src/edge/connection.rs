//! The life of a client's connection: accept, TLS, protocol detection, requests.
//!
//! Pingora serves single requests; this module waits for the next one. While an HTTP/1 connection waits it holds
//! nothing of Pingora's, which would be most of its memory.

use super::client_stream::ClientStream;
use super::client_timing::ClientTiming;
use super::connection_context::ConnectionContext;
use super::connection_limits::{ConnectionLimits, ConnectionPermit, is_trusted};
use super::direct::{DirectEnd, DirectRequest};
use super::downstream::{self, Downstream};
use super::frame::PREFACE;
use super::http2;
use super::listener::BoundListener;
use super::memory_share::MemoryShares;
use super::peer_identity;
use super::proxy_header::{self, Addresses, HeaderFault, ProxyProtocol};
use super::server::{NO_KEEPALIVE_TIMEOUT, Server, ServerOptions, ShutdownStage, wait_for_stage};
use super::socket::Socket;
use super::strict_http1::{StrictHttp1Reader, StrictHttp1Stream};
use super::tls;
use crate::descriptors;
use crate::memory::Memory;
use crate::model::PeerIdentity;
use crate::telemetry::DisconnectReason;
use arc_swap::{ArcSwap, ArcSwapOption};
use pingora::apps::{HttpPersistentSettings, HttpServerApp};
use pingora::protocols::SocketDigest;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Pause after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// The warning about failed accepts is repeated only after this long without a failure.
const WARN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// A listener's name, and what connections begin with.
pub(crate) struct ListenerInfo {
    pub name: Arc<str>,
    /// `None` if connections have no PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `None` without TLS.
    pub tls: ArcSwapOption<ServerConfig>,
}

/// All client connections.
pub(crate) struct Connections<A> {
    server: Server<A>,
    options: ArcSwap<ServerOptions>,
    connection_limits: Arc<ConnectionLimits>,
    shares: Arc<MemoryShares>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Connections<A> {
    /// Accepts connections for this server. Call inside a tokio runtime.
    pub fn new(server: Server<A>, memory: Arc<Memory>, options: ServerOptions) -> Connections<A> {
        let shares = MemoryShares::new(memory);
        tokio::spawn(shares.clone().watch());
        Connections { server, options: ArcSwap::from_pointee(options), connection_limits: Arc::default(), shares }
    }

    /// Sets the limits and timeouts of future connections.
    pub fn set_options(&self, options: ServerOptions) {
        self.options.store(Arc::new(options));
    }

    /// Closes idle connections to providers.
    pub async fn clean_up(&self) {
        self.server.app.http_cleanup().await;
    }

    /// Accepts connections until the process closes its listeners.
    pub async fn accept(self: Arc<Connections<A>>, bound: Arc<BoundListener>, listener: Arc<ListenerInfo>) {
        let mut stage = self.server.stage.clone();
        let mut failed: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = bound.accept() => accepted,
                () = wait_for_stage(&mut stage, ShutdownStage::Closing) => break,
            };
            let error = match accepted {
                Ok((socket, peer)) => {
                    let last = descriptors::is_reserved(&socket);
                    self.spawn(socket, peer, &listener);
                    last.then(|| "no file descriptors left except the reserve".to_owned())
                }
                Err(error) => Some(error.to_string()),
            };
            let Some(error) = error else {
                continue;
            };
            if failed.replace(Instant::now()).is_none_or(|last| last.elapsed() > WARN_AGAIN_AFTER) {
                tracing::warn!(listener = &*listener.name, error, "cannot accept connections");
            }
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            while descriptors::are_exhausted() && *stage.borrow() < ShutdownStage::Closing {
                failed = Some(Instant::now());
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
        // Connections in the kernel's backlog would be reset.
        while let Some((socket, peer)) = bound.try_accept().await {
            self.spawn(socket, peer, &listener);
        }
    }

    /// Checks the connection limits and serves the connection in a task of its own.
    fn spawn(self: &Arc<Connections<A>>, socket: Socket, peer: Option<SocketAddr>, listener: &Arc<ListenerInfo>) {
        let options = self.options.load_full();
        let is_proxy = peer.is_some_and(|peer| is_trusted(&options.trusted, peer.ip()));
        if listener.proxy_protocol.is_some() && !is_proxy {
            return self.close(listener, peer, &HeaderFault::Untrusted);
        }
        let permit = self.connection_limits.acquire(options.limits, &options.trusted, peer.map(|peer| peer.ip()));
        let permit = match permit {
            Ok(_) if self.shares.is_over() => return self.server.metrics.disconnected(DisconnectReason::Memory),
            Ok(permit) => permit,
            Err(reason) => return self.server.metrics.disconnected(reason),
        };
        socket.set_write_timeout(options.timeouts.write);
        let (connections, listener) = (self.clone(), listener.clone());
        tokio::spawn(async move {
            let _counted = connections.server.metrics.connection();
            connections.serve(socket, peer, permit, &listener, &options).await;
        });
    }

    /// Closes a connection without a usable PROXY protocol header.
    fn close(&self, listener: &ListenerInfo, peer: Option<SocketAddr>, fault: &HeaderFault) {
        self.server.metrics.disconnected(fault.reason());
        listener.proxy_protocol.iter().for_each(|protocol| protocol.log(&listener.name, peer, fault));
    }

    /// Reads the PROXY protocol header, if the listener requires one. `None` if the connection ends with that.
    async fn addresses(
        &self,
        (socket, peer): (&mut Socket, Option<SocketAddr>),
        permit: &mut ConnectionPermit,
        listener: &ListenerInfo,
        (options, deadline): (&ServerOptions, Instant),
    ) -> Option<Addresses> {
        let Some(protocol) = &listener.proxy_protocol else {
            return Some(Addresses::direct(peer));
        };
        let read = match protocol.wait(options.limits, peer.map(|peer| peer.ip())) {
            Ok(_waiting) => proxy_header::read(socket, peer, deadline).await,
            Err(fault) => Err(fault),
        };
        let addresses = read.inspect_err(|fault| self.close(listener, peer, fault)).ok()??;
        let trusted = if addresses.is_unnamed { &[][..] } else { &options.trusted };
        let counted = permit.count_source(options.limits, trusted, addresses.client.map(|client| client.ip()));
        counted.inspect_err(|reason| self.server.metrics.disconnected(*reason)).ok()?;
        Some(addresses)
    }

    async fn serve(
        &self,
        mut socket: Socket,
        peer: Option<SocketAddr>,
        mut permit: ConnectionPermit,
        listener: &ListenerInfo,
        options: &ServerOptions,
    ) {
        let accepted = Instant::now();
        let limits = (options, accepted + options.timeouts.head);
        // Boxed: a task stays as large as its largest part.
        let reading = Box::pin(self.addresses((&mut socket, peer), &mut permit, listener, limits));
        let Some(addresses) = reading.await else {
            return;
        };
        let config = listener.tls.load_full();
        let (name, tls, share) = (listener.name.clone(), config.is_some(), self.shares.open(config.is_some()));
        let connection = ConnectionContext {
            listener: name,
            addresses,
            tls: tls || addresses.tls,
            identity: OnceLock::new(),
            unix_socket: socket.is_unix(),
            head_limits: options.limits.head,
            requests: Arc::default(),
            rejected: Arc::default(),
            metrics: self.server.metrics.clone(),
            share,
            uploads: Arc::default(),
        };
        let timing = Arc::new(ClientTiming::since(accepted, connection, options.timeouts));
        let Some((stream, http2)) = Box::pin(self.negotiate(socket, config, accepted, &timing)).await else {
            return self.count_disconnect(&timing);
        };
        if http2 {
            Box::pin(http2::serve(&self.server, stream, &timing, options)).await;
        } else {
            let reader = StrictHttp1Reader::new(timing.connection.head_limits, timing.connection.unix_socket);
            let served = Box::pin(self.http1(reader.wrap(stream), &reader, &timing));
            let downstream = Downstream { timing: timing.clone(), reader: Some(reader.clone()) };
            downstream::serve(downstream, served).await;
        }
        self.count_disconnect(&timing);
    }

    /// Counts the disconnect reason, if there is one.
    fn count_disconnect(&self, timing: &ClientTiming) {
        if let Some(reason) = timing.disconnect_reason() {
            self.server.metrics.disconnected(reason);
        }
    }

    /// Performs the TLS handshake and detects HTTP/2. `None` if the connection ends before that.
    async fn negotiate(
        &self,
        socket: Socket,
        config: Option<Arc<ServerConfig>>,
        accepted: Instant,
        timing: &Arc<ClientTiming>,
    ) -> Option<(ClientStream, bool)> {
        let digest = digest(&socket, timing.connection.addresses.client);
        let uid = socket.peer_uid();
        let Some(config) = config else {
            timing.connection.identify(PeerIdentity { uid, certificate: None });
            let mut stream = ClientStream::plain(socket, digest, timing.clone());
            return match detect_protocol(&mut stream).await.ok()?? {
                Protocol::Http1 => Some((stream, false)),
                Protocol::Http2 => Some((stream, true)),
                Protocol::InvalidPreface => {
                    timing.set_disconnect_reason(DisconnectReason::Malformed);
                    stream.reject_preface().await;
                    None
                }
            };
        };
        let deadline = accepted + timing.timeouts.head;
        let handshake = async {
            // A health check may only connect, or only send a PROXY protocol header.
            if socket.has_more().await { tls::accept(socket, config).await.map(Some) } else { Ok(None) }
        };
        let agreed = tokio::time::timeout_at(deadline.into(), handshake).await;
        let agreed = agreed.map_err(|_| DisconnectReason::HeadTimeout);
        let stream = match agreed.and_then(|agreed| agreed.map_err(|_| DisconnectReason::TlsHandshake)) {
            Ok(stream) => stream?,
            Err(reason) => {
                timing.set_disconnect_reason(reason);
                return None;
            }
        };
        let certificate = peer_identity::certificate(stream.get_ref().1.peer_certificates());
        timing.connection.identify(PeerIdentity { uid, certificate });
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Some((ClientStream::encrypted(stream, digest, timing.clone()), http2))
    }

    /// Serves a request that does not need Pingora.
    async fn serve_directly(&self, stream: &mut StrictHttp1Stream, connection: &ConnectionContext) -> DirectEnd {
        let Some(direct) = &self.server.direct else {
            return DirectEnd::Unserved;
        };
        let head = stream.whole_head(|host, target| direct.may_serve(connection, host, target));
        match head.and_then(|head| direct.serve(DirectRequest { head, stream })) {
            Some(serving) => serving.await,
            None => DirectEnd::Unserved,
        }
    }

    /// Serves the requests of an HTTP/1 connection in turn.
    async fn http1(&self, mut stream: StrictHttp1Stream, reader: &StrictHttp1Reader, timing: &ClientTiming) {
        let (mut stage, mut is_kept, mut settings) = (self.server.stage.clone(), false, None);
        loop {
            match reader.has_more() {
                // Its first bytes came with the request before.
                true => timing.received(0),
                false if has_more(stream.inner(), is_kept, &mut stage).await => {}
                false => return,
            }
            is_kept = true;
            reader.start_request();
            if !read_head(&mut stream, &mut stage).await {
                return;
            }
            match self.serve_directly(&mut stream, &timing.connection).await {
                DirectEnd::Kept => {}
                DirectEnd::Closed => return,
                // Boxed: an idle connection keeps the size of its largest part.
                DirectEnd::Unserved => match Box::pin(self.serve_with_pingora(stream, settings, timing)).await {
                    Some(next) => (stream, settings) = next,
                    None => return,
                },
            }
        }
    }

    /// Serves a request with a session of Pingora's. `None` if the connection ends with it.
    async fn serve_with_pingora(
        &self,
        stream: StrictHttp1Stream,
        settings: Option<HttpPersistentSettings>,
        timing: &ClientTiming,
    ) -> Option<(StrictHttp1Stream, Option<HttpPersistentSettings>)> {
        let mut session = ServerSession::new_http1(Box::new(stream));
        match settings {
            Some(settings) => settings.apply_to_session(&mut session),
            None => session.set_keepalive(Some(NO_KEEPALIVE_TIMEOUT)),
        }
        let reused = tokio::select! {
            biased;
            reused = self.server.app.process_new_http(session, &self.server.shutdown) => reused?,
            () = timing.stalled() => return None,
        };
        let (stream, settings) = reused.consume();
        let stream = stream.into_any().downcast::<StrictHttp1Stream>().ok()?;
        Some((*stream, settings))
    }
}

/// Waits for the next request. Returns `false` if the connection ends before it. A kept connection ends with the
/// process.
async fn has_more(stream: &mut ClientStream, kept: bool, stage: &mut watch::Receiver<ShutdownStage>) -> bool {
    if !stream.ahead().is_empty() {
        return true;
    }
    stream.release_buffers();
    tokio::select! {
        biased;
        more = stream.read_ahead() => matches!(more, Ok(true)),
        () = wait_for_stage(stage, ShutdownStage::Closing), if kept => false,
    }
}

/// Reads until the head of a request is complete, or is a fault. Returns `false` if the connection ends before that. So
/// a client that is slow to send a head holds nothing of Pingora's either.
async fn read_head(stream: &mut StrictHttp1Stream, stage: &mut watch::Receiver<ShutdownStage>) -> bool {
    while !stream.has_head() {
        let more = tokio::select! {
            biased;
            more = stream.inner().read_ahead() => matches!(more, Ok(true)),
            () = wait_for_stage(stage, ShutdownStage::Closing) => false,
        };
        if !more {
            return false;
        }
    }
    true
}

/// The socket's digest for Pingora, with the client's address in place of the peer's.
fn digest(socket: &Socket, client: Option<SocketAddr>) -> Arc<SocketDigest> {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let _ = digest.peer_addr.set(client.map(PeerAddress::Inet));
    Arc::new(digest)
}

/// The protocol of a client without ALPN.
enum Protocol {
    Http1,
    Http2,
    /// Begins like HTTP/2, but is not.
    InvalidPreface,
}

/// No valid HTTP/1 request begins like this.
const PREFACE_LINE: &[u8] = b"PRI * HTTP/2";

/// Detects the protocol of a client without ALPN, at the first byte that differs from the HTTP/2 preface. `None` if the
/// connection ends before that.
async fn detect_protocol(stream: &mut ClientStream) -> io::Result<Option<Protocol>> {
    loop {
        if !stream.read_ahead().await? {
            return Ok(None);
        }
        let seen = stream.ahead();
        let compared = seen.len().min(PREFACE.len());
        if seen.get(..compared) != PREFACE.get(..compared) {
            let begins = seen.starts_with(PREFACE_LINE);
            return Ok(Some(if begins { Protocol::InvalidPreface } else { Protocol::Http1 }));
        }
        if compared == PREFACE.len() {
            return Ok(Some(Protocol::Http2));
        }
    }
}
