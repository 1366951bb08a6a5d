//! The commented example of a configuration.

use super::options::{below, unlinked};
use crate::harness::generated_file;
use sessiongate::config::options::{Fallback, Format, NamedMaps, Options, ROOT, Row, Shape};

/// The width of a line.
const WIDTH: usize = 120;
/// Where comments beside options begin, unless an option needs more room.
const COLUMN: usize = 30;
/// The longest option that moves the comments of its map to the right.
const LONGEST: usize = 36;

const HEAD: &str = "\
# yaml-language-server: $schema=schema.json
#
# Every option of sessiongate, once. The default of an option is in [brackets].
# The reference is docs/reference/configuration.md; `sessiongate check -c FILE` reports all errors with their location.
#
# Values may refer to environment variables: ${NAME}, ${NAME:-default}, ${NAME:?message}; $$ is a single $.
# Durations and sizes have units: 500ms, 30s, 5m, 1h30m, 7d; 512B, 64KiB, 1MiB, 1GiB.
";

/// An option of a map: its own line, and the lines below it.
struct Entry {
    /// Without indentation.
    line: String,
    comment: String,
    /// With indentation.
    below: Vec<String>,
    off: bool,
    /// Whether a blank line sets it apart.
    apart: bool,
}

/// Where a map stands in the example.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// The width that is left: maps that are commented out have less.
    width: usize,
}

impl Place {
    fn pad(self) -> String {
        "  ".repeat(self.depth)
    }

    fn below(self) -> Place {
        Place { depth: self.depth + 1, ..self }
    }
}

/// A text on lines of at most `width` columns, each after `begin`.
fn wrapped(text: &str, begin: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => *line = format!("{line} {word}"),
            _ => lines.push(format!("{begin}{word}")),
        }
    }
    lines
}

/// The first sentence of a text.
fn first_sentence(text: &str) -> String {
    let text = unlinked(text);
    text.split_once(". ").map_or(text.as_str(), |(first, _)| first).to_owned()
}

/// Which values are valid, after a comment that may say so already.
fn bounds(shape: &Shape, comment: &str) -> String {
    match shape {
        Shape::Duration(min, max) | Shape::Size(min, max) if ["0s", "0B"].contains(&min.as_str()) => {
            format!(", up to {max}")
        }
        Shape::Duration(min, max) | Shape::Size(min, max) => format!(", {min} to {max}"),
        Shape::Count(min, max) => format!(", {min} to {max}"),
        Shape::Ratio => ", 0 to 1".to_owned(),
        Shape::Words(words) if words.iter().all(|word| comment.to_lowercase().contains(word)) => String::new(),
        Shape::Words(words) => format!(": {}", words.join(", ")),
        Shape::Text(Format::RedisUrl(port)) => format!(", default port {port}"),
        Shape::Text(Format::Namespace(max)) => format!(", 1 to {max} characters from a-z 0-9 _ - ."),
        Shape::Secret(min) if *min > 1 => format!(", of at least {min} bytes"),
        Shape::List(item, Some(max)) => format!(", 1 to {max}{}", bounds(item, comment).replace(", of", " of")),
        Shape::List(item, None) => bounds(item, comment),
        Shape::WordsOr(words, other) => match bounds(other, comment) {
            bounds if bounds.is_empty() => bounds,
            bounds => format!("{bounds}, or {}", words.join(", ")),
        },
        _ => String::new(),
    }
}

/// The comment of an option: its meaning, the valid values, the default. `above` makes it a sentence.
fn comment(row: &Row, above: bool) -> String {
    let meaning = match row.example.comment {
        "-" => return String::new(),
        "" => first_sentence(row.text),
        comment => comment.to_owned(),
    };
    let meaning = meaning.trim_end_matches('.');
    let first = ["; ", ". "].into_iter().filter_map(|end| meaning.find(end)).min().unwrap_or(meaning.len());
    let (first, rest) = meaning.split_at(first);
    let end = if above { "." } else { "" };
    let said = [first, &bounds(&row.shape, meaning), rest, end].concat();
    let plain = |words: &str| unlinked(words).replace('`', "");
    match &row.default {
        Fallback::Required => format!("{}. Required.", said.trim_end_matches('.')),
        Fallback::Value(value, "") => format!("{said} [{}]", value.trim_matches(['[', ']'])),
        Fallback::Value(value, meaning) => format!("{said} [{value}: {}]", plain(meaning)),
        Fallback::Words(words) => format!("{said} [{}]", plain(words)),
        Fallback::Unset => said,
    }
}

/// A map as an item of a list.
fn item(options: &Options, place: Place) -> Vec<String> {
    let mut lines = map(options, 0, place.below());
    let (pad, inner) = (place.pad(), place.below().pad());
    lines[0] = format!("{pad}- {}", lines[0].strip_prefix(&inner).unwrap());
    lines
}

fn entry(row: &Row, options: &Options, place: Place) -> Entry {
    let width = if row.example.off { place.width - 2 } else { place.width };
    let inside = Place { width, ..place.below() };
    let (value, below) = match (&row.shape, below(&row.shape)) {
        (Shape::Named(named), _) => (String::new(), samples(named, inside)),
        (Shape::List(..), Some(inner)) => (String::new(), item(inner, inside)),
        (_, Some(inner)) => (String::new(), map(inner, 0, inside)),
        (_, None) => match (&row.default, row.example.value) {
            (Fallback::Value(value, _), "") => (format!(" {value}"), Vec::new()),
            (_, value) => (format!(" {value}"), Vec::new()),
        },
    };
    let apart = place.depth == 0 && (!below.is_empty() || matches!(row.shape, Shape::Secret(_)));
    let comment = comment(row, options.comments_above);
    Entry { line: format!("{}:{value}", row.key), comment, below, off: row.example.off, apart }
}

/// The options of a map that a sample shows.
fn map(options: &Options, sample: usize, place: Place) -> Vec<String> {
    let rows = options.rows().filter(|row| row.example.sample == sample);
    let entries: Vec<Entry> = rows.map(|row| entry(&row, options, place)).collect();
    let pad = place.pad();
    let width = |entry: &Entry| pad.len() + entry.line.len() + if entry.off { 2 } else { 0 };
    let widths = entries.iter().filter(|entry| !entry.comment.is_empty()).map(width);
    let column = widths.filter(|width| *width <= LONGEST).fold(COLUMN, |column, width| column.max(width + 2));
    let mut lines = Vec::new();
    let mut after_apart = false;
    for entry in &entries {
        if entry.apart || after_apart {
            lines.push(String::new());
        }
        after_apart = entry.apart;
        let own = format!("{pad}{}{}", if entry.off { "# " } else { "" }, entry.line);
        let beside = format!("{own:<column$}# {}", entry.comment);
        let beside = if own.len() + 2 > column { format!("{own}  # {}", entry.comment) } else { beside };
        if entry.comment.is_empty() {
            lines.push(own);
        } else if options.comments_above || beside.len() > place.width {
            lines.extend(wrapped(&entry.comment, &format!("{pad}# "), place.width));
            lines.push(own);
        } else {
            lines.push(beside);
        }
        let off = |line: &String| format!("{pad}# {}", line.strip_prefix(&pad).unwrap());
        lines.extend(entry.below.iter().map(|line| if entry.off { off(line) } else { line.clone() }));
    }
    lines
}

/// The named maps of options that the example shows.
fn samples(named: &NamedMaps, place: Place) -> Vec<String> {
    let pad = place.pad();
    let lines = named.samples.iter().enumerate().flat_map(|(index, sample)| {
        let comment = wrapped(sample.comment, &format!("{pad}# "), place.width)
            .into_iter()
            .filter(|_| !sample.comment.is_empty());
        let fixed = sample.lines.iter().map(|line| format!("{pad}  {line}"));
        let all: Vec<String> = comment.chain([format!("{pad}{}:", sample.name)]).chain(fixed).collect();
        let rows = if index > 0 && named.options.rows().all(|row| row.example.sample != index) {
            Vec::new()
        } else {
            map(named.options, index, place.below())
        };
        all.into_iter().chain(rows)
    });
    lines.collect()
}

#[test]
fn example() {
    let lines = map(&ROOT, 0, Place { depth: 0, width: WIDTH });
    generated_file("config/example.yaml", &format!("{HEAD}\n{}\n", lines.join("\n")));
}
