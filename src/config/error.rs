//! Errors in a configuration, and their messages.

use std::fmt;

/// An error or warning with its location. It never contains a secret or the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The name of the text, as passed to [`super::compile`].
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
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
        f.write_str(&self.found)?;
        if let Some(allowed) = &self.allowed {
            write!(f, "; {allowed}")?;
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// An error without its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    found: String,
    allowed: Option<String>,
    suggestion: Option<String>,
}

impl Problem {
    /// An error with what was found.
    pub fn new(found: impl Into<String>) -> Problem {
        Problem { found: found.into(), allowed: None, suggestion: None }
    }

    /// Adds what is allowed.
    pub fn expected(mut self, allowed: impl Into<String>) -> Problem {
        self.allowed = Some(allowed.into());
        self
    }

    /// Suggests the known word that is most similar to `word`, if any is.
    pub fn like<'a>(mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
        let distance = |other: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &other.to_lowercase());
        let near = known.into_iter().map(|other| (distance(other), other)).min();
        let tolerance = 1 + word.chars().count() / 4;
        self.suggestion = near.filter(|(distance, _)| *distance <= tolerance).map(|(_, other)| other.to_owned());
        self
    }

    /// Adds the location.
    pub fn at(self, file: &str, location: &Location) -> ConfigError {
        let Position { line, column } = location.place;
        let path = location.path.clone();
        let Problem { found, allowed, suggestion } = self;
        ConfigError { file: file.to_owned(), line, column, path, found, allowed, suggestion }
    }
}

/// A line and a column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
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
