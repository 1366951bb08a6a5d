//! Compiles the text of a configuration into everything that a process needs, or into all errors with their locations.
//!
//! The text is YAML, parsed more strictly than YAML requires: see `config/tree.rs`. Values can refer to variables;
//! secrets are in files or variables and are only referred to. All defaults and bounds are applied here.
//! `docs/configuration.md` is the reference.

mod callers;
mod certificates;
mod clients;
mod consistency;
mod declared;
mod error;
mod listeners;
mod policies;
mod process;
mod restart_required;
mod secret;
mod section;
mod servers;
mod session_rules;
mod store;
mod tree;
mod upstreams;
mod url;
mod value;
mod variables;

pub use certificates::text as pem_text;
pub use error::ConfigError;
pub use listeners::{ClientCertificates, ListenAddress, Listener, ListenerTls, SocketFile};
pub use restart_required::RestartRequired;

use crate::gateway::Gateway;
use crate::wire::http1::HeadLimits;
use ipnet::IpNet;
use secrecy::{SecretSlice, SecretString};
use section::{Context, Entry};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Everything that a process needs.
#[derive(Debug)]
pub struct Config {
    /// The compiled upstreams and policies.
    pub gateway: Arc<Gateway>,
    /// The listeners for requests; at least one.
    pub listeners: Vec<Listener>,
    /// The address for probes and metrics; `None` disables it.
    pub admin: Option<SocketAddr>,
    /// The number of threads that serve requests; `None` for one per processor.
    pub threads: Option<usize>,
    /// The number of processes that serve the same upstreams.
    pub replicas: usize,
    /// How long a starting process waits for the addresses and keys of its upstreams before it reports ready without
    /// them.
    pub readiness_timeout: Duration,
    /// The option `log`.
    pub log: Log,
    /// The store for cached responses.
    pub store: Store,
    /// The option `dns`.
    pub dns: Dns,
    /// Timeouts and limits of clients.
    pub clients: Clients,
    /// The option `shutdown`.
    pub shutdown: Shutdown,
    /// The option `reload`.
    pub reload: Reload,
}

/// How the host names of providers and issuers are resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// The DNS servers, tried in this order; empty for those of the system.
    pub servers: Vec<SocketAddr>,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The format of log lines.
    pub format: LogFormat,
    /// The minimum level that is logged.
    pub level: LogLevel,
    /// Whether the access log is on.
    pub requests: bool,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object.
    Json,
    /// Human-readable text.
    Text,
}

/// The level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// State changes that operators need.
    Info,
    /// Details for developers.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// The store for cached responses.
#[derive(Debug, PartialEq)]
pub enum Store {
    /// The process's own memory.
    Memory(Memory),
    /// Redis or a compatible server, shared by several processes.
    Redis(Box<Redis>),
}

/// A store in the process's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The maximum size, in bytes.
    pub max_bytes: usize,
}

/// A store that several processes share.
#[derive(Debug, Clone)]
pub struct Redis {
    /// The addresses of the servers.
    pub servers: Servers,
    /// The database number; always 0 in a cluster.
    pub database: u8,
    /// TLS to servers and sentinels; `None` for plaintext.
    pub tls: Option<RedisTls>,
    /// The login at the servers.
    pub login: Login,
    /// The prefix of every key.
    pub namespace: String,
    /// The keys that encrypt cached responses: the first encrypts, all decrypt. At least one, each of at least 32
    /// bytes.
    pub seal_keys: Vec<SecretSlice<u8>>,
    /// The option `hash_key`: all processes share it, also while seal keys are rotated.
    pub hash_key: SecretSlice<u8>,
    /// The timeouts of single commands.
    pub timeouts: RedisTimeouts,
    /// How long a read waits for another process's fetch before it fetches itself.
    pub lease_wait: Duration,
    /// The maximum number of commands in flight.
    pub max_in_flight: usize,
    /// After a new connection, responses that were fetched up to this time after its start are not served. It covers
    /// the clock skew of the servers and the time until other processes find the same server.
    pub settle: Duration,
}

/// The addresses of a shared store.
#[derive(Debug, Clone, PartialEq)]
pub enum Servers {
    /// A single server.
    Single(RedisAddress),
    /// The servers that sentinels report.
    Sentinel {
        /// The name of the service at the sentinels.
        service: String,
        /// The sentinels; at least one.
        nodes: Vec<RedisAddress>,
        /// The login at the sentinels.
        login: Login,
    },
    /// Some nodes of a cluster; at least one.
    Cluster(Vec<RedisAddress>),
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// The host name or IP address, in lower case and without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// TLS settings of a shared store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// A PEM file of CA certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name in the certificates of all servers and sentinels, if it differs from their addresses.
    pub server_name: Option<String>,
}

/// The login at a server. A username is never without a password.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The username; `None` for the server's default user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
}

/// The timeouts of single commands to a shared store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisTimeouts {
    /// To connect, including TLS and login.
    pub connect: Duration,
    /// For a read; after it, the cache is bypassed.
    pub read: Duration,
    /// For a write; after it, the invalidation mark counts as not set.
    pub write: Duration,
}

/// Timeouts and limits of clients, and which of them are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// From the connection, or from a request's first byte on a kept-alive connection, to the end of the request's
    /// head.
    pub head_timeout: Duration,
    /// From the end of a response to the next request's first byte on a kept-alive connection, and the maximum wait for
    /// any part of a body.
    pub idle_timeout: Duration,
    /// How long a client may stop reading its response.
    pub write_timeout: Duration,
    /// The age at which an HTTP/2 connection is asked to close.
    pub max_age: Duration,
    /// The minimum rate of a request body after the first ten seconds, in bytes per second of waiting for it; 0
    /// disables it.
    pub min_body_rate: usize,
    /// The limits of connections, memory and request heads.
    pub limits: ClientLimits,
    /// The networks of proxies whose forwarding headers are accepted.
    pub trusted_peers: Vec<IpNet>,
}

/// The limits of connections, memory and request heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// The maximum number of connections to the process.
    pub connections: usize,
    /// The maximum number of connections from one IPv4 address, or from one IPv6 /64, unless trusted.
    pub per_source: usize,
    /// The maximum number of concurrent requests on one HTTP/2 connection.
    pub streams: usize,
    /// The memory limit of the process, in bytes; `None` for that of the system.
    pub memory: Option<usize>,
    /// The limits of a request's head.
    pub head: HeadLimits,
}

/// How the process shuts down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long requests are still accepted after the signal, so that load balancers can react.
    pub drain_delay: Duration,
    /// How long requests in flight may take after that.
    pub grace: Duration,
    /// The socket at which a new process waits for the listeners of the one it replaces.
    pub upgrade_socket: Option<PathBuf>,
}

/// When the configuration is reloaded, besides on a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Whether its files are watched for changes.
    pub watch: bool,
    /// The interval between two checks for changes.
    pub interval: Duration,
}

/// What a configuration can refer to outside its text.
pub trait Environment {
    /// The value of a variable. `None` if it is not set or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
    /// The contents of a file, or why it cannot be read. The reason must not repeat the path, which may come from a
    /// variable.
    fn file(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// The system's memory limit for the process, in bytes; `None` if unknown.
    fn memory(&self) -> Option<usize> {
        None
    }
}

/// The memory of an idle process, in bytes: measured at 16 to 28 MiB.
pub const BASE_MEMORY: usize = 32 << 20;
/// The minimum memory budget for clients, in bytes, however small the limit.
pub const MIN_CLIENT_MEMORY: usize = 8 << 20;

/// The memory budget for clients under a memory limit, if the store holds `cached` bytes: nine tenths of the limit
/// without the idle process and the store, less a quarter for the allocator's overhead.
pub fn memory_for_clients(limit: usize, cached: usize) -> usize {
    let left = (limit / 10 * 9).saturating_sub(BASE_MEMORY + cached);
    (left / 4 * 3).max(MIN_CLIENT_MEMORY)
}

/// The maximum size of a store in memory that leaves enough of the limit for clients.
pub fn max_cached_for_limit(limit: usize) -> usize {
    (limit / 10 * 9).saturating_sub(BASE_MEMORY + MIN_CLIENT_MEMORY / 3 * 4)
}

/// A valid configuration and its warnings.
#[derive(Debug)]
pub struct Compiled {
    /// The configuration.
    pub config: Config,
    /// Likely mistakes, in the order of the text.
    pub warnings: Vec<ConfigError>,
}

/// Compiles a text. `random` keys the hashes of session IDs unless the text sets `hash_key`.
///
/// # Errors
///
/// All errors at once, in the order of the text.
pub fn compile(
    source_name: &str,
    text: &str,
    environment: &dyn Environment,
    random: [u8; 32],
) -> Result<Compiled, Vec<ConfigError>> {
    let (root, faults) = tree::parse(text);
    let mut context = Context { file: source_name, environment, faults: Vec::new(), warnings: Vec::new() };
    faults.into_iter().for_each(|(location, problem)| context.reject(&location, problem));
    let config = root.and_then(|root| context.read_map(&Entry::root(&root), |section| process::read(section, &random)));
    let Context { mut faults, mut warnings, .. } = context;
    faults.sort_by_key(|fault| (fault.line, fault.column));
    warnings.sort_by_key(|fault| (fault.line, fault.column));
    match config {
        Some(config) if faults.is_empty() => Ok(Compiled { config, warnings }),
        Some(_) | None => Err(faults),
    }
}

#[cfg(test)]
mod tests;
