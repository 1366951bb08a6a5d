//! The options of the process, and all of a configuration put together.

use super::fault::Problem;
use super::section::Section;
use super::value::{self, choice, count, duration, minutes, seconds, size};
use super::variables::Text;
use super::{Clients, Config, Limits, Log, LogFormat, LogLevel, Shutdown, Store};
use super::{policies, secret, store, upstreams};
use crate::gateway::Gateway;
use crate::wire::http1::HeadLimits;
use ipnet::IpNet;
use secrecy::ExposeSecret;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The shortest `hash_key`, in bytes.
const LEAST_KEY: usize = 16;
/// The least that a client is given.
const HASTE: Duration = Duration::from_millis(100);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Reads all options. What it makes is complete if no fault was collected.
pub(super) fn read(section: &mut Section, random: &[u8; 32]) -> Config {
    let listen = section.read("listen", SocketAddr::new(LOCALHOST, 8080), value::address);
    let admin = admin(section, listen);
    let threads = section.read("threads", None, threads);
    let replicas = section.read("replicas", 1, count(1..=1000));
    let log = section.within("log", log);
    let clients = section.within("clients", |section| Clients {
        head_timeout: section.read("head_timeout", seconds(10), duration(HASTE..=minutes(10))),
        idle_timeout: section.read("idle_timeout", seconds(60), duration(HASTE..=minutes(60))),
        trusted_peers: trusted_peers(section),
        limits: section.within("limits", limits),
    });
    let shutdown = section.within("shutdown", |section| Shutdown {
        drain_delay: section.read("drain_delay", seconds(0), duration(seconds(0)..=minutes(10))),
        grace: section.read("grace", seconds(30), duration(seconds(0)..=minutes(60))),
    });
    let key = secret::secret(section, "hash_key", LEAST_KEY);
    let keyed = section.has("hash_key");
    let store = section.within("store", |section| store::read(section, keyed));
    let mut policies = policies::read(section);
    let upstreams = upstreams::read(section, &mut policies);
    policies::warn_of_unused(&policies, section.context);
    let cached = upstreams.iter().any(|upstream| upstream.cache.is_some());
    if replicas > 1 && cached && matches!(store, Store::Memory(_)) {
        let spot = section.spot_of("replicas");
        let problem = Problem::new("with a store in memory, replicas do not see each other's writes");
        section.context.warn(&spot, problem.but("`store.redis` is what they can share"));
    }
    let key = key.as_ref().map_or(random.as_slice(), |key| key.expose_secret());
    Config { gateway: Gateway::new(upstreams, key), listen, admin, threads, replicas, log, store, clients, shutdown }
}

/// How much clients may ask for. What Pingora reads at the most is more: a head of 1 MiB, 256 headers, and a target of 64 KiB.
fn limits(section: &mut Section) -> Limits {
    let head = HeadLimits {
        block: section.read("header_block", 32 << 10, size(1 << 10..=256 << 10)),
        count: section.read("headers", 100, count(8..=250)),
        single: section.read("header", 8 << 10, size(256..=64 << 10)),
        target: section.read("uri", 8 << 10, size(256..=32 << 10)),
    };
    Limits { head }
}

/// The peers that may speak for others. Those of the whole internet are nobody's peers.
fn trusted_peers(section: &mut Section) -> Vec<IpNet> {
    let networks = section.list("trusted_peers", value::network).unwrap_or_default();
    for network in networks.iter().filter(|network| network.value.prefix_len() == 0) {
        let problem = Problem::new("trusts every client to say who it is and whom it asks");
        section.context.warn(&network.spot, problem.but("the networks of your own proxies are safer"));
    }
    networks.into_iter().map(|network| network.value).collect()
}

fn admin(section: &mut Section, listen: SocketAddr) -> Option<SocketAddr> {
    let default = Some(SocketAddr::new(LOCALHOST, 9090));
    let admin = section.read("admin", default, |text| match text.as_str() {
        "off" => Ok(None),
        _ => value::address(text).map(Some).map_err(|problem| problem.but(ADMIN)),
    })?;
    let spot = section.spot_of("admin");
    let shared = admin.ip() == listen.ip() || admin.ip().is_unspecified() || listen.ip().is_unspecified();
    if shared && admin.port() == listen.port() && listen.port() != 0 {
        section.context.refuse(&spot, Problem::new("is the same as `listen`").but("expected another port"));
    }
    if !admin.ip().is_loopback() {
        let found = "can be reached from other machines, and has no authentication";
        section.context.warn(&spot, Problem::new(found).but("a loopback address is safer"));
    }
    Some(admin)
}

const ADMIN: &str = "expected an IP address and a port, such as `127.0.0.1:9090`, or `off`";

fn threads(text: &Text) -> Result<Option<usize>, Problem> {
    match text.as_str() {
        "auto" => Ok(None),
        _ => count(1..=256)(text).map(Some).map_err(|problem| problem.but("allowed are `auto`, and 1 to 256")),
    }
}

fn log(section: &mut Section) -> Log {
    const FORMATS: &[(&str, LogFormat)] = &[("json", LogFormat::Json), ("text", LogFormat::Text)];
    const LEVELS: &[(&str, LogLevel)] = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    Log {
        format: section.read("format", LogFormat::Json, choice(FORMATS)),
        level: section.read("level", LogLevel::Info, choice(LEVELS)),
        requests: section.read("requests", true, value::truth),
    }
}
