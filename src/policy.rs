//! Policies: what a write may do. A pure judgement over the view of a write; it never sees bytes, sockets or clocks.

mod extras;
mod keys;
mod normalize;
mod rules;

pub use extras::{ExtraRules, LifetimeRule, LinkRule, Outside, ReturnCode};
pub use keys::{KeyPattern, KeyPatterns};
pub use normalize::{KeyCase, Normalize};
pub use rules::{FieldRule, Limits};

use crate::model::{Edit, Field, MetadataChange, Rule, SessionPatch, Value, Violation, field_path};
use normalize::Entry;
use std::collections::HashMap;

/// Whether a policy's verdicts count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// A violation refuses the request.
    #[default]
    Enforce,
    /// A violation is only recorded; the request goes on as the caller wrote it, without edits.
    Audit,
}

/// What a request that removes all metadata meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wipe {
    /// It may pass, as long as no required or protected key would be lost.
    #[default]
    Allow,
    /// It is a violation.
    Refuse,
}

/// A compiled policy.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Whether its verdicts count.
    pub mode: Mode,
    /// What a wipe meets.
    pub wipe: Wipe,
    /// The limits: the provider's, or tighter ones.
    pub limits: Limits,
    /// The keys that may be set; all of them where there is no list.
    pub allowed: Option<KeyPatterns>,
    /// The keys that must be there: at least one for each pattern.
    pub required: Vec<KeyPattern>,
    /// The keys that callers may neither add, change nor remove.
    pub protected: KeyPatterns,
    /// The rules of single keys: the first whose pattern matches counts.
    pub fields: Vec<(KeyPattern, FieldRule)>,
    /// What is rewritten before it is judged.
    pub normalize: Normalize,
    /// What else writes may do.
    pub extras: ExtraRules,
}

/// The proof that a write was judged: the edits that make the document what was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    edits: Vec<Edit>,
}

impl Permit {
    /// What has to change in the document before it is forwarded.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }
}

/// What the judgement needs to know from outside before it can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The session's metadata as it is now.
    CurrentMetadata,
}

/// The outcome of a judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The write may pass, with these edits.
    Permit(Permit),
    /// The write may not pass: everything that is wrong with it.
    Refuse(Vec<Violation>),
    /// Nothing is wrong so far; ask again with the evidence.
    Need(Need),
}

impl Policy {
    /// Judges a write. `current` is the session's metadata as it is now: only asked for where keys are protected.
    pub fn evaluate(&self, patch: &SessionPatch, current: Option<&[Field]>) -> Judgement {
        let mut violations = patch.extras.breaches.clone();
        let more = self.extras.judge(&patch.extras, &mut violations);
        if patch.empty {
            violations.push(Violation {
                path: "body".into(),
                rule: Rule::EmptyBody,
                message: format!("is empty; expected `{}`", patch.name),
            });
        }
        let (entries, edits) = match &patch.metadata {
            MetadataChange::Absent => {
                if patch.extras.creates {
                    self.judge_required(patch.name, &[], &mut violations);
                }
                return conclude(violations, more);
            }
            MetadataChange::Malformed(found) => {
                violations.push(type_violation(patch.name, found));
                return conclude(violations, more);
            }
            MetadataChange::Wipe => {
                self.judge_wipe(patch, &mut violations);
                (Vec::new(), Vec::new())
            }
            MetadataChange::Replace(fields) => self.judge_fields(patch, fields, current, &mut violations),
        };
        if violations.is_empty() && !self.protected.is_empty() {
            let Some(current) = current else {
                return Judgement::Need(Need::CurrentMetadata);
            };
            self.judge_protected(patch, &entries, current, &mut violations);
        }
        conclude(violations, [edits, more].concat())
    }

    fn judge_wipe(&self, patch: &SessionPatch, violations: &mut Vec<Violation>) {
        if self.wipe == Wipe::Refuse {
            violations.push(Violation {
                path: patch.name.into(),
                rule: Rule::Wipe,
                message: "may not be removed as a whole".into(),
            });
        }
        self.judge_required(patch.name, &[], violations);
    }

    fn judge_fields(
        &self,
        patch: &SessionPatch,
        fields: &[Field],
        current: Option<&[Field]>,
        violations: &mut Vec<Violation>,
    ) -> (Vec<Entry>, Vec<Edit>) {
        let name = patch.name;
        // What is protected and comes back as it is stays as it is, also where it is not in normal form.
        let untouched = |field: &Field| {
            current.is_some_and(|current| self.protected.matches(&field.key) && current.contains(field))
        };
        let mut entries = self.normalize.entries(fields, untouched);
        let says = |entry: &Entry| patch.empties_wipe || entry.value != Value::Text(String::new());
        let emptied = !fields.is_empty() && !entries.iter().any(says);
        entries.extend(self.defaults(&entries, emptied));
        if emptied && patch.empties_wipe {
            violations.push(Violation {
                path: name.into(),
                rule: Rule::Wipe,
                message: "would be removed as a whole, since dropping empty values leaves nothing of it".into(),
            });
        }
        collisions(name, fields, &entries, violations);
        self.limits.judge_count(name, entries.len(), violations);
        for entry in &entries {
            self.judge_entry(name, fields, entry, violations);
        }
        // Where nothing remains nothing is written; and what has no value is not kept by such a provider.
        let kept: Vec<Entry> = entries.iter().filter(|entry| says(entry)).cloned().collect();
        if !emptied || patch.extras.creates {
            self.judge_required(name, &kept, violations);
        }
        let edits = normalize::edits(fields, &entries);
        (entries, edits)
    }

    /// The entries that rules with a default add.
    fn defaults(&self, entries: &[Entry], emptied: bool) -> Vec<Entry> {
        if emptied {
            return Vec::new();
        }
        let missing = |key: &str| !entries.iter().any(|entry| entry.key == key);
        let rules = self.fields.iter().filter_map(|(pattern, rule)| Some((pattern.exact()?, rule.default.as_ref()?)));
        rules
            .filter(|(key, _)| missing(key))
            .map(|(key, value)| Entry { field: None, key: key.to_owned(), value: Value::Text(value.clone()) })
            .collect()
    }

    fn judge_entry(&self, name: &str, fields: &[Field], entry: &Entry, violations: &mut Vec<Violation>) {
        // It may only stay what it is, so no other rule speaks of it.
        if self.protected.matches(&entry.key) {
            return;
        }
        let path = entry.path(name, fields);
        self.limits.judge_key(&path, &entry.key, violations);
        if let Some(allowed) = &self.allowed
            && !allowed.matches(&entry.key)
        {
            violations.push(Violation {
                path: path.clone(),
                rule: Rule::Allowed,
                message: format!("is not an allowed key; allowed are {allowed}"),
            });
        }
        if let Value::Bytes(bytes) = &entry.value {
            self.judge_bytes(&path, &entry.key, bytes.len(), violations);
            return;
        }
        let Value::Text(text) = &entry.value else {
            violations.push(Violation {
                path,
                rule: Rule::Type,
                message: format!("expected a string, found {}", entry.value.kind()),
            });
            return;
        };
        self.limits.judge_value(&path, text, violations);
        if let Some((_, rule)) = self.fields.iter().find(|(pattern, _)| pattern.matches(&entry.key)) {
            rule.judge(&path, text, violations);
        }
    }

    /// What is no text cannot meet a rule that speaks of text.
    fn judge_bytes(&self, path: &str, key: &str, length: usize, violations: &mut Vec<Violation>) {
        let rule = self.fields.iter().find(|(pattern, _)| pattern.matches(key)).map(|(_, rule)| rule);
        let text = rule.is_some_and(|rule| rule.regex.is_some() || rule.one_of.is_some());
        let mut report = |rule, message| violations.push(Violation { path: path.into(), rule, message });
        if text {
            report(Rule::Type, "expected text, found bytes that are not UTF-8".into());
        }
        let most = [self.limits.value_length, rule.and_then(|rule| rule.max_length)].into_iter().flatten().min();
        if let Some(most) = most.filter(|most| length > *most) {
            report(Rule::ValueLength, format!("has {length} bytes, at most {most} are allowed"));
        }
        if let Some(least) = rule.and_then(|rule| rule.min_length).filter(|least| length < *least) {
            report(Rule::ValueLength, format!("has {length} bytes, at least {least} are required"));
        }
    }

    fn judge_required(&self, name: &str, entries: &[Entry], violations: &mut Vec<Violation>) {
        for pattern in &self.required {
            if !entries.iter().any(|entry| pattern.matches(&entry.key)) {
                violations.push(Violation {
                    path: field_path(name, pattern.source()),
                    rule: Rule::Required,
                    message: "is required and missing".into(),
                });
            }
        }
    }

    /// A write replaces all metadata, so a protected key has to come with it, and with the value that it has.
    fn judge_protected(
        &self,
        patch: &SessionPatch,
        entries: &[Entry],
        current: &[Field],
        violations: &mut Vec<Violation>,
    ) {
        let fields = match &patch.metadata {
            MetadataChange::Replace(fields) => fields.as_slice(),
            MetadataChange::Absent | MetadataChange::Wipe | MetadataChange::Malformed(_) => &[],
        };
        let mut report = |path: String, message: &str| {
            violations.push(Violation { path, rule: Rule::Protected, message: message.into() });
        };
        for entry in entries.iter().filter(|entry| self.protected.matches(&entry.key)) {
            match current.iter().find(|field| field.key == entry.key) {
                None => report(entry.path(patch.name, fields), "is protected and may not be added"),
                Some(field) if field.value != entry.value => {
                    report(entry.path(patch.name, fields), "is protected and may not be changed");
                }
                Some(_) => {}
            }
        }
        for field in current.iter().filter(|field| self.protected.matches(&field.key)) {
            if !entries.iter().any(|entry| entry.key == field.key) {
                report(
                    field_path(patch.name, &field.key),
                    "is protected and would be removed: a write replaces all metadata, so send it with the value that it has",
                );
            }
        }
    }
}

fn conclude(violations: Vec<Violation>, edits: Vec<Edit>) -> Judgement {
    if violations.is_empty() { Judgement::Permit(Permit { edits }) } else { Judgement::Refuse(violations) }
}

fn type_violation(name: &str, found: &str) -> Violation {
    Violation { path: name.into(), rule: Rule::Type, message: format!("expected an object or null, found {found}") }
}

/// Two keys that normalization makes one are a violation of both, never an overwrite.
fn collisions(name: &str, fields: &[Field], entries: &[Entry], violations: &mut Vec<Violation>) {
    let mut places: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        places.entry(&entry.key).or_default().push(entry);
    }
    for entry in entries {
        let same = places.get(entry.key.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(other) = same.iter().find(|other| other.field != entry.field) {
            violations.push(Violation {
                path: entry.path(name, fields),
                rule: Rule::Collision,
                message: format!("becomes the same key as {}", other.path(name, fields)),
            });
        }
    }
}

#[cfg(test)]
mod tests;
