//! What of a configuration holds from the start of a process to its end, whatever is written later.

use super::{Config, Listener, Log, Store};
use std::path::Path;
use strum::{IntoStaticStr, VariantArray};

/// An option that a process takes only when it starts. A closed set: it is also the `option` label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RestartRequired {
    /// Where requests come in, but for certificates.
    Listeners,
    /// Where probes and metrics are answered.
    Admin,
    /// How many threads serve requests.
    Threads,
    /// The form of a line of the log.
    #[strum(serialize = "log.format")]
    LogFormat,
    /// What keys the hashes that stand for sessions.
    HashKey,
    /// Where cached responses are.
    Store,
}

impl Config {
    /// What a process that was started with this configuration does not take from another.
    pub fn restart_required(&self, other: &Config) -> Vec<RestartRequired> {
        // All of them by name: who adds one decides here whether a running process takes it.
        let Config {
            gateway,
            listeners,
            admin,
            threads,
            replicas: _,
            readiness_timeout: _,
            log,
            store,
            dns: _,
            clients: _,
            shutdown: _,
            reload: _,
        } = other;
        let Log { format, level: _, requests: _ } = log;
        let differs = |option: &RestartRequired| match option {
            RestartRequired::Listeners => !differ_only_in_certificates(&self.listeners, listeners),
            RestartRequired::Admin => self.admin != *admin,
            RestartRequired::Threads => self.threads != *threads,
            RestartRequired::LogFormat => self.log.format != *format,
            RestartRequired::HashKey => !self.gateway.has_same_secret(gateway),
            RestartRequired::Store => self.store != *store,
        };
        RestartRequired::VARIANTS.iter().copied().filter(differs).collect()
    }
}

/// Whether both are the same listeners, in any order and with any certificates.
fn differ_only_in_certificates(ones: &[Listener], others: &[Listener]) -> bool {
    ones.len() == others.len()
        && ones.iter().all(|one| others.iter().any(|other| one.differs_only_in_certificates(other)))
}

impl Store {
    /// The files that it is set up with.
    pub fn files(&self) -> Vec<&Path> {
        let Store::Redis(shared) = self else {
            return Vec::new();
        };
        let tls = shared.tls.iter();
        let files = tls.flat_map(|tls| {
            let client = tls.client.iter().flat_map(|(certificate, key)| [certificate, key]);
            tls.ca_file.iter().chain(client)
        });
        files.map(|path| path.as_path()).collect()
    }
}
