//! Compiles the text of a configuration into everything that a process needs, or into all errors with their locations.
//!
//! The text is YAML, parsed more strictly than YAML requires: see `config/tree.rs`. Values can refer to variables;
//! secrets are in files or variables and are only referred to. All defaults and bounds are applied here.
//! `docs/reference/configuration.md` is the reference.

mod callers;
mod certificates;
mod clients;
mod consistency;
mod declared;
mod egress_proxy;
mod environment;
mod error;
mod field_path;
mod finding;
mod grant_callers;
mod grant_findings;
mod grants;
mod introspection;
mod listeners;
mod locate;
mod memory_budget;
mod operations;
pub mod options;
mod policies;
mod process;
mod ratio;
mod restart_required;
mod same_provider;
mod secret;
mod section;
mod servers;
mod session_rules;
mod settings;
mod store;
mod store_settings;
mod tree;
mod upstreams;
mod url;
mod value;
mod variables;

pub use certificates::text as pem_text;
#[cfg(test)]
pub(crate) use environment::EmptyEnvironment;
pub use environment::Environment;
pub use error::ConfigError;
pub use finding::FindingId;
pub use listeners::{ClientCertificates, ListenAddress, Listener, ListenerTls, SocketFile};
pub use locate::Places;
pub use memory_budget::{BASE_MEMORY, MIN_CLIENT_MEMORY, max_cached_for_limit, memory_for_clients, memory_for_tokens};
pub use operations::OperationsListener;
pub use ratio::Ratio;
pub use restart_required::RestartRequired;
pub use settings::{
    ClientLimits, Clients, Config, Dns, ForwardingHeaders, Log, LogFormat, LogLevel, Reload, ShownAs, Shutdown,
};
pub use store_settings::{Login, Memory, Redis, RedisAddress, RedisTimeouts, RedisTls, Servers, Store};
pub use url::is_loopback;

use section::{Context, Entry};

/// A valid configuration and its warnings.
#[derive(Debug)]
pub struct Compiled {
    /// The configuration.
    pub config: Config,
    /// Likely mistakes, in the order of the text.
    pub warnings: Vec<ConfigError>,
}

/// Compiles a text. `random` keys the hashes of session IDs unless the text sets `hash_key`.
///
/// # Errors
///
/// All errors at once, in the order of the text.
pub fn compile(
    source_name: &str,
    text: &str,
    environment: &dyn Environment,
    random: [u8; 32],
) -> Result<Compiled, Vec<ConfigError>> {
    let (root, faults) = tree::parse(text);
    let mut context = Context::new(source_name, environment, options::elsewhere);
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
