//! Patterns for the keys of a rule.

use super::inclusion;
use regex::Regex;
use std::fmt;

/// An exact key, or a pattern: `*` for any characters, or a regular expression between slashes.
#[derive(Debug, Clone)]
pub struct KeyPattern {
    source: String,
    regex: Option<Regex>,
}

impl KeyPattern {
    /// Compiles a key or a pattern. A regular expression must match the whole key.
    pub fn parse(source: &str) -> Result<KeyPattern, String> {
        if source.is_empty() {
            return Err("is empty; expected an exact text, a pattern with `*`, or a regular expression as `/…/`".into());
        }
        let expression = match expression(source) {
            Some(expression) => Some(compile_anchored(expression)?),
            None if source.contains('*') => {
                Some(compile_anchored(&format!("(?s:{})", regex::escape(source).replace("\\*", ".*")))?)
            }
            None => None,
        };
        Ok(KeyPattern { source: source.to_owned(), regex: expression })
    }

    /// Exactly this text, whatever characters it has.
    pub fn of_text(text: &str) -> KeyPattern {
        KeyPattern { source: text.to_owned(), regex: None }
    }

    /// Whether this key matches.
    pub fn matches(&self, key: &str) -> bool {
        self.regex.as_ref().map_or(self.source == key, |regex| regex.is_match(key))
    }

    /// Whether every text that `other` matches certainly matches this.
    pub fn covers(&self, other: &KeyPattern) -> bool {
        match &other.regex {
            None => self.matches(&other.source),
            Some(_) if self.source == "*" || self.source == other.source => true,
            Some(other) => {
                let own = self.regex.as_ref().map_or_else(|| anchored(&regex::escape(&self.source)), Regex::to_string);
                inclusion::includes(&own, other.as_str())
            }
        }
    }

    /// Whether certainly no text matches both. Regular expressions are compared with exact texts only.
    pub fn is_disjoint(&self, other: &KeyPattern) -> bool {
        match (self.exact(), other.exact()) {
            (Some(key), _) => !other.matches(key),
            (None, Some(key)) => !self.matches(key),
            (None, None) => {
                !self.is_expression() && !other.is_expression() && !have_common_text(&self.source, &other.source)
            }
        }
    }

    /// The key, if this is an exact key.
    pub fn exact(&self) -> Option<&str> {
        self.regex.is_none().then_some(self.source.as_str())
    }

    /// Whether this is a regular expression.
    pub fn is_expression(&self) -> bool {
        self.regex.is_some() && expression(&self.source).is_some()
    }

    /// The text from the configuration.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Whether some text matches both of two patterns with `*`.
fn have_common_text(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // Whether what is left of `one` from here has a common text with each rest of `other`, the longest first.
    let rests = |next: Option<(&char, &[bool])>| {
        let mut row = vec![false; other.len() + 1];
        for at in (0..=other.len()).rev() {
            let [same, behind] = [at, at + 1].map(|at| next.and_then(|(_, below)| below.get(at).copied()));
            let skipped = row.get(at + 1).copied().unwrap_or(false);
            let common = match (next.map(|(own, _)| *own), other.get(at)) {
                (None, None) => true,
                (None, Some(own)) => *own == '*' && skipped,
                (Some('*'), None) => same.unwrap_or(false),
                (Some('*'), Some(_)) => same.unwrap_or(false) || skipped,
                (Some(_), Some('*')) => same.unwrap_or(false) || skipped,
                (Some(own), Some(other)) => own == *other && behind.unwrap_or(false),
                (Some(_), None) => false,
            };
            if let Some(cell) = row.get_mut(at) {
                *cell = common;
            }
        }
        row
    };
    let last = rests(None);
    let first = one.iter().rev().fold(last, |below, own| rests(Some((own, &below))));
    first.first().copied().unwrap_or(false)
}

/// What is between slashes.
fn expression(source: &str) -> Option<&str> {
    source.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'))
}

/// Compiles a regular expression that must match the whole text. It must be valid on its own: `a)|(b` would otherwise
/// close the added parentheses.
pub(super) fn compile_anchored(expression: &str) -> Result<Regex, String> {
    compile(expression)?;
    compile(&anchored(expression))
}

fn anchored(expression: &str) -> String {
    format!("^(?:{expression})$")
}

/// Compiles a regular expression of bounded size. The error is one line.
fn compile(expression: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(expression).size_limit(1 << 20).build().map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        format!("is not a valid regular expression: {reason}")
    })
}

/// A list of keys and patterns.
#[derive(Debug, Clone, Default)]
pub struct KeyPatterns(pub Vec<KeyPattern>);

impl KeyPatterns {
    /// Whether any pattern matches this key.
    pub fn matches(&self, key: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(key))
    }

    /// Whether every text that one of `other` matches certainly matches one of these.
    pub fn cover(&self, other: &KeyPatterns) -> bool {
        other.0.iter().all(|one| self.0.iter().any(|own| own.covers(one)))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for KeyPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{}`", pattern.source)?;
        }
        Ok(())
    }
}
