//! The options of the process.

use super::super::ratio::Ratio;
use super::super::settings::{LogFormat, LogLevel, ShownAs};
use super::super::value::{minutes, seconds};
use super::declare::{Chosen, Counted, Opt, Plain, Switch, Timed};
use super::kind::{
    AutoOr, CountIn, Or, SecretOf, Structure, TEXT, TEXTS, Words, auto_or, boolean, choice, count, duration,
};
use super::listeners::{LISTEN, LISTENERS};
use super::operations::{ADMIN, CONTROL};
use super::ratio::{AnyRatio, ratio};
use super::table::{Options, Rule};
use super::{clients, policies, store, upstreams};
use std::time::Duration;

const ZERO: Duration = seconds(0);

const LOG_FORMATS: Words<LogFormat> = &[("json", LogFormat::Json), ("text", LogFormat::Text)];
const LOG_LEVELS: Words<LogLevel> = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// The options of the process: the whole configuration.
pub static ROOT: Options = Options {
    heading: "The process",
    comments_above: true,
    rules: &[Rule::NotBoth(["listen", "listeners"])],
    rows: &[
        &LISTEN,
        &LISTENERS,
        &ADMIN,
        &CONTROL,
        &THREADS,
        &REPLICAS,
        &READINESS_TIMEOUT,
        &LOG,
        &CLIENTS,
        &DNS,
        &SHUTDOWN,
        &RELOAD,
        &HASH_KEY,
        &STORE,
        &UPSTREAMS,
        &POLICIES,
    ],
};

pub static THREADS: Opt<Or<AutoOr<CountIn>>> =
    Opt::new("threads", auto_or(CountIn { min: 1, max: 256 }), "Number of threads that serve requests.")
        .default("one per processor")
        .restart("")
        .comment("Number of threads that serve requests.");

pub static REPLICAS: Counted = Opt::new(
    "replicas",
    count(1, 1000, 1),
    "Number of processes that serve the same upstreams. More than one with a `cache` and an in-memory store causes \
        a warning: they do not see each other's writes.",
)
.comment("Number of processes that serve the same upstreams; only for a warning if they need a shared store.");

pub static READINESS_TIMEOUT: Timed = Opt::new(
    "readiness_timeout",
    duration(ZERO, minutes(60), seconds(60)),
    "How long `/readyz` stays 503 at the start while the name of an upstream is not resolved, or the keys of its \
        issuer are not fetched. After that the process is ready if it can serve at least one upstream. See \
        [probes](../operations/probes.md). A change applies to processes that start.",
)
.comment("How long a starting process waits for addresses and keys of all upstreams before it is ready.");

pub static LOG: Plain = Opt::new("log", Structure::Map(&LOG_OPTIONS), "The log.").comment("-");

pub static CLIENTS: Plain =
    Opt::new("clients", Structure::Map(&clients::OPTIONS), "Timeouts and limits of clients, and trusted peers.")
        .comment("-");

pub static DNS: Plain = Opt::new("dns", Structure::Map(&DNS_OPTIONS), "DNS lookups of providers and issuers.")
    .comment("DNS lookups of providers and issuers: like the system, /etc/hosts first, then as in /etc/resolv.conf.");

pub static SHUTDOWN: Plain =
    Opt::new("shutdown", Structure::Map(&SHUTDOWN_OPTIONS), "How the process stops.").comment("-");

pub static RELOAD: Plain =
    Opt::new("reload", Structure::Map(&RELOAD_OPTIONS), "When the configuration is reloaded, in addition to SIGHUP.")
        .comment("The configuration is reloaded on SIGHUP, and when its files change: see docs/operations/reload.md.");

pub static HASH_KEY: Opt<SecretOf> = Opt::new(
    "hash_key",
    SecretOf { min: 16 },
    "The key of the hashes that replace session IDs in logs and in the cache. Processes with the same key write the \
        same hashes; `store.redis` requires it.",
)
.default("random at every start")
.restart("")
.shown("{ env: SESSIONGATE_HASH_KEY }   # or { file: /run/secrets/hash-key }")
.comment(
    "Key of the hashes that replace session IDs in logs and cache keys; by reference only. Processes with the same \
        key write the same hashes. `store.redis` requires it.",
)
.off();

pub static STORE: Plain = Opt::new("store", Structure::Map(&store::OPTIONS), "Where responses are cached.")
    .restart("secrets and certificates too")
    .comment("-");

pub static UPSTREAMS: Plain = Opt::new("upstreams", Structure::Named(upstreams::BY_NAME), "The providers, by name.")
    .required()
    .allowed("map with at least one [upstream](#an-upstream)")
    .comment("The providers, by name.");

pub static POLICIES: Plain = Opt::new(
    "policies",
    Structure::Named(policies::BY_NAME),
    "The policies, by name. A policy that no upstream uses causes a warning.",
)
.default("none")
.allowed("map of [policies](#a-policy)")
.comment("The policies, by name.");

pub static LOG_FORMAT: Chosen<LogFormat> =
    Opt::new("format", choice(LOG_FORMATS, LogFormat::Json), "Format of log lines.").restart("");

pub static LOG_LEVEL: Chosen<LogLevel> =
    Opt::new("level", choice(LOG_LEVELS, LogLevel::Info), "Minimum level of log lines.");

pub static LOG_REQUESTS: Switch =
    Opt::new("requests", boolean(true), "Whether to write an access log line for each request.");

pub static LOG_SAMPLE: Opt<Or<AnyRatio>> = Opt::new(
    "sample",
    ratio(Ratio::ONE),
    "Which part of the successful reads has an access log line. Rejections, failures and writes always have one.",
);

pub static LOG_CALLER: Plain =
    Opt::new("caller", Structure::Map(&CALLER_OPTIONS), "How the access log shows the callers of verified tokens.");

/// The options in `log`.
pub static LOG_OPTIONS: Options = Options {
    heading: "log",
    comments_above: false,
    rules: &[],
    rows: &[&LOG_FORMAT, &LOG_LEVEL, &LOG_REQUESTS, &LOG_SAMPLE, &LOG_CALLER],
};

const SHOWN_AS: Words<ShownAs> = &[("plain", ShownAs::Plain), ("hash", ShownAs::Hash), ("off", ShownAs::Off)];

pub static CALLER_CLIENT_ID: Chosen<ShownAs> = Opt::new(
    "client_id",
    choice(SHOWN_AS, ShownAs::Plain),
    "The application that a token was issued to: plain, as a keyed hash (`hash_key`), or not at all.",
);

pub static CALLER_SUBJECT: Chosen<ShownAs> = Opt::new(
    "subject",
    choice(SHOWN_AS, ShownAs::Hash),
    "The `sub` of a token, often a user: plain, as a keyed hash (`hash_key`), or not at all.",
);

/// The options in `log.caller`.
static CALLER_OPTIONS: Options =
    Options { heading: "", comments_above: false, rules: &[], rows: &[&CALLER_CLIENT_ID, &CALLER_SUBJECT] };

pub static DNS_SERVERS: Plain = Opt::new(
    "servers",
    TEXTS,
    "DNS servers to query instead of those in `resolv.conf` and of the system resolver. The other options in \
        `resolv.conf` still apply.",
)
.default("the system's")
.allowed("list of IP addresses, default port 53: `10.0.0.10`, `127.0.0.1:5353`, `[::1]:53`")
.shown("[10.0.0.10, \"10.0.0.11:5353\"]")
.comment("Servers to query instead of those in resolv.conf, in this order; default port 53.");

/// The options in `dns`.
pub static DNS_OPTIONS: Options = Options { heading: "dns", comments_above: false, rules: &[], rows: &[&DNS_SERVERS] };

pub static DRAIN_DELAY: Timed =
    Opt::new("drain_delay", duration(ZERO, minutes(10), ZERO), "How long to accept requests after the stop signal.");

pub static GRACE: Timed =
    Opt::new("grace", duration(ZERO, minutes(60), seconds(30)), "How long to wait for requests in flight after that.");

pub static UPGRADE_SOCKET: Plain = Opt::new(
    "upgrade_socket",
    TEXT,
    "Socket at which a process started with `run --upgrade` waits for the listeners of the process that it \
        replaces; see [upgrades](../operations/start-and-stop.md#upgrades). Only the user of the process should be \
        able to write to its directory.",
)
.default("disabled")
.allowed("path of a socket")
.shown("/run/sessiongate/upgrade.sock")
.comment("Where `run --upgrade` waits for the listeners of the old process.");

/// The options in `shutdown`.
pub static SHUTDOWN_OPTIONS: Options =
    Options { heading: "shutdown", comments_above: false, rules: &[], rows: &[&DRAIN_DELAY, &GRACE, &UPGRADE_SOCKET] };

pub static WATCH: Switch = Opt::new(
    "watch",
    boolean(true),
    "Whether to reload when the contents of the file, or of files that it names, change.",
)
.comment("Reload when this file, or a file that it names, changes.");

pub static INTERVAL: Timed = Opt::new(
    "interval",
    duration(Duration::from_millis(100), minutes(60), seconds(2)),
    "How often to check the files. A change is applied when two checks in a row found the same contents.",
)
.comment("How often to check. Two checks must find the same contents.");

/// The options in `reload`.
pub static RELOAD_OPTIONS: Options =
    Options { heading: "reload", comments_above: false, rules: &[], rows: &[&WATCH, &INTERVAL] };
