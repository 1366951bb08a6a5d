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
use crate::sandbox::{self, Addresses, Certificate, Listeners, Providers, Reached, TENANT_RATE};
use crate::wire::hex;
use clap::Args;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
    /// HTTPS: the gateway and the simulated providers get a certificate of a CA that is made for this run
    #[arg(long)]
    tls: bool,
    /// Where to write the CA's certificate, which clients have to trust [default: a temporary file]
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_file: Option<PathBuf>,
    /// Print one line of JSON with addresses, tokens and ids when ready, and nothing else on standard output
    #[arg(long)]
    json: bool,
}

/// This machine's environment, with random secrets and a certificate for the life of the process.
struct Ephemeral {
    keys: [String; 2],
    introspection: String,
    certificate: Option<Certificate>,
}

impl Ephemeral {
    fn new(providers: &Providers, certificate: Option<Certificate>) -> Result<Ephemeral, CommandError> {
        let introspection = providers.verified.instance().api_application().secret.clone();
        Ok(Ephemeral { keys: [hex::text(&random()?), hex::text(&random()?)], introspection, certificate })
    }
}

impl Environment for Ephemeral {
    fn variable(&self, name: &str) -> Option<std::ffi::OsString> {
        let [hash_key, seal_key] = &self.keys;
        match name {
            sandbox::HASH_KEY => Some(hash_key.into()),
            sandbox::SEAL_KEY => Some(seal_key.into()),
            sandbox::INTROSPECTION_SECRET => Some((&self.introspection).into()),
            _ => Machine.variable(name),
        }
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        let own = self.certificate.as_ref().zip(path.to_str()).and_then(|(own, path)| own.file(path));
        own.map_or_else(|| Machine.file(path), |text| Ok(text.as_bytes().to_vec()))
    }
}

/// The file with the CA's certificate. Without a name it is in a folder of its own, which goes with this value.
struct CaFile {
    path: PathBuf,
    folder: Option<PathBuf>,
}

impl CaFile {
    /// Writes it: everybody may read it, and only its owner may change it.
    fn write(path: Option<&Path>, certificate: &Certificate) -> Result<CaFile, CommandError> {
        let Some(path) = path else { return CaFile::write_temporary(certificate) };
        let path = std::path::absolute(path).map_err(|error| unwritable(path, &error))?;
        // A typing error must not cost a private key.
        if fs::read(&path).is_ok_and(|found| !found.is_empty() && !Certificate::is_certificate(&found)) {
            return Err(other(format!("{} is not replaced: it is not a certificate", path.display())));
        }
        fs::write(&path, &certificate.authority).map_err(|error| unwritable(&path, &error))?;
        Ok(CaFile { path, folder: None })
    }

    fn write_temporary(certificate: &Certificate) -> Result<CaFile, CommandError> {
        let random = hex::text(&random()?);
        let name = format!("sessiongate-sandbox-{}", random.get(..12).unwrap_or_default());
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o755).create(&folder).map_err(|error| unwritable(&folder, &error))?;
        let written = CaFile { path: folder.join("ca.pem"), folder: Some(folder) };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&written.path);
        let done = file.and_then(|mut file| file.write_all(certificate.authority.as_bytes()));
        done.map_err(|error| unwritable(&written.path, &error))?;
        Ok(written)
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_file(&self.path).and_then(|()| fs::remove_dir(folder));
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    other(format!("cannot write the CA's certificate to {}: {error}", path.display()))
}

/// Runs the command.
pub(super) fn run(args: &SandboxArgs) -> Result<(), CommandError> {
    let log_writer = LogWriter::new(io::stderr()).map_err(other)?;
    let done = on_runtime(None, serve(args, log_writer.clone()));
    log_writer.flush();
    done
}

async fn serve(args: &SandboxArgs, log_writer: LogWriter) -> Result<(), CommandError> {
    let addresses = Addresses { auth0: args.auth0, zitadel: args.zitadel, verified: args.zitadel_verified };
    let ips = [args.listen, args.auth0, args.zitadel, args.zitadel_verified].map(|address| address.ip());
    let certificate = args.tls.then(|| Certificate::new(ips)).transpose().map_err(other)?;
    let rate = (args.rate > 0).then_some(args.rate);
    let providers = Providers::start(addresses, rate, certificate.as_ref()).await.map_err(other)?;
    let listeners = Listeners { gateway: args.listen, admin: args.admin, control: args.control };
    let text = providers.configuration(listeners, args.store.as_deref());
    let environment = Ephemeral::new(&providers, certificate)?;
    let loaded = LoadedConfig::of("sandbox", &text, &environment, random()?)?;
    let gateway = Started::new(&loaded, log_writer, CaughtSignals::new().map_err(other)?, None).await?;
    gateway.ready().await;
    let ca_file = environment.certificate.map(|own| CaFile::write(args.ca_file.as_deref(), &own)).transpose()?;
    let bound = |role, configured| gateway.operations.address(role).parse().unwrap_or(configured);
    let listeners = Listeners {
        gateway: gateway.listen.parse().unwrap_or(args.listen),
        admin: bound(Role::Admin, args.admin),
        control: bound(Role::Control, args.control),
    };
    let reached = Reached { listeners, ca_file: ca_file.as_ref().map(|file| file.path.as_path()) };
    let text = if args.json { providers.json_line(reached) } else { providers.tour(reached) };
    print_to(io::stdout(), &text);
    gateway.until_stopped().await
}
