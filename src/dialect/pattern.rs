//! Path patterns, and the rules for requests that are not governed but may change sessions.

/// A segment of a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathPart {
    /// Exactly this word.
    Word(&'static str),
    /// A session ID.
    Session,
    /// A refresh token ID.
    RefreshToken,
    /// A user ID.
    User,
    /// The name of a tenant, such as a realm.
    Tenant,
    /// Any one segment.
    Any,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A word with one of these prefixes.
    StartsWith(&'static [&'static str]),
    /// Any number of further segments.
    Rest,
    /// One or more further segments, the last of which is one of these words.
    EndsWith(&'static [&'static str]),
}

/// What an ungoverned request may do to sessions, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleEffect {
    /// It changes none.
    Keeps,
    /// It may change any, if the provider accepts a credential that the gateway cannot check, such as a cookie.
    ChangesIfAccepted,
    /// It may change any.
    Changes,
}

/// What a kind of ungoverned request may do to sessions.
#[derive(Debug)]
pub struct InvalidationRule {
    /// The method; `None` matches any.
    pub method: Option<&'static str>,
    /// The path, segment by segment, in lower case.
    pub path: &'static [PathPart],
    /// What such requests may do to sessions.
    pub effect: RuleEffect,
}

impl InvalidationRule {
    /// A rule for requests that may change sessions.
    pub const fn changes(path: &'static [PathPart]) -> InvalidationRule {
        InvalidationRule { method: None, path, effect: RuleEffect::Changes }
    }

    /// A rule for requests that may change sessions, and that need no credential of those that the gateway knows.
    pub const fn if_accepted(path: &'static [PathPart]) -> InvalidationRule {
        InvalidationRule { method: None, path, effect: RuleEffect::ChangesIfAccepted }
    }

    /// A rule for requests that never change sessions.
    pub const fn keeps(path: &'static [PathPart]) -> InvalidationRule {
        InvalidationRule { method: None, path, effect: RuleEffect::Keeps }
    }

    /// Limits the rule to this method.
    pub const fn with_method(self, method: &'static str) -> InvalidationRule {
        InvalidationRule { method: Some(method), ..self }
    }
}

/// Whether these path segments match the pattern.
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
                | PathPart::Tenant
                | PathPart::Any
                | PathPart::Rest
                | PathPart::EndsWith(_) => !first.as_ref().is_empty(),
            };
            fits && matches(pattern, parts)
        }),
    }
}
