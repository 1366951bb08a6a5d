//! Patterns of paths, and the requests outside of the governed surface that a dialect names by them.

/// A part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathPart {
    /// This word.
    Word(&'static str),
    /// The id of a session.
    Session,
    /// The id of a refresh token.
    RefreshToken,
    /// The id of a user.
    User,
    /// Any single part.
    Any,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A word that begins with one of these.
    StartsWith(&'static [&'static str]),
    /// Any further parts, also none.
    Rest,
    /// Any further parts, of which the last is one of these words.
    EndsWith(&'static [&'static str]),
}

/// What requests that are not governed mean for sessions, as far as they do not only read.
#[derive(Debug)]
pub struct InvalidationRule {
    /// The method; any where there is none.
    pub method: Option<&'static str>,
    /// The path, part by part, in lower case.
    pub path: &'static [PathPart],
    /// Whether they may change sessions.
    pub changes: bool,
}

impl InvalidationRule {
    /// Requests that may change sessions.
    pub(super) const fn changes(path: &'static [PathPart]) -> InvalidationRule {
        InvalidationRule { method: None, path, changes: true }
    }

    /// Requests that leave sessions as they are.
    pub(super) const fn keeps(path: &'static [PathPart]) -> InvalidationRule {
        InvalidationRule { method: None, path, changes: false }
    }

    /// The same with this method.
    pub(super) const fn with(self, method: &'static str) -> InvalidationRule {
        InvalidationRule { method: Some(method), ..self }
    }
}

/// Whether these parts of a path are of this pattern.
pub(super) fn matches<S: AsRef<str>>(pattern: &[PathPart], parts: &[S]) -> bool {
    match pattern.split_first() {
        None => parts.is_empty(),
        Some((PathPart::Rest, _)) => true,
        Some((PathPart::EndsWith(words), _)) => parts.last().is_some_and(|last| words.contains(&last.as_ref())),
        Some((part, pattern)) => parts.split_first().is_some_and(|(first, parts)| {
            let fits = match part {
                PathPart::Word(word) => *word == first.as_ref(),
                PathPart::OneOf(words) => words.contains(&first.as_ref()),
                PathPart::StartsWith(starts) => starts.iter().any(|start| first.as_ref().starts_with(start)),
                PathPart::Session
                | PathPart::RefreshToken
                | PathPart::User
                | PathPart::Any
                | PathPart::Rest
                | PathPart::EndsWith(_) => !first.as_ref().is_empty(),
            };
            fits && matches(pattern, parts)
        }),
    }
}
