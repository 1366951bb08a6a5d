//! One request of a command to a running gateway, over TCP or a Unix socket, with or without TLS.

use super::command_error::{CommandError, other};
use crate::config::pem_text;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// The largest head of a response, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A host name or an IP address without brackets, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Parses the path of `unix:/path`; `None` for anything else.
    pub fn unix(text: &str) -> Option<Result<Endpoint, String>> {
        let path = Path::new(text.strip_prefix("unix:")?);
        let found = path.is_absolute().then(|| Endpoint::Unix(path.to_owned()));
        Some(found.ok_or_else(|| "expected `unix:` and an absolute path".to_owned()))
    }

    /// The value of `Host`.
    pub fn host(&self) -> String {
        match self {
            Endpoint::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Tcp(host, port) => format!("{host}:{port}"),
            Endpoint::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Whether no other machine sees what is sent there.
    pub fn is_local(&self) -> bool {
        match self {
            Endpoint::Tcp(host, _) => {
                let address = host.parse::<IpAddr>();
                host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
            }
            Endpoint::Unix(_) => true,
        }
    }

    fn server_name(&self) -> Result<ServerName<'static>, CommandError> {
        let name = match self {
            Endpoint::Tcp(host, _) => host.clone(),
            Endpoint::Unix(_) => "localhost".to_owned(),
        };
        ServerName::try_from(name).map_err(|error| other(format!("{self}: {error}")))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(..) => f.write_str(&self.host()),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Sends a request and waits for the head of the response.
pub(super) async fn send(
    endpoint: &Endpoint,
    tls: Option<ClientConfig>,
    request: Request<Bytes>,
) -> Result<Response<Incoming>, CommandError> {
    let unreachable = |error| other(format!("cannot reach the gateway at {endpoint}: {error}"));
    match endpoint {
        Endpoint::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
            secured(endpoint, stream, tls, request).await
        }
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            secured(endpoint, stream, tls, request).await
        }
    }
}

async fn secured(
    endpoint: &Endpoint,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: Option<ClientConfig>,
    request: Request<Bytes>,
) -> Result<Response<Incoming>, CommandError> {
    let Some(config) = tls else {
        return http(endpoint, stream, request).await;
    };
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(endpoint.server_name()?, stream).await;
    let stream = stream.map_err(|error| other(format!("the TLS handshake with {endpoint} failed: {error}")))?;
    http(endpoint, stream, request).await
}

async fn http(
    endpoint: &Endpoint,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<Response<Incoming>, CommandError> {
    let invalid =
        |error: hyper::Error| other(format!("no valid HTTP response from {endpoint}: {}", with_causes(&error)));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(invalid)?;
    let connection = tokio::spawn(connection);
    let error = match sender.send_request(request.map(Full::new)).await {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    // A canceled request says nothing of the cause, which the connection has.
    drop(sender);
    let cause = connection.await.ok().and_then(Result::err);
    Err(invalid(cause.unwrap_or(error)))
}

/// An error with its causes, each of which is named once.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let named = cause.to_string();
        if !text.contains(&named) {
            text = format!("{text}: {named}");
        }
        next = cause.source();
    }
    text
}

/// The body of a response, cut off after about `most` bytes, and where the connection fails.
pub(super) async fn body(response: Response<Incoming>, most: usize) -> Vec<u8> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
        if read.len() >= most {
            break;
        }
    }
    read.truncate(most);
    read
}

/// TLS that trusts only the CA certificates in a file, and presents a certificate if there is one.
pub(super) fn verified(authorities: &Path, identity: Option<(&Path, &Path)>) -> Result<ClientConfig, CommandError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots.add(certificate).map_err(|error| other(format!("{}: {error}", authorities.display())))?;
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(other)?.with_root_certificates(roots);
    let Some((certificate, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_slice(pem_text(&contents(key)?));
    let private = private.map_err(|_| other(format!("{}: no readable private key", key.display())))?;
    let config = builder.with_client_auth_cert(certificates(certificate)?, private);
    config.map_err(|error| other(format!("{}: {error}", certificate.display())))
}

/// TLS without verification of the server's certificate, for requests that carry no secret.
pub(super) fn unverified() -> Result<ClientConfig, CommandError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(other)?.dangerous();
    Ok(builder.with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The contents of a file that an argument names.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, CommandError> {
    std::fs::read(path).map_err(|error| other(format!("{}: {error}", path.display())))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CommandError> {
    let contents = contents(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem_text(&contents)).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| other(format!("{}: no certificates in PEM format", path.display())))
}

/// Accepts any certificate whose key the server has.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
