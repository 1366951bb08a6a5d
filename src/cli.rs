//! The command line. No other module prints.

mod check;
mod command_error;
mod exchange;
mod init;
mod lifecycle;
mod log;
mod operations;
mod output;
mod probe;
mod purge;
mod random;
#[cfg(feature = "sandbox")]
mod sandbox;
mod signals;
mod texts;
mod tokio_runtime;

use crate::admin::Role;
use crate::descriptors;
use crate::log_writer::LogWriter;
use crate::reload::{Fingerprints, LoadedConfig, Source};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use command_error::{CommandError, other};
use lifecycle::Started;
use output::print_to;
use random::random;
use signals::CaughtSignals;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio_runtime::on_runtime;

/// Enforces session policies in front of identity providers.
///
/// sessiongate is a reverse proxy in front of an identity provider's API. It verifies callers, validates and normalizes
/// session writes, serves session reads from a cache that is never stale after an acknowledged write, and passes all
/// other requests through.
#[derive(Parser)]
#[command(name = "sessiongate", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    ///
    /// Reads the configuration, binds its listeners and serves. Exits with status 1 and a message if the configuration
    /// is invalid or a port is taken. SIGTERM and SIGINT stop it: readiness fails at once, connections are accepted for
    /// `shutdown.drain_delay`, and the process exits when no request is in flight, after `shutdown.grace` at the
    /// latest. A second signal stops it immediately. SIGHUP reloads the configuration; with `reload.watch` a change of
    /// its files does too. An invalid configuration is rejected, and the previous one stays in use. SIGQUIT hands the
    /// listeners over to a process that was started with `--upgrade`. SIGUSR1 and SIGUSR2 do nothing but a line in the
    /// log: there is no log file to reopen.
    Run(RunArgs),
    /// Check a configuration
    ///
    /// Prints every error with its file, line and column, what was found and what is allowed. Reads the files and
    /// environment variables that the configuration names, and opens no connection without `--online`. Exit status: 0
    /// if the configuration is OK, 1 if it has errors or a check of `--online` failed, 2 if it cannot be read or the
    /// command line is invalid.
    Check(check::CheckArgs),
    /// Print a first configuration
    ///
    /// Prints a configuration for one provider, with comments, on standard output: `sessiongate init --dialect auth0
    /// --url https://acme.eu.auth0.com > sessiongate.yaml`. It opens no connection, and reads and writes no file:
    /// secrets and certificates are references to files, and comments have the commands that make them.
    Init(init::InitArgs),
    /// Try the gateway with a simulated Auth0 tenant and a simulated ZITADEL
    ///
    /// Starts both, and the gateway in front of them with its listeners for operations, in one process, and prints
    /// commands to try.
    /// Needs no account, and no Redis unless `--redis` is set. Ctrl-C stops it.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::SandboxArgs),
    /// Purge cached responses of a running gateway
    ///
    /// Purges one session, or all sessions of an upstream, in every replica that shares the store. Exits with status 0
    /// when the store has confirmed it, otherwise with 1.
    Purge(purge::PurgeArgs),
    /// Probe a running gateway: is it ready, is it alive?
    ///
    /// For `exec` probes, for health checks of images without a shell, and for tests. Prints one line and exits with
    /// status 0 if the gateway is ready (or alive), otherwise with status 1; the line then says why.
    Probe(probe::ProbeArgs),
    /// Print the JSON Schema of the configuration, for editors
    ///
    /// It describes every option with its default and allowed values. Refer to it in the first line of a configuration:
    /// `# yaml-language-server: $schema=schema.json`.
    Schema,
    /// Print a shell completion script
    Completions(texts::CompletionsArgs),
    /// Print a manual page, in roff
    Man(texts::ManArgs),
}

#[derive(Args)]
struct FileArgs {
    /// The configuration file, in YAML: see config/example.yaml for every option
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Replace a running process: wait at `shutdown.upgrade_socket` for its listeners, which it hands over on SIGQUIT
    #[arg(long)]
    upgrade: bool,
}

/// The commands and their options, from which the reference is rendered.
pub fn command_line() -> clap::Command {
    CommandLine::command()
}

/// Runs the program. Returns its exit status.
pub fn main() -> ExitCode {
    // Must come first: libraries that set up TLS or verify tokens use the process's crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    crate::token::install_crypto_provider();
    let result = match CommandLine::parse().command {
        Command::Run(args) => run(&args),
        Command::Check(args) => return check::run(&args),
        Command::Init(args) => {
            let text = init::configuration(&args).unwrap_or_else(|reasons| invalid("init", &reasons.join("\n")));
            print_to(io::stdout(), text.trim_end());
            Ok(())
        }
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Purge(args) => on_runtime(Some(1), async {
            purge::purge(&args).await?;
            print_to(io::stdout(), "purged");
            Ok(())
        }),
        Command::Probe(args) => on_runtime(Some(1), async {
            let found = probe::probe(&args).await?;
            print_to(io::stdout(), &found);
            Ok(())
        }),
        Command::Schema => {
            print_to(io::stdout(), texts::SCHEMA.trim_end());
            Ok(())
        }
        Command::Completions(args) => {
            print_to(io::stdout(), texts::completions(&args, CommandLine::command()).trim_end());
            Ok(())
        }
        Command::Man(args) => {
            texts::man(&args, CommandLine::command()).map(|page| print_to(io::stdout(), page.trim_end()))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_to(io::stderr(), &error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Ends the process with the exit status and the usage of an invalid command line.
fn invalid(command: &str, reason: &str) -> ! {
    let mut program = CommandLine::command();
    // Gives each command its full name.
    program.build();
    let command = program.find_subcommand(command).cloned();
    command.unwrap_or(program).error(ErrorKind::InvalidValue, reason).exit()
}

/// Reads a configuration and prints its warnings.
fn read(source: &Source) -> Result<(Fingerprints, LoadedConfig), CommandError> {
    let (fingerprints, loaded) = source.read();
    let loaded = loaded?;
    for warning in &loaded.warnings {
        print_to(io::stderr(), &format!("warning: {warning}"));
    }
    Ok((fingerprints, loaded))
}

fn run(args: &RunArgs) -> Result<(), CommandError> {
    if check::is_stdin(&args.file.config) {
        let why = "`run` cannot read the configuration from standard input, since a reload could not read it again; \
            use a file, or `check -c -`";
        invalid("run", why);
    }
    signals::catch_early()?;
    descriptors::raise_limit();
    let source = Source::new(&args.file.config, random()?);
    let (fingerprints, loaded) = read(&source)?;
    let log_writer = LogWriter::new(io::stdout()).map_err(other)?;
    let started = on_runtime(loaded.config.threads, async {
        let caught = CaughtSignals::new().map_err(other)?;
        let inherited = if args.upgrade { Some(lifecycle::inherited(&loaded.config.shutdown).await?) } else { None };
        let mut gateway = Started::new(&loaded, log_writer.clone(), caught, inherited).await?;
        let [admin, control] = [Role::Admin, Role::Control].map(|role| gateway.operations.address(role));
        tracing::info!(listen = %gateway.listen, admin, control, hash = loaded.hash, "serving");
        gateway.reload(source, loaded.config, fingerprints);
        gateway.until_stopped().await
    });
    log_writer.flush();
    started
}
