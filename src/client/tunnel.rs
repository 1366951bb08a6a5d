//! Tunnels through a forward proxy (CONNECT), to `https://` and `http://` servers alike: so the proxy sees neither
//! paths nor tokens of a server with TLS, and resolves the server's name.

use super::product::PRODUCT;
use super::tls::client_config;
use super::transport::Transport;
use super::tunnel_error::{Reason, TunnelError};
use crate::gateway::{EgressProxy, authority_of};
use crate::wire::http1::ConnectResponse;
use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// Opens tunnels through one proxy to one server.
pub struct Tunnel {
    /// The host and port of the proxy.
    proxy: Arc<str>,
    /// For a proxy with TLS.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The request. It has the credentials.
    request: SecretString,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tunnel").field(&self.proxy).finish()
    }
}

impl Tunnel {
    /// Tunnels through `proxy` to this host, without brackets, and port. Fails if the TLS settings are invalid. Reading
    /// the system's CAs, for a proxy with TLS, is slow.
    pub fn new(proxy: &EgressProxy, host: &str, port: u16) -> Result<Arc<Tunnel>, rustls::Error> {
        let tls = match proxy.tls {
            true => {
                let config = client_config(proxy.authorities.as_ref(), None)?;
                let name = ServerName::try_from(proxy.host.clone());
                let name = name.map_err(|error| rustls::Error::General(error.to_string()))?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
            false => None,
        };
        let server = authority_of(host, port);
        let authorization = proxy.authorization.as_ref();
        let authorization = authorization.map(|value| format!("Proxy-Authorization: {}\r\n", value.expose()));
        let authorization = authorization.unwrap_or_default();
        let head = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: {PRODUCT}\r\n");
        let request = format!("{head}{authorization}\r\n").into();
        Ok(Arc::new(Tunnel { proxy: proxy.authority().into(), tls, request }))
    }

    /// The host and port of the proxy.
    pub fn proxy(&self) -> &str {
        &self.proxy
    }

    /// Whether the connection to the proxy itself uses TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a tunnel through the proxy at this address, until a deadline.
    pub async fn open(&self, address: SocketAddr, until: Instant) -> Result<Transport, TunnelError> {
        let mut reason = Reason::NoConnection;
        match timeout_at(until, self.establish(address, &mut reason)).await {
            Ok(opened) => opened.map_err(|reason| self.error(reason)),
            Err(_) => Err(self.error(reason)),
        }
    }

    fn error(&self, reason: Reason) -> TunnelError {
        TunnelError { proxy: self.proxy.clone(), reason }
    }

    /// `late` becomes the reason if the deadline passes meanwhile.
    async fn establish(&self, address: SocketAddr, late: &mut Reason) -> Result<Transport, Reason> {
        let socket = TcpStream::connect(address).await.map_err(Reason::Unreachable)?;
        socket.set_nodelay(true).map_err(Reason::Unreachable)?;
        let mut transport = match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), socket).await.map_err(Reason::Tls)?;
                Transport::Tls(Box::new(stream))
            }
            None => Transport::Tcp(socket),
        };
        *late = Reason::NoResponse;
        self.request(&mut transport).await?;
        Ok(transport)
    }

    /// Sends the request and reads the head of its response, and not a byte more.
    async fn request(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Reason> {
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Reason::Closed,
            _ => Reason::Broken(error),
        };
        stream.write_all(self.request.expose_secret().as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let mut response = ConnectResponse::default();
        loop {
            let byte = stream.read_u8().await.map_err(broken)?;
            if let Some(status) = response.push(byte).map_err(Reason::Invalid)? {
                return if status.is_success() { Ok(()) } else { Err(Reason::Status(status)) };
            }
        }
    }
}
