//! Errors in a configuration, and their messages.

use super::FindingId;
use crate::model::truncated;
use std::fmt;

/// The maximum length of each text of an error, in bytes: values of the configuration are repeated in it.
const MAX_TEXT: usize = 1000;
/// The maximum length of a word for which similar ones are searched, in bytes.
const MAX_WORD: usize = 100;

/// An error or warning with its location. It never contains a secret or the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// What kind of error or warning it is.
    pub id: FindingId,
    /// The name of the text, as passed to [`super::compile`].
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The column after the end of the value or key, if it ends in the same line.
    pub end_column: Option<usize>,
    /// The option's path: `upstreams.main.cache.ttl`. Empty for the text as a whole.
    pub path: String,
    /// What was found.
    pub found: String,
    /// What is allowed, unless obvious.
    pub allowed: Option<String>,
    /// A known word that is similar to an unknown one.
    pub suggestion: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text())
    }
}

impl ConfigError {
    /// The message without the location.
    pub fn text(&self) -> String {
        let allowed = self.allowed.as_ref().map(|allowed| format!("; {allowed}")).unwrap_or_default();
        let suggestion = self.suggestion.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
        format!("{}{allowed}{suggestion}", self.found)
    }

    /// The line, the option and the ID, for readers who must not see what the configuration contains.
    pub fn place(&self) -> String {
        // An unknown key is any text, and the last part of the path.
        let known = !matches!(self.id, FindingId::UnknownOption | FindingId::DuplicateKey) && !self.path.is_empty();
        let option = if known { format!(", option `{}`", self.path) } else { String::new() };
        format!("line {}{option} ({})", self.line, <&str>::from(self.id))
    }
}

impl std::error::Error for ConfigError {}

/// An error without its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    id: FindingId,
    found: String,
    allowed: Option<String>,
    suggestion: Option<String>,
}

impl Problem {
    /// An error with what was found. Its ID is that of an invalid value: see [`Problem::id`].
    pub fn new(found: impl Into<String>) -> Problem {
        Problem { id: FindingId::InvalidValue, found: found.into(), allowed: None, suggestion: None }
    }

    /// Sets the ID.
    pub fn id(mut self, id: FindingId) -> Problem {
        self.id = id;
        self
    }

    /// Names what the value is part of, before the message.
    pub fn within(mut self, what: &str) -> Problem {
        self.found = format!("{what}: {}", self.found);
        self
    }

    /// Adds what is allowed.
    pub fn expected(mut self, allowed: impl Into<String>) -> Problem {
        self.allowed = Some(allowed.into());
        self
    }

    /// Suggests the known word that is most similar to `word`, if any is: its singular or plural, or else the one with
    /// the fewest typos.
    pub fn like<'a>(mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
        if word.len() > MAX_WORD {
            return self;
        }
        let word = word.to_lowercase();
        let distance = |other: &str| match other.to_lowercase() {
            other if singular(&other) == singular(&word) => 0,
            other => strsim::damerau_levenshtein(&word, &other),
        };
        let near = known.into_iter().map(|other| (distance(other), other)).min();
        let tolerance = 1 + word.chars().count() / 4;
        self.suggestion = near.filter(|(distance, _)| *distance <= tolerance).map(|(_, other)| other.to_owned());
        self
    }

    /// Whether there is a suggestion.
    pub fn has_suggestion(&self) -> bool {
        self.suggestion.is_some()
    }

    /// Suggests something else if there is no suggestion yet.
    pub fn or_suggest(mut self, other: impl FnOnce() -> Option<String>) -> Problem {
        self.suggestion = self.suggestion.or_else(other);
        self
    }

    /// Adds the location.
    pub fn at(self, file: &str, location: &Location) -> ConfigError {
        let Position { line, column, end_column } = location.place;
        let Problem { id, found, allowed, suggestion } = self;
        ConfigError {
            id,
            file: file.to_owned(),
            line,
            column,
            end_column,
            path: truncated(location.path.clone(), MAX_TEXT),
            found: truncated(found, MAX_TEXT),
            allowed: allowed.map(|text| truncated(text, MAX_TEXT)),
            suggestion: suggestion.map(|text| truncated(text, MAX_TEXT)),
        }
    }
}

/// The singular of an English word.
fn singular(word: &str) -> String {
    match (word.strip_suffix("ies"), word.strip_suffix('s')) {
        (Some(stem), _) => format!("{stem}y"),
        (None, stem) => stem.unwrap_or(word).to_owned(),
    }
}

/// A line and a column, from 1, and the column after the end, if that is in the same line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
    pub end_column: Option<usize>,
}

/// The position and the path of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub path: String,
    pub place: Position,
}

/// The path of an option below another: `path.key` if the key is plain, `path["key"]` otherwise.
pub(super) fn path_below(path: &str, key: &str) -> String {
    if path.is_empty() { key.escape_debug().to_string() } else { crate::model::field_path(path, key) }
}

/// Formats words as a list: `a`, `b`.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
