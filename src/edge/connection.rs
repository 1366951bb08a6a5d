//! The life of a connection from a client: let in, TLS, which protocol it speaks, its requests.
//!
//! Pingora serves single requests; when the next one may come is decided here. A connection of HTTP/1 that waits for a
//! request holds nothing of Pingora's, which would be most of its memory.

use super::client_stream::ClientStream;
use super::client_timing::{Arrival, ClientTiming};
use super::connection_limits::Admission;
use super::downstream::{self, Downstream};
use super::frame::PREFACE;
use super::http2;
use super::listener::BoundListener;
use super::memory_share::MemoryShares;
use super::server::{KEPT, Server, ServerOptions, Stage, reached};
use super::socket::Socket;
use super::strict_http1::{StrictHttp1Stream, StrictRequests};
use super::tls;
use crate::descriptors;
use crate::memory::Memory;
use crate::telemetry::DisconnectReason;
use arc_swap::{ArcSwap, ArcSwapOption};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::protocols::SocketDigest;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a listener rests after the system could not give it a connection.
const GRACE: Duration = Duration::from_millis(50);
/// How long it has to have gone well before the log says again that it does not.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// A listener's name and what it speaks TLS with.
pub(crate) struct ListenerInfo {
    /// The listener's name.
    pub name: Arc<str>,
    /// What TLS is spoken with; none without TLS.
    pub tls: ArcSwapOption<ServerConfig>,
}

/// All connections from clients.
pub(crate) struct Connections<A> {
    server: Server<A>,
    options: ArcSwap<ServerOptions>,
    admission: Arc<Admission>,
    shares: Arc<MemoryShares>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Connections<A> {
    /// Connections whose requests this server answers.
    pub fn new(server: Server<A>, memory: Arc<Memory>, options: ServerOptions) -> Connections<A> {
        let shares = MemoryShares::new(memory);
        tokio::spawn(shares.clone().watch());
        Connections { server, options: ArcSwap::from_pointee(options), admission: Arc::default(), shares }
    }

    /// Takes other limits and deadlines, for connections that begin from now on.
    pub fn set_terms(&self, options: ServerOptions) {
        self.options.store(Arc::new(options));
    }

    /// Ends connections to providers that are kept for later requests.
    pub async fn clean_up(&self) {
        self.server.app.http_cleanup().await;
    }

    /// Accepts connections until the process takes no more of them.
    pub async fn accept(self: Arc<Connections<A>>, bound: Arc<BoundListener>, door: Arc<ListenerInfo>) {
        let mut stage = self.server.stage.clone();
        let mut failed: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = bound.accept() => accepted,
                () = reached(&mut stage, Stage::Closing) => break,
            };
            let error = match accepted {
                Ok((socket, peer)) => {
                    let last = descriptors::is_reserved(&socket);
                    self.take(socket, peer, &door);
                    last.then(|| "too many open files, but for those in reserve".to_owned())
                }
                Err(error) => Some(error.to_string()),
            };
            let Some(error) = error else {
                continue;
            };
            if failed.replace(Instant::now()).is_none_or(|last| last.elapsed() > SAID_AGAIN) {
                tracing::warn!(listener = &*door.name, error, "connections cannot be accepted");
            }
            tokio::time::sleep(GRACE).await;
            while descriptors::are_scarce() && *stage.borrow() < Stage::Closing {
                failed = Some(Instant::now());
                tokio::time::sleep(GRACE).await;
            }
        }
        // Those that the system has accepted already would be broken off.
        while let Some((socket, peer)) = bound.accept_at_once().await {
            self.take(socket, peer, &door);
        }
    }

    /// Lets a connection in and serves it in a task of its own.
    fn take(self: &Arc<Connections<A>>, socket: Socket, peer: Option<SocketAddr>, door: &Arc<ListenerInfo>) {
        let options = self.options.load_full();
        let admitted = self.admission.admit(options.limits, &options.trusted, peer.map(|peer| peer.ip()));
        let admitted = match admitted {
            Ok(_) if self.shares.is_over() => return self.server.metrics.cut(DisconnectReason::Memory),
            Ok(admitted) => admitted,
            Err(cut) => return self.server.metrics.cut(cut),
        };
        socket.give_up_after(options.timeouts.write);
        let (connections, door) = (self.clone(), door.clone());
        tokio::spawn(async move {
            let _counted = (admitted, connections.server.metrics.connection());
            connections.serve(socket, peer, &door, &options).await;
        });
    }

    async fn serve(&self, socket: Socket, peer: Option<SocketAddr>, door: &ListenerInfo, options: &ServerOptions) {
        let config = door.tls.load_full();
        let (name, tls, share) = (door.name.clone(), config.is_some(), self.shares.open(config.is_some()));
        let arrival = Arrival {
            listener: name,
            tls,
            over_socket: socket.is_file(),
            requests: Arc::default(),
            rejected: Arc::default(),
            metrics: self.server.metrics.clone(),
            share,
            uploads: Arc::default(),
        };
        let timing = Arc::new(ClientTiming::new(arrival, options.timeouts));
        // Boxed, since a task is as large as the largest part of it to its end.
        let Some((stream, http2)) = Box::pin(self.begin(socket, peer, config, &timing)).await else {
            return self.note(&timing);
        };
        if http2 {
            http2::serve(&self.server, stream, peer, &timing, options).await;
        } else {
            let requests = StrictRequests::new(options.limits.head, timing.arrival.over_socket);
            let served = Box::pin(self.http1(requests.framed(stream), &requests, &timing));
            let downstream = Downstream { timing: timing.clone(), requests: Some(requests.clone()) };
            downstream::serve(downstream, served).await;
        }
        self.note(&timing);
    }

    /// Counts why a connection was cut off, where it was.
    fn note(&self, timing: &ClientTiming) {
        if let Some(cut) = timing.cut() {
            self.server.metrics.cut(cut);
        }
    }

    /// Agrees on TLS, and finds out which protocol the client speaks; none where the connection ends before that.
    async fn begin(
        &self,
        socket: Socket,
        peer: Option<SocketAddr>,
        config: Option<Arc<ServerConfig>>,
        timing: &Arc<ClientTiming>,
    ) -> Option<(ClientStream, bool)> {
        let digest = digest(&socket, peer);
        let Some(config) = config else {
            let mut stream = ClientStream::plain(socket, digest, timing.clone());
            return match knows_http2(&mut stream).await.ok()?? {
                Spoken::Http1 => Some((stream, false)),
                Spoken::Http2 => Some((stream, true)),
                Spoken::Neither => {
                    timing.note_cut(DisconnectReason::Malformed);
                    stream.reject_preface().await;
                    None
                }
            };
        };
        let agreed = tokio::time::timeout(timing.timeouts.head, tls::accept(socket, config))
            .await
            .map_err(|_| DisconnectReason::HeadTimeout);
        let stream = match agreed.and_then(|agreed| agreed.map_err(|_| DisconnectReason::TlsHandshake)) {
            Ok(stream) => stream,
            Err(cut) => {
                timing.note_cut(cut);
                return None;
            }
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Some((ClientStream::encrypted(stream, digest, timing.clone()), http2))
    }

    /// Serves one request after the other.
    async fn http1(&self, stream: StrictHttp1Stream, requests: &StrictRequests, timing: &ClientTiming) {
        let mut stage = self.server.stage.clone();
        let mut next: Option<(StrictHttp1Stream, Option<HttpPersistentSettings>)> = Some((stream, None));
        while let Some((mut stream, settings)) = next.take() {
            if !requests.has_more() && !has_more(stream.inner(), settings.is_some(), &mut stage).await {
                return;
            }
            requests.expect();
            let mut session = ServerSession::new_http1(Box::new(stream));
            match settings {
                Some(settings) => settings.apply_to_session(&mut session),
                None => session.set_keepalive(Some(KEPT)),
            }
            let left = tokio::select! {
                biased;
                left = self.server.app.process_new_http(session, &self.server.ending) => left,
                () = timing.stands_still() => return,
            };
            next = left.map(ReusedHttpStream::consume).and_then(|(stream, settings)| {
                let stream = stream.into_any().downcast::<StrictHttp1Stream>().ok()?;
                Some((*stream, settings))
            });
        }
    }
}

/// Waits for the next request; `false` where the connection ends before it. A kept connection ends with the process.
async fn has_more(stream: &mut ClientStream, kept: bool, stage: &mut watch::Receiver<Stage>) -> bool {
    if !stream.ahead().is_empty() {
        return true;
    }
    stream.rest();
    tokio::select! {
        biased;
        more = stream.read_ahead() => matches!(more, Ok(true)),
        () = reached(stage, Stage::Closing), if kept => false,
    }
}

/// What Pingora is told of a socket.
fn digest(socket: &Socket, peer: Option<SocketAddr>) -> Arc<SocketDigest> {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let _ = digest.peer_addr.set(peer.map(PeerAddress::Inet));
    Arc::new(digest)
}

/// What a client speaks that has not agreed on anything.
enum Spoken {
    Http1,
    Http2,
    /// What begins like HTTP/2 and goes on as something else.
    Neither,
}

/// What no request of HTTP/1 begins with that has a version of HTTP/1.
const HTTP2_BEGINS: &[u8] = b"PRI * HTTP/2";

/// Whether a client speaks HTTP/2 without having agreed on it: the first byte that differs decides. None where the
/// connection ends before that.
async fn knows_http2(stream: &mut ClientStream) -> io::Result<Option<Spoken>> {
    loop {
        if !stream.read_ahead().await? {
            return Ok(None);
        }
        let seen = stream.ahead();
        let compared = seen.len().min(PREFACE.len());
        if seen.get(..compared) != PREFACE.get(..compared) {
            let begins = seen.starts_with(HTTP2_BEGINS);
            return Ok(Some(if begins { Spoken::Neither } else { Spoken::Http1 }));
        }
        if compared == PREFACE.len() {
            return Ok(Some(Spoken::Http2));
        }
    }
}
