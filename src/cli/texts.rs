//! The commands `schema`, `completions` and `man`: texts for editors, shells and readers.

use super::command_error::{CommandError, other};
use clap::error::ErrorKind;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// The JSON Schema of the configuration.
pub(super) const SCHEMA: &str = include_str!("../../config/schema.json");

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManArgs {
    /// The command that the page is about; default: the whole program
    command: Option<String>,
}

/// The completion script of a shell for this program.
pub(super) fn completions(args: &CompletionsArgs, mut program: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "sessiongate", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// A manual page of this program, in roff.
pub(super) fn man(args: &ManArgs, program: Command) -> Result<String, CommandError> {
    let mut program = program.disable_help_subcommand(true);
    // Gives each command its full name.
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => program.error(ErrorKind::InvalidValue, format!("unknown command `{name}`")).exit(),
        },
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(other)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
