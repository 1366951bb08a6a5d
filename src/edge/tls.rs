//! TLS of listeners: server certificates and client certificates.

use crate::config::{ClientCertificates, ListenerTls};
use rustls::client::verify_server_name;
use rustls::server::{
    Acceptor, ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// Why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The TLS library rejects the settings.
    #[error("{0}")]
    Settings(#[from] rustls::Error),
    /// The CA certificates for clients are unusable.
    #[error("client_certificates: {0}")]
    Clients(#[from] rustls::server::VerifierBuilderError),
}

/// The certificates of a listener, chosen by server name.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let is_for = |one: &&Arc<CertifiedKey>, name: &ServerName| {
            let parsed = one.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
            parsed.is_some_and(|parsed| verify_server_name(&parsed, name).is_ok())
        };
        // Without a matching server name the client receives the first certificate and decides itself.
        let named = name.and_then(|name| self.0.iter().find(|one| is_for(one, &name)));
        named.or_else(|| self.0.first()).cloned()
    }
}

/// A record with the alert `no_application_protocol` (RFC 7301, section 3.2).
const NO_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// Performs the TLS handshake. Without a common ALPN protocol it sends the alert itself: with TLS 1.3 the library
/// notices only after its first records and would not send the alert.
pub(crate) async fn accept<S>(socket: S, config: Arc<ServerConfig>) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut begun = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    let spoken = |offer: &[u8]| config.alpn_protocols.iter().any(|own| own == offer);
    if begun.client_hello().alpn().is_some_and(|mut offers| !offers.any(spoken)) {
        begun.io.write_all(&NO_PROTOCOL).await?;
        begun.io.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no protocol in common"));
    }
    begun.into_stream(config).await
}

/// When the first of these certificates expires, in seconds since the epoch: `notAfter` of the leaves.
pub(crate) fn certificate_expiry(certificates: &[Arc<CertifiedKey>]) -> Option<i64> {
    let not_after = |one: &Arc<CertifiedKey>| {
        let (_, parsed) = x509_parser::parse_x509_certificate(one.end_entity_cert().ok()?).ok()?;
        Some(parsed.validity().not_after.timestamp())
    };
    certificates.iter().filter_map(not_after).min()
}

/// The TLS configuration of a listener with these ALPN protocols.
pub(crate) fn server_config(tls: &ListenerTls, protocols: &[&str]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = if tls.only_tls13 { &[&TLS13] } else { &[&TLS12, &TLS13] };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(ClientCertificates { authorities, required }) => {
            let mut roots = RootCertStore::empty();
            authorities.iter().try_for_each(|authority| roots.add(authority.clone()))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if *required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates(tls.certificates.clone())));
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    if tls.clients.is_none() {
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    } else {
        // A resumed session would keep a certificate that is no longer valid.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}
