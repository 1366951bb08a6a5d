//! `sessiongate sandbox`: the gateway in front of simulated providers, in one process.

use super::command_error::{CommandError, other};
use super::lifecycle::Started;
use super::output::print_to;
use super::random::random;
use super::signals::CaughtSignals;
use super::tokio_runtime::on_runtime;
use crate::admin::Role;
use crate::config::Environment;
use crate::log_writer::LogWriter;
use crate::reload::{LoadedConfig, Machine};
use crate::sandbox::{self, Auth0, Listeners, Providers, TENANT_RATE, Zitadel};
use crate::wire::hex;
use clap::Args;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

#[derive(Args)]
pub(super) struct SandboxArgs {
    /// Listen address of the gateway; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Listen address of probes and metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Loopback address of the listener for commands
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    control: SocketAddr,
    /// Listen address of the simulated Auth0 tenant
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    auth0: SocketAddr,
    /// Listen address of the simulated ZITADEL
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8082")]
    zitadel: SocketAddr,
    /// Listen address of a second simulated ZITADEL, whose JWTs the gateway verifies
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8083")]
    zitadel_verified: SocketAddr,
    /// Requests per second that the tenant allows before it responds with 429; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = TENANT_RATE)]
    rate: u32,
    /// Cache in this Redis instead of in memory: redis://HOST:PORT
    #[arg(long = "redis", value_name = "URL")]
    store: Option<String>,
    /// Print one line of JSON with addresses, tokens and ids when ready, and nothing else on standard output
    #[arg(long)]
    json: bool,
}

/// This machine's environment, with random secrets for the life of the process.
struct EphemeralSecrets([String; 2]);

impl EphemeralSecrets {
    fn new() -> Result<EphemeralSecrets, CommandError> {
        Ok(EphemeralSecrets([hex::text(&random()?), hex::text(&random()?)]))
    }
}

impl Environment for EphemeralSecrets {
    fn variable(&self, name: &str) -> Option<String> {
        let EphemeralSecrets([hash_key, seal_key]) = self;
        match name {
            sandbox::HASH_KEY => Some(hash_key.clone()),
            sandbox::SEAL_KEY => Some(seal_key.clone()),
            _ => Machine.variable(name),
        }
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        Machine.file(path)
    }
}

/// Runs the command.
pub(super) fn run(args: &SandboxArgs) -> Result<(), CommandError> {
    let log_writer = LogWriter::new(io::stderr()).map_err(other)?;
    let done = on_runtime(None, async {
        let rate = (args.rate > 0).then_some(args.rate);
        let providers = Providers {
            auth0: Auth0::start(args.auth0, rate).await.map_err(other)?,
            zitadel: Zitadel::start(args.zitadel).await.map_err(other)?,
            verified: Zitadel::start(args.zitadel_verified).await.map_err(other)?,
        };
        let listeners = Listeners { gateway: args.listen, admin: args.admin, control: args.control };
        let text = providers.configuration(listeners, args.store.as_deref());
        let loaded = LoadedConfig::of("sandbox", &text, &EphemeralSecrets::new()?, random()?)?;
        let gateway = Started::new(&loaded, log_writer.clone(), CaughtSignals::new().map_err(other)?, None).await?;
        gateway.ready().await;
        let bound = |role, configured| gateway.operations.address(role).parse().unwrap_or(configured);
        let listeners = Listeners {
            gateway: gateway.listen.parse().unwrap_or(args.listen),
            admin: bound(Role::Admin, args.admin),
            control: bound(Role::Control, args.control),
        };
        let text = if args.json { providers.json_line(listeners) } else { providers.tour(listeners) };
        print_to(io::stdout(), &text);
        gateway.until_stopped().await
    });
    log_writer.flush();
    done
}
