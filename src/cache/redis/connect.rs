//! From the configuration to the way to the servers.

use super::route::{Cluster, Connect, Route};
use super::server::{Address, Options, Server};
use crate::config::{Login, Redis, RedisAddress, RedisTls, Servers, pem_text};
use crate::telemetry::StoreObserver;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    TlsCertificates, TlsMode,
};
use secrecy::ExposeSecret;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be read.
    #[error("store.redis.tls: {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// What the client library says of the settings.
    #[error("store.redis: {0}")]
    Client(#[from] redis::RedisError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// The way to the servers.
pub(super) fn route(config: &Redis, listener: Arc<dyn StoreObserver>) -> Result<Route, SetupError> {
    let options =
        Options { timeouts: config.timeouts, settle: config.settle, max_in_flight: config.max_in_flight, listener };
    let certificates = config.tls.as_ref().map(certificates).transpose()?;
    match &config.servers {
        Servers::Single(address) => {
            let client = client(config, address, certificates)?;
            let name = format!("{}:{}", address.host, address.port);
            Ok(Route::One(Arc::new(Server::new(name, Address::Fixed(Box::new(client)), options))))
        }
        Servers::Sentinel { service, nodes, login } => {
            let sentinel = |node| sentinel(config, service, node, login, certificates.clone());
            let sentinels = nodes.iter().map(sentinel).collect::<Result<Vec<_>, SetupError>>()?;
            let lock = |sentinel| Arc::new(tokio::sync::Mutex::new(sentinel));
            let address = Address::Sentinels(sentinels.into_iter().map(lock).collect());
            Ok(Route::One(Arc::new(Server::new(service.clone(), address, options))))
        }
        Servers::Cluster(nodes) => {
            let seeds = nodes.iter().map(|node| (node.host.clone(), node.port)).collect();
            let config = config.clone();
            let connect: Connect = Box::new(move |host, port| {
                let address = RedisAddress { host: host.to_owned(), port };
                client(&config, &address, certificates.clone()).ok().map(|client| Address::Fixed(Box::new(client)))
            });
            Ok(Route::Cluster(Arc::new(Cluster::new(seeds, connect, options))))
        }
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

/// Where to connect to, and as whom.
fn client(config: &Redis, address: &RedisAddress, certificates: Option<TlsCertificates>) -> Result<Client, SetupError> {
    let RedisAddress { host, port } = address.clone();
    let address = match certificates {
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        None => ConnectionAddr::Tcp(host, port),
    };
    let info: ConnectionInfo = address.into_connection_info()?;
    let info = info.set_tcp_settings(settings()).set_redis_settings(login(config));
    Ok(match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates)?,
        None => Client::open(info)?,
    })
}

fn login(config: &Redis) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_db(config.database.into()).set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = &config.login.username {
        login = login.set_username(username);
    }
    if let Some(password) = &config.login.password {
        login = login.set_password(password.expose_secret());
    }
    login
}

fn sentinel(
    config: &Redis,
    service: &str,
    node: &RedisAddress,
    login: &Login,
    certificates: Option<TlsCertificates>,
) -> Result<redis::sentinel::SentinelClient, SetupError> {
    let address = match certificates {
        Some(_) => {
            ConnectionAddr::TcpTls { host: node.host.clone(), port: node.port, insecure: false, tls_params: None }
        }
        None => ConnectionAddr::Tcp(node.host.clone(), node.port),
    };
    let mut builder = SentinelClientBuilder::new([address], service, SentinelServerType::Master)?
        .set_client_to_redis_db(config.database.into())
        .set_client_to_redis_protocol(ProtocolVersion::RESP3)
        .set_client_to_redis_tcp_settings(settings())
        .set_client_to_sentinel_tcp_settings(settings());
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    if let Some(username) = &config.login.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &config.login.password {
        builder = builder.set_client_to_redis_password(password.expose_secret());
    }
    if let Some(username) = &login.username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = &login.password {
        builder = builder.set_client_to_sentinel_password(password.expose_secret());
    }
    Ok(builder.build()?)
}
