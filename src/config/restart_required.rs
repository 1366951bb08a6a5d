//! The options that take effect only after a restart.

use super::{Config, Listener, Log, OperationsListener, Store};
use std::path::Path;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// An option that takes effect only after a restart: the `option` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum RestartRequired {
    /// The listeners, except their certificates.
    Listeners,
    /// The trusted peers, if `proxy_protocol` of the listeners changes too.
    #[strum(serialize = "clients.trusted_peers")]
    TrustedPeers,
    /// The listener for probes and metrics, except its certificate.
    Admin,
    /// The listener for commands, except its certificates and token.
    Control,
    /// The number of threads that serve requests.
    Threads,
    /// The format of log lines.
    #[strum(serialize = "log.format")]
    LogFormat,
    /// The key of the hashes of session IDs.
    HashKey,
    /// The store for cached responses.
    Store,
}

impl Config {
    /// The options of `other` that differ and that a process started with `self` cannot change.
    pub fn restart_required(&self, other: &Config) -> Vec<RestartRequired> {
        // No `..`: a new option must be classified here.
        let Config {
            gateway,
            listeners,
            admin,
            control,
            threads,
            replicas: _,
            readiness_timeout: _,
            log,
            store,
            dns: _,
            clients,
            shutdown: _,
            reload: _,
            uses_proxy_variables: _,
        } = other;
        let Log { format, level: _, requests: _, sample: _, client_id: _, subject: _ } = log;
        let differs = |option: &RestartRequired| match option {
            RestartRequired::Listeners => !differ_only_in_certificates(&self.listeners, listeners),
            // A running listener without PROXY protocol headers would otherwise trust the clients of a new TCP proxy.
            RestartRequired::TrustedPeers => {
                !require_same_headers(&self.listeners, listeners) && self.clients.trusted_peers != clients.trusted_peers
            }
            RestartRequired::Admin => !differ_only_in_credentials(&self.admin, admin),
            RestartRequired::Control => !differ_only_in_credentials(&self.control, control),
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

/// Whether the same listeners require PROXY protocol headers.
fn require_same_headers(ones: &[Listener], others: &[Listener]) -> bool {
    let among = |one: &Listener, others: &[Listener]| {
        let is_same = |other: &Listener| other.proxy_protocol && other.name == one.name && other.address == one.address;
        !one.proxy_protocol || others.iter().any(is_same)
    };
    ones.iter().all(|one| among(one, others)) && others.iter().all(|other| among(other, ones))
}

fn differ_only_in_credentials(one: &Option<OperationsListener>, other: &Option<OperationsListener>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.differs_only_in_credentials(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Store {
    /// The files that the store's TLS settings name.
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
