//! Which keys a rule speaks of.

use regex::Regex;
use std::fmt;

/// An exact key, or a pattern: with `*` for any characters, or a regular expression between slashes.
#[derive(Debug, Clone)]
pub struct KeyPattern {
    source: String,
    regex: Option<Regex>,
}

impl KeyPattern {
    /// Compiles a key or a pattern. A regular expression has to match the whole key.
    pub fn parse(source: &str) -> Result<KeyPattern, String> {
        if source.is_empty() {
            return Err("is empty; expected a key, a pattern with `*`, or /a regular expression/".into());
        }
        let expression = match source.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            Some(expression) => Some(whole(expression)?),
            None if source.contains('*') => {
                Some(whole(&format!("(?s:{})", regex::escape(source).replace("\\*", ".*")))?)
            }
            None => None,
        };
        Ok(KeyPattern { source: source.to_owned(), regex: expression })
    }

    /// Whether it speaks of this key.
    pub fn matches(&self, key: &str) -> bool {
        self.regex.as_ref().map_or(self.source == key, |regex| regex.is_match(key))
    }

    /// The key, where it is an exact one.
    pub fn exact(&self) -> Option<&str> {
        self.regex.is_none().then_some(self.source.as_str())
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// A regular expression that has to match the whole text. It has to be one by itself: `a)|(b` would close our brackets.
pub(super) fn whole(expression: &str) -> Result<Regex, String> {
    compile(expression)?;
    compile(&format!("^(?:{expression})$"))
}

/// Compiles a regular expression, with a bound on what it may cost, and says in one line what is wrong with it.
fn compile(expression: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(expression).size_limit(1 << 20).build().map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        format!("is not a regular expression: {reason}")
    })
}

/// A list of keys and patterns.
#[derive(Debug, Clone, Default)]
pub struct KeyPatterns(pub Vec<KeyPattern>);

impl KeyPatterns {
    /// Whether any of them speaks of this key.
    pub fn matches(&self, key: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(key))
    }

    /// Whether there are none.
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
