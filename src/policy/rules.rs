//! Limits of the whole, and rules of single keys.

use super::keys::whole;
use crate::model::{Rule, Violation, Violations};
use regex::Regex;

/// How much metadata there may be. Lengths count UTF-16 code units, the strictest reading of "characters" among the
/// providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The most entries.
    pub properties: Option<usize>,
    /// The longest key.
    pub key_length: Option<usize>,
    /// The longest value.
    pub value_length: Option<usize>,
    /// Whether keys are held to `A-Z a-z 0-9 _ -`, at least one of them.
    pub plain_keys: bool,
}

impl Limits {
    pub(super) fn check_count(&self, name: &str, found: usize, violations: &mut Violations) {
        if let Some(most) = self.properties.filter(|most| found > *most) {
            violations.push(Violation {
                path: name.into(),
                rule: Rule::Count,
                message: format!("has {found} properties, at most {most} are allowed"),
            });
        }
    }

    pub(super) fn check_key(&self, path: &str, key: &str, violations: &mut Violations) {
        let found = units(key);
        if let Some(most) = self.key_length.filter(|most| found > *most) {
            violations.push(Violation {
                path: path.into(),
                rule: Rule::KeyLength,
                message: format!("has a key of {found} characters, at most {most} are allowed"),
            });
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if self.plain_keys && (key.is_empty() || !key.bytes().all(plain)) {
            violations.push(Violation {
                path: path.into(),
                rule: Rule::KeyCharacters,
                message: "has a key that is not made of letters, numbers, underscores and hyphens".into(),
            });
        }
    }

    pub(super) fn check_value(&self, path: &str, value: &str, violations: &mut Violations) {
        check_length(path, (units(value), "characters"), (None, self.value_length), violations);
    }

    /// The same of a value of bytes that are not text.
    pub(super) fn check_bytes(&self, path: &str, length: usize, violations: &mut Violations) {
        check_length(path, (length, "bytes"), (None, self.value_length), violations);
    }
}

/// The rule of one key, or of the keys of a pattern.
#[derive(Debug, Clone, Default)]
pub struct FieldRule {
    /// The value has to match it as a whole.
    pub regex: Option<Regex>,
    /// The value has to be one of these.
    pub one_of: Option<Vec<String>>,
    /// The shortest value.
    pub min_length: Option<usize>,
    /// The longest value.
    pub max_length: Option<usize>,
    /// The value that a change gets where it does not name the key.
    pub default: Option<String>,
}

impl FieldRule {
    /// Compiles a rule's regular expression, which has to match the whole value.
    pub fn pattern(source: &str) -> Result<Regex, String> {
        whole(source)
    }

    /// What is wrong with this value.
    pub fn check(&self, path: &str, value: &str, violations: &mut Violations) {
        check_length(path, (units(value), "characters"), (self.min_length, self.max_length), violations);
        if let Some(regex) = self.regex.as_ref().filter(|regex| !regex.is_match(value)) {
            let source = regex.as_str();
            let source = source.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(source);
            let list = || format!(" the pattern `{source}`");
            violations.report(path, Rule::Pattern, "does not match", list, "does not match its pattern");
        }
        if let Some(allowed) = self.one_of.as_ref().filter(|allowed| !allowed.iter().any(|one| one == value)) {
            let list = || format!(" `{}`", allowed.join("`, `"));
            violations.report(path, Rule::OneOf, "is not one of", list, "is not one of the allowed values");
        }
    }

    /// What is wrong with a value of this many bytes that are not text.
    pub fn check_bytes(&self, path: &str, length: usize, violations: &mut Violations) {
        check_length(path, (length, "bytes"), (self.min_length, self.max_length), violations);
        let textual = [(self.regex.is_some(), Rule::Pattern), (self.one_of.is_some(), Rule::OneOf)];
        for (_, rule) in textual.into_iter().filter(|(declared, _)| *declared) {
            violations.push(Violation { path: path.into(), rule, message: "is not text".into() });
        }
    }
}

fn check_length(
    path: &str,
    (found, unit): (usize, &str),
    (least, most): (Option<usize>, Option<usize>),
    violations: &mut Violations,
) {
    let mut report = |message| violations.push(Violation { path: path.into(), rule: Rule::ValueLength, message });
    if let Some(least) = least.filter(|least| found < *least) {
        report(format!("has {found} {unit}, at least {least} are required"));
    }
    if let Some(most) = most.filter(|most| found > *most) {
        report(format!("has {found} {unit}, at most {most} are allowed"));
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
