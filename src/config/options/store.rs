//! The options of the store.

use super::super::value::{millis, minutes, seconds};
use super::declare::{Counted, Measured, Opt, Plain, Switch, Timed};
use super::kind::{SecretOf, SecretsOf, Structure, TEXT, TextOr, boolean, count, duration, size};
use super::table::{Format, Options, Rule};

/// The default port of a server.
pub const SERVER_PORT: u16 = 6379;
/// The default port of a sentinel.
pub const SENTINEL_PORT: u16 = 26379;
/// The maximum length of a namespace, in characters.
pub const MAX_NAMESPACE: usize = 32;

const SERVER: Structure = Structure::Text(Format::RedisUrl(SERVER_PORT));
const SENTINEL_NODE: Structure = Structure::Text(Format::RedisUrl(SENTINEL_PORT));

pub static MEMORY: Plain =
    Opt::new("memory", Structure::Map(&MEMORY_OPTIONS), "In-memory store: a map with `max_bytes`.")
        .default("in use")
        .comment("-");

pub static REDIS: Plain = Opt::new("redis", Structure::Map(&REDIS_OPTIONS), "Store that several processes share.")
    .default("none")
    .allowed("not with `memory`")
    .comment("Instead of `memory`: Redis, or a compatible server, shared by processes with the same `hash_key`.")
    .off();

/// The options in `store`.
pub static OPTIONS: Options = Options {
    heading: "store",
    comments_above: false,
    rules: &[Rule::NotBoth(["memory", "redis"])],
    rows: &[&MEMORY, &REDIS],
};

pub static MAX_BYTES: Measured = Opt::new(
    "max_bytes",
    size(1 << 20, 1 << 40, 64 << 20),
    "Maximum size of all cached responses. There is a warning if it leaves too little of the memory limit \
        (`clients.limits.memory`) for clients: see [Memory](../operations/memory.md).",
);

/// The options of a store in memory.
pub static MEMORY_OPTIONS: Options = Options { heading: "", comments_above: false, rules: &[], rows: &[&MAX_BYTES] };

pub static URL: Plain = Opt::new("url", SERVER, "Address of a single server.")
    .shown("rediss://cache.example:6379")
    .comment("A single server, redis[s]://HOST[:PORT]; or instead of it");

pub static SENTINEL: Plain =
    Opt::new("sentinel", Structure::Map(&SENTINEL_OPTIONS), "The master that sentinels report.")
        .comment("The master that sentinels report");

pub static CLUSTER: Plain = Opt::new(
    "cluster",
    Structure::List(&SERVER),
    "Addresses of some nodes of a cluster, from which the others are discovered.",
)
.shown("[rediss://n1.example:6379, rediss://n2.example:6379]")
.comment("Some nodes of a cluster; or instead of it");

pub static ALLOW_PLAINTEXT: Switch = Opt::new(
    "allow_plaintext",
    boolean(false),
    "Whether to suppress the warning about a password with `redis://`, because the network is encrypted otherwise, \
        such as by a service mesh.",
)
.comment("No warning about a password with redis://, since the network is encrypted, as by a mesh.");

pub static DATABASE: Counted = Opt::new("database", count(0, 15, 0), "Database number.").allowed("not with `cluster`");

pub static USERNAME: Plain = Opt::new("username", TEXT, "Username.")
    .default("the default user")
    .allowed("string; only with `password`")
    .shown("gate");

pub static PASSWORD: Opt<SecretOf> = Opt::new("password", SecretOf { min: 1 }, "Password.")
    .default("none")
    .allowed("[reference](#secrets) to UTF-8 text")
    .shown("{ file: /run/secrets/redis }")
    .comment("Password, by reference only, like all secrets.");

pub static TLS: Plain =
    Opt::new("tls", Structure::Map(&TLS_OPTIONS), "TLS towards the servers. Only with `rediss://`.")
        .comment("TLS; only with rediss://.");

pub static NAMESPACE: Opt<TextOr> = Opt::new(
    "namespace",
    TextOr { format: Format::Namespace(MAX_NAMESPACE), default: "sessiongate" },
    "Prefix of every key. Deployments that share servers but not sessions, such as staging and production, need \
        different ones.",
);

pub static SEAL_KEYS: Opt<SecretsOf> = Opt::new(
    "seal_keys",
    SecretsOf { min: 32, most: 8 },
    "Encryption keys of cached responses: the first one encrypts, all of them decrypt. To rotate, append the new \
        key on all replicas, then move it to the front, and remove the old one when `ttl` and the stale times are \
        over.",
)
.required()
.shown("[{ file: /run/secrets/seal-2 }, { file: /run/secrets/seal-1 }]")
.comment("Secrets; the first encrypts responses, all decrypt.");

pub static TIMEOUTS: Plain =
    Opt::new("timeouts", Structure::Map(&TIMEOUT_OPTIONS), "Timeouts of single commands.").comment("-");

pub static LEASE_WAIT: Timed = Opt::new(
    "lease_wait",
    duration(seconds(0), seconds(10), seconds(2)),
    "How long a read waits for another process that holds the lease on the same session, before it fetches itself.",
)
.comment("How long a read waits for another process that holds the lease.");

pub static MAX_IN_FLIGHT: Counted =
    Opt::new("max_in_flight", count(2, 65_536, 1024), "Maximum number of commands in flight; a read needs two.")
        .comment("Maximum number of commands in flight.");

pub static SETTLE: Timed = Opt::new(
    "settle",
    duration(seconds(0), minutes(1), seconds(2)),
    "Settle time of a new connection: responses fetched before the connection began, or within this time after it, \
        are not served. It covers the clock difference between servers, and the time until all replicas find the \
        same server after a failover.",
)
.comment("Responses fetched before a connection began, or within this time after it, are not served.");

/// The options in `store.redis`.
pub static REDIS_OPTIONS: Options = Options {
    heading: "store.redis",
    comments_above: false,
    rules: &[Rule::ExactlyOne(&["url", "sentinel", "cluster"]), Rule::Needs("username", "password")],
    rows: &[
        &URL,
        &SENTINEL,
        &CLUSTER,
        &ALLOW_PLAINTEXT,
        &DATABASE,
        &USERNAME,
        &PASSWORD,
        &TLS,
        &NAMESPACE,
        &SEAL_KEYS,
        &TIMEOUTS,
        &LEASE_WAIT,
        &MAX_IN_FLIGHT,
        &SETTLE,
    ],
};

pub static SERVICE: Plain = Opt::new("service", TEXT, "Name of the master that the sentinels monitor.")
    .required()
    .allowed("string")
    .shown("sessions");

pub static NODES: Plain = Opt::new(
    "nodes",
    Structure::List(&SENTINEL_NODE),
    "Addresses of sentinels. Their scheme also applies to the servers.",
)
.required()
.shown("[rediss://s1.example:26379, rediss://s2.example:26379]");

pub static SENTINEL_USERNAME: Plain = Opt::new("username", TEXT, "Username for the sentinels.")
    .default("none")
    .allowed("string; only with `password`")
    .shown("watcher");

pub static SENTINEL_PASSWORD: Opt<SecretOf> = Opt::new("password", SecretOf { min: 1 }, "Password for the sentinels.")
    .default("none")
    .allowed("[reference](#secrets) to UTF-8 text")
    .shown("{ file: /run/secrets/sentinel }");

/// The options in `store.redis.sentinel`.
pub static SENTINEL_OPTIONS: Options = Options {
    heading: "store.redis.sentinel",
    comments_above: false,
    rules: &[Rule::Needs("username", "password")],
    rows: &[&SERVICE, &NODES, &SENTINEL_USERNAME, &SENTINEL_PASSWORD],
};

pub static CA_FILE: Plain = Opt::new("ca_file", TEXT, "CA certificates to trust.")
    .default("the system's")
    .allowed("PEM file with at least one certificate")
    .shown("/etc/ssl/certs/ca-certificates.crt")
    .comment("CA certificates to trust, PEM.");

pub static CERTIFICATE: Plain = Opt::new("certificate", TEXT, "Client certificate.")
    .default("none")
    .allowed("PEM file with at least one certificate; only with `key`")
    .shown("/run/secrets/redis-client.pem")
    .comment("Client certificate, PEM; with `key`.");

pub static KEY: Plain = Opt::new("key", TEXT, "Private key of the certificate.")
    .default("none")
    .allowed("PEM file with an unencrypted private key; only with `certificate`")
    .shown("/run/secrets/redis-client.key")
    .comment("Private key, unencrypted PEM.");

pub static SERVER_NAME: Plain = Opt::new(
    "server_name",
    TEXT,
    "Name that the certificates of all servers and sentinels must have, also sent as SNI. Needed if the addresses \
        differ: sentinels and clusters report servers by IP address.",
)
.default("the host of each address")
.allowed("host name or IP address")
.shown("redis.example")
.comment("Name in the certificates of servers and sentinels.");

/// The options in `store.redis.tls`.
pub static TLS_OPTIONS: Options = Options {
    heading: "store.redis.tls",
    comments_above: false,
    rules: &[Rule::Needs("certificate", "key"), Rule::Needs("key", "certificate")],
    rows: &[&CA_FILE, &CERTIFICATE, &KEY, &SERVER_NAME],
};

pub static CONNECT: Timed =
    Opt::new("connect", duration(millis(10), seconds(10), millis(250)), "Connect timeout, including TLS and login.");

pub static READ: Timed = Opt::new(
    "read",
    duration(millis(1), seconds(5), millis(50)),
    "Timeout of a cache read, after which the cache is bypassed.",
);

pub static WRITE: Timed = Opt::new(
    "write",
    duration(millis(1), seconds(5), millis(100)),
    "Timeout of setting an invalidation mark, after which `on_unreachable` applies: see [cache](#cache).",
)
.comment("Of setting an invalidation mark, after which `on_unreachable` applies.");

/// The options in `store.redis.timeouts`.
pub static TIMEOUT_OPTIONS: Options =
    Options { heading: "store.redis.timeouts", comments_above: false, rules: &[], rows: &[&CONNECT, &READ, &WRITE] };
