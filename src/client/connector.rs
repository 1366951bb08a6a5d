//! Connections to addresses that are already resolved, with TLS for `https`.

use super::ConnectOptions;
use super::addresses::{Addresses, Attempts};
use super::failure::is_address_failure;
use crate::descriptors;
use crate::gateway::{ClientIdentity, Protocol};
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

/// A connection, with or without TLS.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Failed = Box<dyn Error + Send + Sync>;

/// Connects to a host, trying its addresses in turn.
#[derive(Clone)]
pub(super) struct Connector {
    addresses: Arc<Addresses>,
    tls: Arc<ClientConfig>,
    /// Timeout per address, TLS included.
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
    let (addresses, tls) = (options.addresses.clone(), Arc::new(tls));
    Connector { addresses, tls, connect: options.connect, may_use_reserve: options.may_use_reserve }
}

impl Connector {
    /// The attempts of one request.
    pub fn attempts(&self) -> Attempts {
        Attempts::within(self.connect)
    }

    /// Connects to the first untried address that accepts.
    pub async fn connect(&self, to: &Uri, attempts: &mut Attempts) -> Result<(Stream, SocketAddr), Failed> {
        if !self.may_use_reserve && descriptors::are_exhausted() {
            return Err("too many open files".into());
        }
        let mut failed: Option<Failed> = None;
        while let Some(address) = self.addresses.next(attempts) {
            let mut connector = HttpsConnector::from((FixedAddress(address), self.tls.clone()));
            let connecting = tokio::time::timeout(self.connect, connector.call(to.clone()));
            let limit = || format!("no connection within {} ms", self.connect.as_millis());
            match connecting.await.unwrap_or_else(|_| Err(limit().into())) {
                Ok(stream) => {
                    self.addresses.mark_working(address);
                    return Ok((stream, address));
                }
                Err(error) => {
                    if is_address_failure(&*error) {
                        self.addresses.failed(address);
                    }
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| "the host name is not resolved yet".into()))
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

/// Builds the TLS configuration. Reading the system's CAs is slow.
pub(super) fn tls(options: &ConnectOptions) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    match &options.authorities {
        Some(all) => all.iter().try_for_each(|certificate| roots.add(certificate.clone()))?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            // Without them no provider would be trusted.
            if descriptors::are_exhausted() && !found.errors.is_empty() {
                return Err(rustls::Error::General(
                    "cannot read the system's CA certificates: too many open files".into(),
                ));
            }
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    match &options.identity {
        Some(ClientIdentity { chain, key }) => builder.with_client_auth_cert(chain.to_vec(), key.clone_key()),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Connects to this address, whatever the URI names.
#[derive(Clone, Copy)]
struct FixedAddress(SocketAddr);

impl Service<Uri> for FixedAddress {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
