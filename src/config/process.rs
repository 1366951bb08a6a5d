//! The process-wide options, and the assembly of the whole configuration.

use super::error::{Location, Problem};
use super::section::{Context, Section};
use super::value::{self, choice, count, duration, minutes, seconds, shown_size};
use super::variables::Text;
use super::{Config, Dns, ListenAddress, Listener, Log, LogFormat, LogLevel, Reload, Shutdown, Store};
use super::{clients, listeners, policies, secret, store, upstreams};
use crate::gateway::Gateway;
use secrecy::ExposeSecret;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The minimum length of `hash_key`, in bytes.
const MIN_HASH_KEY: usize = 16;
/// The minimum of the reload interval.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Reads all options. The result is complete only if there was no error.
pub(super) fn read(section: &mut Section, random: &[u8; 32]) -> Config {
    let listeners = listeners::read(section);
    let admin = admin(section, &listeners);
    let threads = section.read("threads", None, threads);
    let replicas = section.read("replicas", 1, count(1..=1000));
    let readiness_timeout = section.read("readiness_timeout", seconds(60), duration(seconds(0)..=minutes(60)));
    let log = section.subsection("log", log);
    let clients = section.subsection("clients", clients::read);
    let shutdown = section.subsection("shutdown", shutdown);
    let reload = section.subsection("reload", reload);
    let key = secret::secret(section, "hash_key", MIN_HASH_KEY);
    let has_hash_key = section.has("hash_key");
    let (store, room) = section.subsection("store", |section| store::read(section, has_hash_key, key.as_ref()));
    let dns = section.subsection("dns", dns);
    let mut policies = policies::read(section);
    let upstreams = upstreams::read(section, &mut policies, &listeners);
    policies::warn_of_unused(&policies, section.context);
    let cached = upstreams.iter().any(|upstream| upstream.cache.is_some());
    if replicas > 1 && cached && matches!(store, Store::Memory(_)) {
        let location = section.location_of("replicas");
        let problem = Problem::new("replicas with an in-memory store do not see each other's writes");
        section.context.warn(&location, problem.expected("use `store.redis`"));
    }
    if let Store::Memory(memory) = &store
        && cached
    {
        check_store_size(memory.max_bytes, clients.limits.memory, &room, section.context);
    }
    let key = key.as_ref().map_or(random.as_slice(), |key| key.expose_secret());
    let gateway = Arc::new(Gateway::new(upstreams, key));
    Config {
        gateway,
        listeners,
        admin,
        threads,
        replicas,
        readiness_timeout,
        log,
        store,
        dns,
        clients,
        shutdown,
        reload,
    }
}

/// Warns if a store in memory leaves clients less than the minimum budget. The process would exceed its memory limit.
fn check_store_size(cached: usize, declared: Option<usize>, location: &Location, context: &mut Context) {
    let Some(limit) = declared.or_else(|| context.environment.memory()) else {
        return;
    };
    let room = super::max_cached_for_limit(limit);
    if cached > room {
        let limit = if declared.is_some() {
            format!("`clients.limits.memory` ({})", shown_size(limit))
        } else {
            format!("the memory limit of the process ({}MiB)", limit >> 20)
        };
        let found = format!("{} does not fit into {limit}", shown_size(cached));
        let allowed = match room >> 20 {
            0 => "there is no room for an in-memory store".to_owned(),
            room => format!("at most {room}MiB leaves enough memory for clients"),
        };
        context.warn(location, Problem::new(found).expected(allowed));
    }
}

fn shutdown(section: &mut Section) -> Shutdown {
    Shutdown {
        drain_delay: section.read("drain_delay", seconds(0), duration(seconds(0)..=minutes(10))),
        grace: section.read("grace", seconds(30), duration(seconds(0)..=minutes(60))),
        upgrade_socket: section.optional("upgrade_socket", value::path),
    }
}

fn reload(section: &mut Section) -> Reload {
    Reload {
        watch: section.read("watch", true, value::boolean),
        interval: section.read("interval", seconds(2), duration(MIN_INTERVAL..=minutes(60))),
    }
}

fn dns(section: &mut Section) -> Dns {
    let servers = section.list("servers", value::server).unwrap_or_default();
    Dns { servers: servers.into_iter().map(|server| server.value).collect() }
}

fn admin(section: &mut Section, listeners: &[Listener]) -> Option<SocketAddr> {
    let default = Some(SocketAddr::new(LOCALHOST, 9090));
    let admin = section.read("admin", default, |text| match text.as_str() {
        "off" => Ok(None),
        _ => value::address(text).map(Some).map_err(|problem| problem.expected(ADMIN)),
    })?;
    let location = section.location_of("admin");
    if listeners.iter().any(|listener| listeners::overlap(&listener.address, &ListenAddress::Tcp(admin))) {
        section.context.reject(
            &location,
            Problem::new("overlaps with the address of a listener").expected("expected a different port"),
        );
    }
    if !admin.ip().is_loopback() {
        let found = "reachable from other machines without authentication";
        section.context.warn(&location, Problem::new(found).expected("a loopback address is safer"));
    }
    Some(admin)
}

const ADMIN: &str = "expected an IP address and a port, such as `127.0.0.1:9090`, or `off`";

fn threads(text: &Text) -> Result<Option<usize>, Problem> {
    match text.as_str() {
        "auto" => Ok(None),
        _ => count(1..=256)(text).map(Some).map_err(|problem| problem.expected("allowed: `auto`, 1 to 256")),
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
        requests: section.read("requests", true, value::boolean),
    }
}
