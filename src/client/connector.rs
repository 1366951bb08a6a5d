//! Connections: to addresses that are known already, and with TLS where it is asked for.

use super::{Addresses, Reach};
use crate::gateway::{Identity, Protocol};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::{ClientConfig, RootCertStore};
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// Connects to one host.
pub(super) type Connector = HttpsConnector<HttpConnector<Known>>;

/// What connects as `reach` says, with this TLS. `protocol` is what TLS is to agree on.
pub(super) fn connector(reach: &Reach, tls: ClientConfig, protocol: Protocol) -> Connector {
    let mut tcp = HttpConnector::new_with_resolver(Known(reach.addresses.clone()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(reach.connect));
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
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    match &reach.identity {
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain.to_vec(), key.clone_key()),
        None => Ok(builder.with_no_client_auth()),
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
