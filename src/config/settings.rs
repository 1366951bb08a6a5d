//! The settings of a process, compiled.

use super::listeners::Listener;
use super::operations::OperationsListener;
use super::ratio::Ratio;
use super::store_settings::Store;
use crate::gateway::Gateway;
use crate::wire::http1::HeadLimits;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that a process needs.
#[derive(Debug)]
pub struct Config {
    /// The compiled upstreams and policies.
    pub gateway: Arc<Gateway>,
    /// The listeners for requests; at least one.
    pub listeners: Vec<Listener>,
    /// The listener for probes and metrics; `None` disables it.
    pub admin: Option<OperationsListener>,
    /// The listener for commands; `None` disables it.
    pub control: Option<OperationsListener>,
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
    /// Whether an environment variable names a forward proxy that is used.
    pub uses_proxy_variables: bool,
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
    /// How many of the successful reads are in the access log.
    pub sample: Ratio,
    /// How the access log shows the application that a token was issued to.
    pub client_id: ShownAs,
    /// How the access log shows the subject of a token.
    pub subject: ShownAs,
}

/// How the log shows an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownAs {
    /// As it is.
    Plain,
    /// As its keyed hash.
    Hash,
    /// Not at all.
    Off,
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
    /// Which forwarding headers these proxies write.
    pub forwarding_headers: ForwardingHeaders,
}

/// The forwarding headers that trusted peers write. Those that they only forward are the client's own, and name whatever
/// the client likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardingHeaders {
    /// `X-Forwarded-For`, `-Host`, `-Proto`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// All of them.
    Both,
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
