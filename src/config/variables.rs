//! References to variables in values: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, and `$$` for a single `$`.
//!
//! They are resolved after parsing, so the value of a variable cannot change the structure.

use super::environment::{NotUtf8, text_of};
use super::error::Problem;
use super::{Environment, FindingId};

/// A resolved value, and its form for messages.
#[derive(Debug)]
pub(super) struct Text {
    value: String,
    shown: String,
}

impl Text {
    /// Resolves the references in `source`. Fails with one error per invalid reference.
    pub fn resolve(source: &str, environment: &dyn Environment) -> Result<Text, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut value = String::new();
        let mut referring = false;
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('$') {
            value.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                value.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let (reference, after) = after.split_once('}').ok_or_else(|| vec![unclosed()])?;
                referring = true;
                rest = after;
                match resolve_reference(reference, environment) {
                    Ok(found) => value.push_str(&found),
                    Err(problem) => problems.push(problem),
                }
            } else {
                value.push('$');
                rest = after;
            }
        }
        value.push_str(rest);
        let shown = match source.escape_debug() {
            shown if referring => format!("the value of `{shown}`"),
            _ if source.is_empty() => "the value".to_owned(),
            shown => format!("`{shown}`"),
        };
        if problems.is_empty() { Ok(Text { value, shown }) } else { Err(problems) }
    }

    /// The value. Do not use it in messages: see [`Text::shown`].
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// The value for messages, with references to variables unresolved.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

const FORMS: &str = "expected `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, or `$$` for a single `$`";

fn wrong(found: impl Into<String>) -> Problem {
    Problem::new(found).id(FindingId::Variable)
}

fn unclosed() -> Problem {
    wrong("`${` is not closed by `}`").expected(FORMS)
}

fn resolve_reference(reference: &str, environment: &dyn Environment) -> Result<String, Problem> {
    let (name, rest) = reference.split_once(':').map_or((reference, None), |(name, rest)| (name, Some(rest)));
    if !is_name(name) || reference.contains("${") {
        return Err(malformed(reference));
    }
    let found = text_of(environment, name);
    let found = found.map_err(|NotUtf8| wrong(format!("environment variable `{name}` is not valid UTF-8")))?;
    let filled = found.clone().filter(|value| !value.is_empty());
    match rest.map(|rest| (rest.strip_prefix('-'), rest.strip_prefix('?'))) {
        None => found.ok_or_else(|| wrong(format!("environment variable `{name}` is not set"))),
        Some((Some(default), _)) => Ok(filled.unwrap_or_else(|| default.to_owned())),
        Some((None, Some(message))) => filled.ok_or_else(|| {
            let state = if found.is_some() { "empty" } else { "not set" };
            wrong(format!("environment variable `{name}` is {state}: {}", message.escape_debug()))
        }),
        Some((None, None)) => Err(malformed(reference)),
    }
}

fn malformed(reference: &str) -> Problem {
    wrong(format!("`${{{}}}` is not a valid variable reference", reference.escape_debug())).expected(FORMS)
}

/// Whether this is a valid name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
}
