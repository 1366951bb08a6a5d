//! Connections: to addresses that are known already, and with TLS where it is asked for.

use super::{Addresses, Reach};
use crate::descriptors;
use crate::gateway::{Identity, Protocol};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower_service::Service;

/// Connects to one host.
pub(super) type Connector = HttpsConnector<Sparing>;

/// What connects as `reach` says, with this TLS. `protocol` is what TLS is to agree on.
pub(super) fn connector(reach: &Reach, tls: ClientConfig, protocol: Protocol) -> Connector {
    let mut tcp = HttpConnector::new_with_resolver(Known(reach.addresses.clone()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(reach.connect));
    let tcp = Sparing { tcp, vital: reach.vital };
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    match protocol {
        Protocol::Http1 => builder.enable_http1().wrap_connector(tcp),
        Protocol::Http2 => builder.enable_http2().wrap_connector(tcp),
        Protocol::Auto => builder.enable_all_versions().wrap_connector(tcp),
    }
}

/// How TLS is spoken as `reach` says. To read the system's authorities takes long.
pub(super) fn tls(reach: &Reach) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    match &reach.authorities {
        Some(all) => all.iter().try_for_each(|certificate| roots.add(certificate.clone()))?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            // Without them no provider would be trusted any more.
            if descriptors::are_scarce() && !found.errors.is_empty() {
                return Err(rustls::Error::General(
                    "the system's authorities cannot be read: too many open files".into(),
                ));
            }
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    match &reach.identity {
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain.to_vec(), key.clone_key()),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Connects where there are descriptors for more connections than there are.
#[derive(Clone)]
pub(super) struct Sparing {
    tcp: HttpConnector<Known>,
    /// Whether it may take the last of them.
    vital: bool,
}

impl Service<Uri> for Sparing {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        if !self.vital && descriptors::are_scarce() {
            return Box::pin(ready(Err("too many open files".into())));
        }
        let connecting = self.tcp.call(to);
        Box::pin(async move { connecting.await.map_err(Into::into) })
    }
}

/// Hands out the addresses that are known.
#[derive(Clone)]
pub(super) struct Known(Arc<Addresses>);

impl Service<Name> for Known {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let known = self.0.known();
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name is not known yet");
        ready(if known.is_empty() { Err(unknown()) } else { Ok(known.into_iter()) })
    }
}
