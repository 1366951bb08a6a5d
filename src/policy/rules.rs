//! Limits of the metadata as a whole, and rules for single keys.

use super::keys::compile_anchored;
use crate::model::{EntryPath, Rule, Violation, Violations};
use regex::Regex;

/// Limits of metadata. Lengths count UTF-16 code units, the strictest reading of "characters" among the providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The maximum number of entries.
    pub properties: Option<usize>,
    /// The maximum length of a key.
    pub key_length: Option<usize>,
    /// The maximum length of a value.
    pub value_length: Option<usize>,
    /// Whether keys must consist of one or more of `A-Z a-z 0-9 _ -`.
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

    pub(super) fn check_key(&self, path: EntryPath, key: &str, violations: &mut Violations) {
        let found = utf16_length(key);
        if let Some(most) = self.key_length.filter(|most| found > *most) {
            violations.push(Violation {
                path: path.to_string(),
                rule: Rule::KeyLength,
                message: format!("has a key of {found} characters, at most {most} are allowed"),
            });
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if self.plain_keys && (key.is_empty() || !key.bytes().all(plain)) {
            violations.push(Violation {
                path: path.to_string(),
                rule: Rule::KeyCharacters,
                message: "has an invalid key; expected letters, numbers, underscores and hyphens".into(),
            });
        }
    }

    pub(super) fn check_value(&self, path: EntryPath, value: &str, violations: &mut Violations) {
        check_length(path, (utf16_length(value), "characters"), (None, self.value_length), violations);
    }

    /// Checks a value that is not text. Its length counts bytes.
    pub(super) fn check_bytes(&self, path: EntryPath, length: usize, violations: &mut Violations) {
        check_length(path, (length, "bytes"), (None, self.value_length), violations);
    }
}

/// The rule for one key, or for the keys that match a pattern.
#[derive(Debug, Clone, Default)]
pub struct FieldRule {
    /// The value must match this as a whole.
    pub regex: Option<Regex>,
    /// The value must be one of these.
    pub one_of: Option<Vec<String>>,
    /// The minimum length of a value.
    pub min_length: Option<usize>,
    /// The maximum length of a value.
    pub max_length: Option<usize>,
    /// The value to add if a write does not contain the key.
    pub default: Option<String>,
}

impl FieldRule {
    /// Compiles a regular expression that must match the whole value.
    pub fn pattern(source: &str) -> Result<Regex, String> {
        compile_anchored(source)
    }

    /// Checks a value.
    pub fn check(&self, path: EntryPath, value: &str, violations: &mut Violations) {
        check_length(path, (utf16_length(value), "characters"), (self.min_length, self.max_length), violations);
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

    /// Checks a value that is not text. `length` is in bytes.
    pub fn check_bytes(&self, path: EntryPath, length: usize, violations: &mut Violations) {
        check_length(path, (length, "bytes"), (self.min_length, self.max_length), violations);
        let textual = [(self.regex.is_some(), Rule::Pattern), (self.one_of.is_some(), Rule::OneOf)];
        for (_, rule) in textual.into_iter().filter(|(declared, _)| *declared) {
            violations.push(Violation { path: path.to_string(), rule, message: "is not UTF-8 text".into() });
        }
    }
}

fn check_length(
    path: EntryPath,
    (found, unit): (usize, &str),
    (least, most): (Option<usize>, Option<usize>),
    violations: &mut Violations,
) {
    let mut report = |message| violations.push(Violation { path: path.to_string(), rule: Rule::ValueLength, message });
    if let Some(least) = least.filter(|least| found < *least) {
        report(format!("has {found} {unit}, at least {least} are required"));
    }
    if let Some(most) = most.filter(|most| found > *most) {
        report(format!("has {found} {unit}, at most {most} are allowed"));
    }
}

fn utf16_length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}
