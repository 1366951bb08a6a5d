//! Connections to addresses that are already resolved, with TLS for `https`.

use super::ConnectOptions;
use super::addresses::{Addresses, Attempts};
use super::failure::{is_address_failure, is_final};
use super::transport::Transport;
use super::tunnel::Tunnel;
use crate::descriptors;
use crate::gateway::Protocol;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

/// A connection, with or without TLS.
pub(super) type Stream = MaybeHttpsStream<TokioIo<Transport>>;
type Failed = Box<dyn Error + Send + Sync>;

/// Connects to a host, trying its addresses in turn.
#[derive(Clone)]
pub(super) struct Connector {
    addresses: Arc<Addresses>,
    /// Through a forward proxy, whose addresses these are.
    tunnel: Option<Arc<Tunnel>>,
    tls: Arc<ClientConfig>,
    /// Timeout per address, tunnel and TLS included.
    connect: Duration,
    /// Whether it may use the reserved descriptors.
    may_use_reserve: bool,
}

/// A connector with this TLS configuration. `protocol` selects the ALPN protocols.
pub(super) fn connector(options: &ConnectOptions, mut tls: ClientConfig, protocol: Protocol) -> Connector {
    tls.alpn_protocols = match protocol {
        Protocol::Http1 => Vec::new(),
        Protocol::Http2 => vec![b"h2".to_vec()],
        Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    let (addresses, tunnel, tls) = (options.addresses.clone(), options.tunnel.clone(), Arc::new(tls));
    Connector { addresses, tunnel, tls, connect: options.connect, may_use_reserve: options.may_use_reserve }
}

impl Connector {
    /// The attempts of one request.
    pub fn attempts(&self) -> Attempts {
        Attempts::within(self.connect)
    }

    /// Whether the addresses are those of a forward proxy.
    pub fn is_tunneled(&self) -> bool {
        self.tunnel.is_some()
    }

    /// Connects to the first untried address that accepts.
    pub async fn connect(&self, to: &Uri, attempts: &mut Attempts) -> Result<(Stream, SocketAddr), Failed> {
        if !self.may_use_reserve && descriptors::are_exhausted() {
            return Err("too many open files".into());
        }
        let mut failed: Option<Failed> = None;
        while let Some(address) = self.addresses.next(attempts) {
            let until = Instant::now() + self.connect;
            let dial = Dial { address, tunnel: self.tunnel.clone(), until };
            let mut connector = HttpsConnector::from((dial, self.tls.clone()));
            let connecting = timeout_at(until, connector.call(to.clone())).await;
            match connecting.unwrap_or_else(|_| Err(self.timeout().into())) {
                Ok(stream) => {
                    self.addresses.mark_working(address);
                    return Ok((stream, address));
                }
                Err(error) => {
                    if is_address_failure(&*error, self.is_tunneled()) {
                        self.addresses.failed(address);
                    }
                    if is_final(&*error) {
                        return Err(error);
                    }
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| match &self.tunnel {
            Some(tunnel) => format!("the host name of the egress proxy {} is not resolved yet", tunnel.proxy()).into(),
            None => "the host name is not resolved yet".into(),
        }))
    }

    /// The error of a connection that was not made in time. A tunnel has its own.
    fn timeout(&self) -> String {
        let within = self.connect.as_millis();
        match &self.tunnel {
            Some(tunnel) => format!("no TLS through the egress proxy {} within {within} ms", tunnel.proxy()),
            None => format!("no connection within {within} ms"),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let mut attempts = connector.attempts();
            Ok(connector.connect(&to, &mut attempts).await?.0)
        })
    }
}

/// Connects to this address, whatever the URI names, and through the tunnel, if there is one, to the server.
#[derive(Clone)]
struct Dial {
    address: SocketAddr,
    tunnel: Option<Arc<Tunnel>>,
    until: Instant,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Transport>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Dial { address, tunnel, until } = self.clone();
        Box::pin(async move {
            let transport = match tunnel {
                Some(tunnel) => tunnel.open(address, until).await?,
                None => {
                    let socket = TcpStream::connect(address).await?;
                    socket.set_nodelay(true)?;
                    Transport::Tcp(socket)
                }
            };
            Ok(TokioIo::new(transport))
        })
    }
}
