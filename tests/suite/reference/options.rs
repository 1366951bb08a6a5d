//! The options in the reference: a table for each map of options, and which need a restart.

use crate::harness::generated_part;
use regex::Regex;
use sessiongate::config::options::{Fallback, Format, Options, ROOT, Row, SECRET, Shape};

/// The map of options, or maps of options by name or in a list, that an option contains.
pub fn below(shape: &Shape) -> Option<&'static Options> {
    match shape {
        Shape::Map(options) | Shape::AddressOr(options) => Some(options),
        Shape::Named(named) => Some(named.options),
        Shape::List(inner, _) | Shape::WordsOr(_, inner) | Shape::OneOrSeveral(inner) => below(inner),
        _ => None,
    }
}

/// Words in backticks.
fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What a shape alone says about what is allowed.
fn allowed_by(shape: &Shape) -> String {
    match shape {
        Shape::Boolean => listed(&["true", "false"]),
        Shape::Duration(min, max) | Shape::Size(min, max) => format!("`{min}` to `{max}`"),
        Shape::Count(min, max) => format!("{min} to {max}"),
        Shape::Ratio => "0 to 1".to_owned(),
        Shape::Words(words) => listed(words),
        Shape::Text(Format::RedisUrl(port)) => format!("address, default port {port}"),
        Shape::Text(Format::Namespace(max)) => format!("1 to {max} characters from `a-z`, `0-9`, `_`, `-`, `.`"),
        Shape::Secret(min) if *min > 1 => format!("[reference](#secrets) to at least {min} bytes"),
        Shape::List(item, max) => match (&**item, max) {
            (Shape::Words(words), _) => format!("list of {}", listed(words)),
            (Shape::Text(Format::RedisUrl(port)), _) => format!("list of addresses, default port {port}"),
            (Shape::Secret(min), Some(max)) => {
                format!("list of 1 to {max} [references](#secrets) to at least {min} bytes")
            }
            _ => String::new(),
        },
        Shape::WordsOr(words, other) => match (allowed_by(other), &**other) {
            (map, Shape::Map(_) | Shape::OneOrSeveral(_)) if !map.is_empty() => format!("{map}, {}", listed(words)),
            (bounds, _) if !bounds.is_empty() => format!("{}, {bounds}", listed(words)),
            _ => String::new(),
        },
        Shape::Map(_) => "map".to_owned(),
        Shape::OneOrSeveral(item) if matches!(**item, Shape::Map(_)) => "map, or a list of maps".to_owned(),
        Shape::Text(_)
        | Shape::Secret(_)
        | Shape::OneOrSeveral(_)
        | Shape::Named(_)
        | Shape::ByName(_)
        | Shape::AddressOr(_) => String::new(),
    }
}

/// What is allowed, in Markdown.
pub fn allowed(row: &Row) -> String {
    let parts = [allowed_by(&row.shape), row.allowed.to_owned()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A text in Markdown without its links, and without sentences that only refer to another place.
pub fn unlinked(text: &str) -> String {
    let references = Regex::new(r" ?See \[[^\]]*\]\([^)]*\)\.").unwrap();
    let links = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    links.replace_all(&references.replace_all(text, ""), "$1").trim().to_owned()
}

fn default(row: &Row) -> String {
    match &row.default {
        Fallback::Required => "required".to_owned(),
        Fallback::Value(value, "") => format!("`{value}`"),
        Fallback::Value(value, meaning) => format!("`{value}`: {meaning}"),
        Fallback::Words(words) => (*words).to_owned(),
        Fallback::Unset => String::new(),
    }
}

fn meaning(row: &Row) -> String {
    let restart = match row.restart {
        Some("") => " A change needs a restart.".to_owned(),
        Some(note) => format!(" A change needs a restart ({note})."),
        None => String::new(),
    };
    let heading = below(&row.shape).map_or("", |options| options.heading);
    let is_map = matches!(row.shape, Shape::Map(_) | Shape::WordsOr(..));
    let anchor = heading.to_lowercase().replace(' ', "-").replace('.', "");
    let reference = if is_map && !heading.is_empty() { format!(" See [{heading}](#{anchor}).") } else { String::new() };
    [row.text, &restart, &reference].concat()
}

/// The rows of a table: the options of a map, and those of maps in it that have no table of their own.
fn rows(options: &Options) -> Vec<String> {
    let lines = options.rows().flat_map(|row| {
        let line = format!("| `{}` | {} | {} | {} |\n", row.key, meaning(&row), default(&row), allowed(&row));
        let inner = below(&row.shape).filter(|options| options.heading.is_empty());
        std::iter::once(line.replace("|  |", "| |")).chain(inner.into_iter().flat_map(rows))
    });
    lines.collect()
}

/// A map, and all maps in it.
fn maps(options: &'static Options) -> Vec<&'static Options> {
    let inner = options.rows().filter_map(|row| below(&row.shape)).flat_map(maps);
    std::iter::once(options).chain(inner).collect()
}

#[test]
fn tables_of_options() {
    for options in maps(&ROOT).into_iter().chain([&SECRET]).filter(|options| !options.heading.is_empty()) {
        let table = format!("| Option | Meaning | Default | Allowed |\n|---|---|---|---|\n{}", rows(options).concat());
        generated_part("docs/reference/configuration.md", &format!("options: {}", options.heading), &table);
    }
}

/// The options that need a restart, with their paths.
fn restarts(options: &Options, path: &str) -> Vec<String> {
    let found = options.rows().flat_map(|row| {
        let own = format!("{path}{}", row.key);
        let line = row.restart.map(|note| match note {
            "" => format!("- `{own}`\n"),
            note => format!("- `{own}` ({note})\n"),
        });
        let inner = match &row.shape {
            Shape::Map(options) => restarts(options, &format!("{own}.")),
            _ => Vec::new(),
        };
        line.into_iter().chain(inner)
    });
    found.collect()
}

#[test]
fn options_that_need_a_restart() {
    generated_part("docs/operations/reload.md", "options that need a restart", &restarts(&ROOT, "").concat());
}
