//! The process-wide options, and the assembly of the whole configuration.

use super::error::{Location, Problem};
use super::operations::{self, Operations};
use super::options::process as rows;
use super::section::{Context, Section};
use super::value::{self, shown_size};
use super::{Config, Dns, FindingId, Log, Reload, Shutdown, Store};
use super::{clients, listeners, policies, secret, store, upstreams};
use crate::gateway::Gateway;
use secrecy::ExposeSecret;
use std::sync::Arc;

/// Reads all options. The result is complete only if there was no error.
pub(super) fn read(section: &mut Section, random: &[u8; 32]) -> Config {
    let (listeners, proxied) = listeners::read(section);
    let Operations { admin, control } = operations::read(section, &listeners);
    let threads = section.get(&rows::THREADS);
    let replicas = section.get(&rows::REPLICAS);
    let readiness_timeout = section.get(&rows::READINESS_TIMEOUT);
    let log = section.subsection(&rows::LOG, log);
    let clients = section.subsection(&rows::CLIENTS, clients::read);
    for location in proxied.iter().filter(|_| clients.trusted_peers.is_empty()) {
        let problem = Problem::new("no peer is trusted to send PROXY protocol headers").id(FindingId::Conflict);
        section.context.reject(location, problem.expected("list the proxies in `clients.trusted_peers`"));
    }
    let shutdown = section.subsection(&rows::SHUTDOWN, shutdown);
    let reload = section.subsection(&rows::RELOAD, reload);
    let key = secret::secret(section, &rows::HASH_KEY);
    let has_hash_key = section.has(&rows::HASH_KEY);
    let (store, room) = section.subsection(&rows::STORE, |section| store::read(section, has_hash_key, key.as_ref()));
    let dns = section.subsection(&rows::DNS, dns);
    let mut policies = policies::read(section);
    let upstreams = upstreams::read(section, &mut policies, &listeners);
    policies::warn_of_unused(&policies, section.context);
    let cached = upstreams.iter().any(|upstream| upstream.cache.is_some());
    if replicas > 1 && cached && matches!(store, Store::Memory(_)) {
        let location = section.location_of(&rows::REPLICAS);
        let problem = Problem::new("replicas with an in-memory store do not see each other's writes");
        section.context.warn(&location, FindingId::ReplicasWithoutSharedStore, problem.expected("use `store.redis`"));
    }
    if replicas > 1 && matches!(store, Store::Memory(_)) && upstreams.iter().any(|upstream| upstream.grants.own_keys())
    {
        let location = section.location_of(&rows::REPLICAS);
        let problem =
            Problem::new("grants own metadata keys, and replicas with an in-memory store overwrite each other's");
        section.context.reject(&location, problem.id(FindingId::Conflict).expected("use `store.redis`"));
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
        control,
        threads,
        replicas,
        readiness_timeout,
        log,
        store,
        dns,
        clients,
        shutdown,
        reload,
        uses_proxy_variables: section.context.uses_proxy_variables,
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
        context.warn(location, FindingId::StoreExceedsMemory, Problem::new(found).expected(allowed));
    }
}

fn shutdown(section: &mut Section) -> Shutdown {
    Shutdown {
        drain_delay: section.get(&rows::DRAIN_DELAY),
        grace: section.get(&rows::GRACE),
        upgrade_socket: section.parse(&rows::UPGRADE_SOCKET, value::path),
    }
}

fn reload(section: &mut Section) -> Reload {
    Reload { watch: section.get(&rows::WATCH), interval: section.get(&rows::INTERVAL) }
}

fn dns(section: &mut Section) -> Dns {
    let servers = section.list(&rows::DNS_SERVERS, value::server).unwrap_or_default();
    Dns { servers: servers.into_iter().map(|server| server.value).collect() }
}

fn log(section: &mut Section) -> Log {
    let (client_id, subject) = section.subsection(&rows::LOG_CALLER, |section| {
        (section.get(&rows::CALLER_CLIENT_ID), section.get(&rows::CALLER_SUBJECT))
    });
    Log {
        format: section.get(&rows::LOG_FORMAT),
        level: section.get(&rows::LOG_LEVEL),
        requests: section.get(&rows::LOG_REQUESTS),
        sample: section.get(&rows::LOG_SAMPLE),
        client_id,
        subject,
    }
}
