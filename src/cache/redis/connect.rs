//! Builds the route to the servers from the configuration.

use super::node::{Connect, Node, Sentinels};
use super::route::{Cluster, Route};
use super::server::{Address, Options, Server};
use crate::config::{Login, Redis, RedisAddress, RedisTls, Servers, pem_text};
use crate::telemetry::StoreObserver;
use redis::io::tcp::TcpSettings;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    TlsCertificates,
};
use secrecy::ExposeSecret;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the Redis store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file is unreadable.
    #[error("store.redis.tls: {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The client library rejects the settings.
    #[error("store.redis: {0}")]
    Client(#[from] redis::RedisError),
    /// The system supplies no random numbers.
    #[error("the system random number generator failed")]
    Random,
}

/// Builds the route.
pub(super) fn route(config: &Redis, listener: Arc<dyn StoreObserver>) -> Result<Route, SetupError> {
    let options = Options {
        timeouts: config.timeouts,
        settle: config.settle,
        max_in_flight: config.max_in_flight,
        beat: format!("{}1:beat", config.namespace),
        listener,
    };
    let tls = Tls::of(config)?;
    match &config.servers {
        Servers::Single(address) => {
            let node = node(address, login(config), tls.as_ref())?;
            let name = format!("{}:{}", address.host, address.port);
            Ok(Route::One(Arc::new(Server::new(name, Address::Fixed(Box::new(node)), options))))
        }
        Servers::Sentinel { service, nodes, login } => {
            let sentinel = |address| node(address, with_login(login, RedisConnectionInfo::default()), tls.as_ref());
            let nodes = nodes.iter().map(sentinel).collect::<Result<Vec<_>, SetupError>>()?;
            let sentinels = Sentinels { service: service.clone(), nodes, connect: connect(config, tls.clone()) };
            let address = Address::Sentinels(Arc::new(sentinels));
            Ok(Route::One(Arc::new(Server::new(service.clone(), address, options))))
        }
        Servers::Cluster(nodes) => {
            let seeds = nodes.iter().map(|node| (node.host.clone(), node.port)).collect();
            Ok(Route::Cluster(Arc::new(Cluster::new(seeds, connect(config, tls), options))))
        }
    }
}

/// Connects to servers that sentinels or the cluster name.
fn connect(config: &Redis, tls: Option<Tls>) -> Connect {
    let login = login(config);
    Box::new(move |host, port| {
        let address = RedisAddress { host: host.to_owned(), port };
        node(&address, login.clone(), tls.as_ref()).ok()
    })
}

/// TLS with the servers.
#[derive(Clone)]
struct Tls {
    certificates: TlsCertificates,
    /// The name in their certificates, if it differs from their address.
    server_name: Option<String>,
}

impl Tls {
    fn of(config: &Redis) -> Result<Option<Tls>, SetupError> {
        let tls = |tls: &RedisTls| Ok(Tls { certificates: certificates(tls)?, server_name: tls.server_name.clone() });
        config.tls.as_ref().map(tls).transpose()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    let bytes = std::fs::read(path).map_err(|error| SetupError::File { path: path.to_owned(), error })?;
    Ok(pem_text(&bytes).to_vec())
}

fn certificates(tls: &RedisTls) -> Result<TlsCertificates, SetupError> {
    let client_tls = match &tls.client {
        Some((certificate, key)) => Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? }),
        None => None,
    };
    let root_cert = tls.ca_file.as_deref().map(read).transpose()?;
    Ok(TlsCertificates { client_tls, root_cert })
}

fn settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// A server with the login for it.
fn node(address: &RedisAddress, login: RedisConnectionInfo, tls: Option<&Tls>) -> Result<Node, SetupError> {
    let RedisAddress { host, port } = address.clone();
    let info = |to: ConnectionAddr| -> Result<ConnectionInfo, SetupError> {
        Ok(to.into_connection_info()?.set_tcp_settings(settings()).set_redis_settings(login))
    };
    let Some(Tls { certificates, server_name }) = tls else {
        return Ok(Node::new(Client::open(info(ConnectionAddr::Tcp(host, port))?)?, None));
    };
    let resolve_to = server_name.as_ref().map(|_| address.clone());
    let host = server_name.clone().unwrap_or(host);
    let to = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
    Ok(Node::new(Client::build_with_tls(info(to)?, certificates.clone())?, resolve_to))
}

/// Username, password and database.
fn login(config: &Redis) -> RedisConnectionInfo {
    let plain = RedisConnectionInfo::default().set_db(config.database.into()).set_protocol(ProtocolVersion::RESP3);
    with_login(&config.login, plain)
}

fn with_login(login: &Login, mut info: RedisConnectionInfo) -> RedisConnectionInfo {
    if let Some(username) = &login.username {
        info = info.set_username(username);
    }
    if let Some(password) = &login.password {
        info = info.set_password(password.expose_secret());
    }
    info
}
