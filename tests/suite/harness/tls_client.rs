//! A client of the gateway's TLS listeners.

use super::{Authority, Gateway};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client that trusts an authority.
pub struct TlsClient<'a> {
    pub authority: &'a Authority,
    pub versions: &'a [&'static SupportedProtocolVersion],
    pub alpn: &'a [&'a str],
    pub shows: Option<&'a (PathBuf, PathBuf)>,
}

impl<'a> TlsClient<'a> {
    pub fn new(authority: &'a Authority) -> TlsClient<'a> {
        TlsClient { authority, versions: rustls::ALL_VERSIONS, alpn: &[], shows: None }
    }

    pub async fn connect(&self, gateway: &Gateway, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_after(gateway, name, b"").await
    }

    /// Connects, and sends bytes before the handshake.
    pub async fn connect_after(
        &self,
        gateway: &Gateway,
        name: &str,
        before: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut stream = TcpStream::connect(gateway.address()).await?;
        stream.write_all(before).await?;
        self.over(stream, name).await
    }

    /// Performs the handshake over a connection.
    pub async fn over(&self, stream: TcpStream, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority.file).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(self.versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match self.shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The response to a request; `None` if the gateway closes the connection.
    pub fn ask(&self, gateway: &Gateway, name: &str) -> Option<String> {
        on_runtime(async {
            let mut stream = self.connect(gateway, name).await.ok()?;
            stream
                .write_all(format!("GET /x HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes())
                .await
                .ok()?;
            let mut response = String::new();
            let _ = stream.read_to_string(&mut response).await;
            Some(response).filter(|response| !response.is_empty())
        })
    }
}

pub fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
