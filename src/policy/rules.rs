//! Limits of the whole, and rules of single keys.

use super::keys::whole;
use crate::model::{Rule, Violation};
use regex::Regex;

/// How much metadata there may be. Lengths count UTF-16 code units, the strictest reading of "characters" among the providers.
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
    pub(super) fn judge_count(&self, name: &str, found: usize, violations: &mut Vec<Violation>) {
        if let Some(most) = self.properties.filter(|most| found > *most) {
            violations.push(Violation {
                path: name.into(),
                rule: Rule::Count,
                message: format!("has {found} properties, at most {most} are allowed"),
            });
        }
    }

    pub(super) fn judge_key(&self, path: &str, key: &str, violations: &mut Vec<Violation>) {
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

    pub(super) fn judge_value(&self, path: &str, value: &str, violations: &mut Vec<Violation>) {
        let found = units(value);
        if let Some(most) = self.value_length.filter(|most| found > *most) {
            violations.push(Violation {
                path: path.into(),
                rule: Rule::ValueLength,
                message: format!("has {found} characters, at most {most} are allowed"),
            });
        }
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
    pub fn judge(&self, path: &str, value: &str, violations: &mut Vec<Violation>) {
        let found = units(value);
        let mut report = |rule, message| violations.push(Violation { path: path.into(), rule, message });
        if let Some(least) = self.min_length.filter(|least| found < *least) {
            report(Rule::ValueLength, format!("has {found} characters, at least {least} are required"));
        }
        if let Some(most) = self.max_length.filter(|most| found > *most) {
            report(Rule::ValueLength, format!("has {found} characters, at most {most} are allowed"));
        }
        if let Some(regex) = self.regex.as_ref().filter(|regex| !regex.is_match(value)) {
            let source = regex.as_str();
            let source = source.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(source);
            report(Rule::Pattern, format!("does not match the pattern `{source}`"));
        }
        if let Some(allowed) = self.one_of.as_ref().filter(|allowed| !allowed.iter().any(|one| one == value)) {
            report(Rule::OneOf, format!("is not one of `{}`", allowed.join("`, `")));
        }
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
