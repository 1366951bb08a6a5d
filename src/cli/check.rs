//! The command `check`: validates a configuration, and with `--online` what it refers to.

mod hints;
mod json;
mod online;
mod report;
mod sarif;
mod text;

use super::command_error::{CommandError, other};
use super::output::print_to;
use super::random::random;
use super::tokio_runtime::on_runtime;
use crate::config::{Environment, Places};
use crate::reload::{LoadedConfig, Machine, Unusable};
use clap::{Args, ValueEnum};
use report::{Report, STDIN};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The largest configuration that is read from standard input, in bytes. A valid one is smaller.
const MAX_STDIN: u64 = 8 << 20;

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The configuration file, in YAML, or `-` for standard input: see config/example.yaml for every option
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Treat warnings as errors, for use before a deployment
    #[arg(long)]
    deploy: bool,
    /// Connect to what the configuration refers to: providers, issuers and the store
    ///
    /// Resolves names, connects with TLS, sends each provider a GET of the path of its `url` without a credential,
    /// fetches discovery documents and keys, and logs in to Redis. Only if the configuration has no errors.
    #[arg(long)]
    online: bool,
    /// The format of the findings
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// The format of findings.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each finding, on standard error
    Text,
    /// A JSON object, on standard output: docs/reference/check.schema.json describes it
    Json,
    /// SARIF 2.1.0, on standard output, for code scanning
    Sarif,
}

/// Runs the command. The exit status is 0 without errors, 1 with errors, 2 if the configuration cannot be read.
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    match report(args) {
        Ok(report) => {
            match args.format {
                Format::Text => text::print(&report, args.deploy),
                Format::Json => print_to(io::stdout(), &json::document(&report)),
                Format::Sarif => print_to(io::stdout(), &sarif::document(&report)),
            }
            ExitCode::from(report.status())
        }
        Err(error) => {
            print_to(io::stderr(), &error.to_string());
            ExitCode::from(2)
        }
    }
}

/// Checks the configuration. An error if it cannot be read.
fn report(args: &CheckArgs) -> Result<Report, CommandError> {
    let name = if is_stdin(&args.config) { STDIN.to_owned() } else { args.config.display().to_string() };
    let text = read(&args.config).map_err(|reason| other(format!("{name}: {reason}")))?;
    let mut report = Report::new(&name, args.deploy);
    match LoadedConfig::of(&name, &text, &Machine, random()?) {
        Ok(LoadedConfig { config, warnings, .. }) => {
            report.add_warnings(warnings);
            if args.online {
                on_runtime(config.threads, async {
                    report.add_checks(online::checks(&config).await, &Places::of(&name, &text));
                    Ok(())
                })?;
            }
        }
        Err(Unusable::Invalid(errors)) => report.add_errors(errors),
        Err(unread @ (Unusable::Unreadable(_) | Unusable::NoDescriptors)) => return Err(unread.into()),
    }
    Ok(report)
}

/// Whether this stands for standard input. A file with that name is `./-`.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = match is_stdin(path) {
        true => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().take(MAX_STDIN + 1).read_to_end(&mut bytes);
            read.map_err(|error| format!("cannot read standard input ({})", error.kind()))?;
            if bytes.len() as u64 > MAX_STDIN {
                return Err(format!("the text is larger than {} MiB", MAX_STDIN >> 20));
            }
            bytes
        }
        false => Machine.file(path)?,
    };
    String::from_utf8(bytes).map_err(|_| "the file is not valid UTF-8".to_owned())
}
