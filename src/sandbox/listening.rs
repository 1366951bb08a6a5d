//! Simulated providers that listen, with or without TLS.

use super::auth0::{self, Tenant, Tokens};
use super::certificate::Certificate;
use super::zitadel::{self, Instance};
use axum::Router;
use axum::serve::{Listener, ListenerExt};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many connections may wait for the server after their handshakes.
const BACKLOG: usize = 128;

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The tenant's address cannot be bound.
    #[error("cannot listen on {address} for the simulated Auth0 tenant: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The tenant cannot be made.
    #[error("the simulated Auth0 tenant: {0}")]
    Tenant(#[from] auth0::Error),
    /// The instance's address cannot be bound.
    #[error("cannot listen on {address} for the simulated ZITADEL instance: {error}")]
    BindInstance {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The instance cannot be made.
    #[error("the simulated ZITADEL instance: {0}")]
    Instance(#[from] zitadel::Error),
    /// The system has no random numbers.
    #[error("the system random number generator failed")]
    Random,
}

/// A simulated Auth0 tenant that listens.
pub struct Auth0 {
    tenant: Tenant,
    url: String,
}

impl Auth0 {
    /// Starts a tenant on this address, on the tokio runtime that this is called in; with TLS if it has a certificate.
    ///
    /// # Errors
    /// If the address cannot be bound, or the tenant cannot be made.
    pub async fn start(
        address: SocketAddr,
        options: auth0::Options,
        certificate: Option<&Certificate>,
    ) -> Result<Auth0, SandboxError> {
        let bind = |error| SandboxError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let url = url(certificate, listener.local_addr().map_err(bind)?);
        let tenant = Tenant::new(&url, options, seed()?)?;
        serve(listener, certificate, tenant.router());
        Ok(Auth0 { tenant, url })
    }

    /// The URL to reach it at.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The tenant itself.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Its tokens.
    pub fn tokens(&self) -> Tokens {
        self.tenant.tokens()
    }
}

/// A simulated ZITADEL instance that listens, for HTTP/1.1 and HTTP/2.
pub struct Zitadel {
    instance: Instance,
    url: String,
}

impl Zitadel {
    /// Starts an instance on this address, on the tokio runtime that this is called in; with TLS if it has a
    /// certificate.
    ///
    /// # Errors
    /// If the address cannot be bound, or the instance cannot be made.
    pub async fn start(
        address: SocketAddr,
        options: zitadel::Options,
        certificate: Option<&Certificate>,
    ) -> Result<Zitadel, SandboxError> {
        let bind = |error| SandboxError::BindInstance { address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let url = url(certificate, listener.local_addr().map_err(bind)?);
        let instance = Instance::new(&url, options, seed()?)?;
        serve(listener, certificate, instance.router());
        Ok(Zitadel { instance, url })
    }

    /// The URL to reach it at.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The instance itself.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Its tokens.
    pub fn tokens(&self) -> zitadel::Tokens {
        self.instance.tokens()
    }
}

fn url(certificate: Option<&Certificate>, address: SocketAddr) -> String {
    format!("{}://{address}", if certificate.is_some() { "https" } else { "http" })
}

fn seed() -> Result<[u8; 32], SandboxError> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| SandboxError::Random)?;
    Ok(seed)
}

fn serve(listener: TcpListener, certificate: Option<&Certificate>, router: Router) {
    // Small frames one after another would otherwise wait for acknowledgements.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    match certificate {
        None => drop(tokio::spawn(axum::serve(listener, router).into_future())),
        Some(certificate) => {
            let listener = TlsListener::new(listener, certificate.server.clone());
            drop(tokio::spawn(axum::serve(listener, router).into_future()));
        }
    }
}

/// Connections after their TLS handshakes, which run side by side: a client that is slow delays no other.
struct TlsListener(mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>);

impl TlsListener {
    fn new(mut listener: impl Listener<Io = TcpStream, Addr = SocketAddr>, config: Arc<ServerConfig>) -> TlsListener {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let acceptor = TlsAcceptor::from(config);
        tokio::spawn(async move {
            loop {
                let (stream, address) = listener.accept().await;
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        let _ = sender.send((stream, address)).await;
                    }
                });
            }
        });
        TlsListener(receiver)
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(accepted) => accepted,
            // The task that accepts never ends.
            None => std::future::pending().await,
        }
    }

    /// Not known here, and used by no one.
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
