//! Connections that are made only to see whether they can be made.

use super::ConnectOptions;
use super::connector::{Connector, connector};
use super::failure::described;
use super::tls::client_config;
use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use rustls::ProtocolVersion;
use std::net::SocketAddr;

/// A connection that can be tried.
pub struct ConnectionTrial {
    uri: Uri,
    connector: Connector,
}

/// How a connection was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The address that accepted it: the forward proxy's, if there is one.
    pub address: SocketAddr,
    /// The version of TLS; `None` for plaintext.
    pub tls: Option<&'static str>,
}

impl ConnectionTrial {
    /// A connection to the host of this URI. Fails if the TLS settings are invalid. Reading the system's CAs is slow.
    pub fn new(uri: Uri, options: &ConnectOptions) -> Result<ConnectionTrial, rustls::Error> {
        let tls = client_config(options.authorities.as_ref(), options.identity.as_ref())?;
        Ok(ConnectionTrial { uri, connector: connector(options, tls, options.protocol) })
    }

    /// Connects, and closes the connection. The addresses, which must be resolved, are tried in turn.
    ///
    /// # Errors
    ///
    /// The failure at the last address, with its causes.
    pub async fn connect(&self) -> Result<Connected, String> {
        let connected = self.connector.connect(&self.uri, &mut self.connector.attempts()).await;
        let (stream, address) = connected.map_err(|error| described(&*error))?;
        let tls = match stream {
            MaybeHttpsStream::Http(_) => None,
            MaybeHttpsStream::Https(stream) => Some(match stream.inner().get_ref().1.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                Some(_) | None => "TLS",
            }),
        };
        Ok(Connected { address, tls })
    }
}
