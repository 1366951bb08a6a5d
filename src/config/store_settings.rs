//! The settings of the store for cached responses.

use secrecy::{SecretSlice, SecretString};
use std::path::PathBuf;
use std::time::Duration;

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
