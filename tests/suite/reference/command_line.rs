//! The commands and their options: `docs/reference/command-line.md`.

use crate::harness::{generated_part, markdown_table};
use clap::{Arg, Command};

const WIDTH: usize = 120;

/// A text whose lines are not too long. Its paragraphs stay.
fn wrapped(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let mut lines = vec![String::new()];
        for word in paragraph.split_whitespace() {
            let line = lines.last_mut().unwrap();
            if line.is_empty() {
                line.push_str(word);
            } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
        lines.join("\n")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// A whole sentence.
fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with(['.', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// How an option is written: `-c`, `--config FILE`.
fn name(arg: &Arg) -> String {
    let values: Vec<&str> = arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
    let takes_value = arg.get_action().takes_values();
    let value = if takes_value { values.join(" ") } else { String::new() };
    match (arg.get_short(), arg.get_long()) {
        (None, None) if arg.is_required_set() => format!("`{value}`"),
        (None, None) => format!("`[{value}]`"),
        (short, long) => {
            let short = short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
            let long = long.map(|long| format!("--{long}")).unwrap_or_default();
            format!("{short}`{}`", format!("{long} {value}").trim())
        }
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    let values: Vec<String> = values
        .iter()
        .filter(|_| arg.get_action().takes_values())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}`: {}", value.get_name(), sentence(&help.to_string())),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    let documented = values.iter().any(|value| value.contains(": "));
    let values = values.join(if documented { " " } else { ", " });
    let help = help.split("\n\n").map(sentence).collect::<Vec<_>>().join(" ");
    if values.is_empty() {
        help
    } else {
        format!("{help} {}", if documented { values } else { format!("One of {values}.") })
    }
}

fn default(arg: &Arg) -> String {
    let values: Vec<String> = arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
    match values.is_empty() || !arg.get_action().takes_values() {
        true if arg.is_required_set() => "required".to_owned(),
        true => String::new(),
        false => values.join(", "),
    }
}

/// A section for each command.
fn section(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let more = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let text = if more.is_empty() { sentence(&about) } else { more.replacen(&about, &sentence(&about), 1) };
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help");
    let rows: Vec<[String; 3]> = args.map(|arg| [name(arg), meaning(arg), default(arg)]).collect();
    let table = if rows.is_empty() {
        String::new()
    } else {
        format!("\n{}", markdown_table(["option", "meaning", "default"], rows))
    };
    format!("### sessiongate {}\n\n{}\n{table}", command.get_name(), wrapped(&text))
}

#[test]
fn commands() {
    let command = sessiongate::cli::command_line();
    let sections: Vec<String> = command.get_subcommands().map(section).collect();
    generated_part("docs/reference/command-line.md", "commands", &sections.join("\n"));
}
