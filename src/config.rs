//! From the text of a configuration to everything that a process needs, or to all faults in it with their places.
//!
//! The text is YAML, read more strictly than YAML asks for: see `config/tree.rs`. Values can refer to variables;
//! secrets stand in files or variables and are only referred to. Defaults and bounds are decided here, so that nothing
//! behind it has to ask. `docs/configuration.md` is the reference.

mod callers;
mod certificates;
mod consistency;
mod session_rules;
mod declared;
mod fault;
mod restart_required;
mod listeners;
mod policies;
mod process;
mod secret;
mod section;
mod servers;
mod store;
mod tree;
mod upstreams;
mod url;
mod value;
mod variables;

pub use certificates::text as pem_text;
pub use fault::ConfigError;
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
    /// What decides about requests.
    pub gateway: Arc<Gateway>,
    /// Where requests come in; at least one.
    pub listeners: Vec<Listener>,
    /// Where probes and metrics are answered; nowhere if there is none.
    pub admin: Option<SocketAddr>,
    /// How many threads serve requests; as many as there are processors if there is none.
    pub threads: Option<usize>,
    /// How many processes serve the same upstreams.
    pub replicas: usize,
    /// How long a process that starts waits for the names and keys of its upstreams, before it is ready with those that
    /// it has.
    pub readiness_timeout: Duration,
    /// What is logged.
    pub log: Log,
    /// Where cached responses are.
    pub store: Store,
    /// How names are looked up.
    pub dns: Dns,
    /// How long clients may take.
    pub clients: Clients,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// When the configuration is read again.
    pub reload: Reload,
}

/// How the names of providers and issuers are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// The servers that are asked, in this order; those of the system where there are none.
    pub servers: Vec<SocketAddr>,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The least important lines that are written.
    pub level: LogLevel,
    /// Whether each request is logged.
    pub requests: bool,
}

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object.
    Json,
    /// Text for people.
    Text,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
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

/// Where cached responses are.
#[derive(Debug, PartialEq)]
pub enum Store {
    /// In the memory of the process.
    Memory(Memory),
    /// In Redis, or what speaks its protocol: shared by several processes.
    Redis(Box<Redis>),
}

/// A store of cached responses in the memory of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// How much it holds at the most, in bytes.
    pub max_bytes: usize,
}

/// A store of cached responses that several processes share.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Where it is.
    pub servers: Servers,
    /// The number of the database; 0 in a cluster, which has no other.
    pub database: u8,
    /// How TLS is spoken to the servers, and to sentinels; not at all where there is none.
    pub tls: Option<RedisTls>,
    /// Who the gateway is to the servers.
    pub login: Login,
    /// What every key begins with.
    pub namespace: String,
    /// What cached responses are sealed with: the first seals, all open. There is at least one, of at least 32 bytes
    /// each.
    pub seal_keys: Vec<SecretSlice<u8>>,
    /// What all processes have in common while the keys that seal are replaced: the option `hash_key`.
    pub hash_key: SecretSlice<u8>,
    /// How long single commands may take.
    pub timeouts: RedisTimeouts,
    /// How long a read waits for the fetch of another process before it fetches itself.
    pub lease_wait: Duration,
    /// How many commands may be on their way at once.
    pub max_in_flight: usize,
    /// For how long after a connection began nothing is served that was fetched by then: as far as the clocks of
    /// servers may be apart, and as long as other processes may take to find the same server.
    pub settle: Duration,
}

/// Where a shared store is.
#[derive(Debug, Clone, PartialEq)]
pub enum Servers {
    /// One server.
    Single(RedisAddress),
    /// The servers that sentinels name.
    Sentinel {
        /// The name that sentinels know the servers by.
        service: String,
        /// The sentinels; at least one.
        nodes: Vec<RedisAddress>,
        /// Who the gateway is to the sentinels.
        login: Login,
    },
    /// A cluster, by some of its servers; at least one.
    Cluster(Vec<RedisAddress>),
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// The host name or address, in lower case and without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How TLS is spoken to a shared store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// Authorities to trust instead of the system's, in a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The certificate that the gateway shows, and its key, in PEM files.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name in the certificates of all servers and sentinels, where that is another than the one by which they are
    /// reached.
    pub server_name: Option<String>,
}

/// Who the gateway is to a server. There is no name without a password.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The name; the server's default user where there is none.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
}

/// How long single commands to a shared store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisTimeouts {
    /// To connect, with TLS and login.
    pub connect: Duration,
    /// What a read may cost before the cache is left out.
    pub read: Duration,
    /// What a write may cost before its mark counts as not placed.
    pub write: Duration,
}

/// How long clients may take, how much they may ask for, and which of them are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// From the connection, or from the first byte of a request on a kept one, to the end of the request's head.
    pub head_timeout: Duration,
    /// From the end of a response to the first byte of the next request, on a kept connection; and how long any wait
    /// for a part of a body may last.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of a response.
    pub write_timeout: Duration,
    /// After which time a connection of HTTP/2 is asked to end.
    pub max_age: Duration,
    /// How many bytes of a body have to come in each second that the gateway waits for them, after the first ten; 0 for
    /// any.
    pub min_body_rate: usize,
    /// How much there may be of what.
    pub limits: ClientLimits,
    /// The networks of the peers that may speak for others.
    pub trusted_peers: Vec<IpNet>,
}

/// How much clients may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections to the process.
    pub connections: usize,
    /// Connections from one address (IPv4), or from one /64 (IPv6), that is not trusted.
    pub per_source: usize,
    /// Requests at the same time on one connection of HTTP/2.
    pub streams: usize,
    /// How much memory the process may have, in bytes; what the system lets it have if there is none.
    pub memory: Option<usize>,
    /// How large the head of a request may be.
    pub head: HeadLimits,
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long requests are still accepted after the signal to end, so that load balancers can look elsewhere.
    pub drain_delay: Duration,
    /// How long requests may take to end after that.
    pub grace: Duration,
    /// Where a process waits for the listeners of the one whose place it takes.
    pub upgrade_socket: Option<PathBuf>,
}

/// When the configuration is read again, beside when a signal asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Whether its files are looked at for changes.
    pub watch: bool,
    /// How often.
    pub interval: Duration,
}

/// What a configuration can refer to outside its text.
pub trait Environment {
    /// The value of a variable; none where it is not set, or is not text.
    fn variable(&self, name: &str) -> Option<String>;
    /// The contents of a file, or why there are none. The reason must not repeat the path, which may come from a
    /// variable.
    fn file(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// The memory that the system lets the process have, in bytes; none where that is not known.
    fn memory(&self) -> Option<usize> {
        None
    }
}

/// What a process takes that serves nobody, in bytes: measured at 16 to 28 MiB.
pub const BASE_MEMORY: usize = 32 << 20;
/// The least that is held for clients, in bytes, however little the limit leaves.
pub const MIN_CLIENT_MEMORY: usize = 8 << 20;

/// How much may be held for clients under a limit, where so much is cached: nine tenths of the limit, without what the
/// process takes in any case, and less a quarter for what the allocator adds.
pub fn memory_for_clients(limit: usize, cached: usize) -> usize {
    let left = (limit / 10 * 9).saturating_sub(BASE_MEMORY + cached);
    (left / 4 * 3).max(MIN_CLIENT_MEMORY)
}

/// How much may be cached under a limit, so that enough is left for clients.
pub fn max_cached_for_limit(limit: usize) -> usize {
    (limit / 10 * 9).saturating_sub(BASE_MEMORY + MIN_CLIENT_MEMORY / 3 * 4)
}

/// A configuration that can be used, and what is doubtful in it.
#[derive(Debug)]
pub struct Compiled {
    /// The configuration.
    pub config: Config,
    /// What may not be what was meant, in the order of the text.
    pub warnings: Vec<ConfigError>,
}

/// Compiles a text. `random` keys the hashes that stand for sessions, unless the text names a key. All faults come back
/// at once, in the order of the text.
pub fn compile(
    source_name: &str,
    text: &str,
    lookup: &dyn Environment,
    random: [u8; 32],
) -> Result<Compiled, Vec<ConfigError>> {
    let (root, faults) = tree::parse(text);
    let mut context = Context { file: source_name, lookup, faults: Vec::new(), warnings: Vec::new() };
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
