//! Evaluation of a write's metadata.

use super::keys::{KeyPattern, KeyPatterns};
use super::normalize::{self, NormalizedEntry};
use super::{Policy, Wipe};
use crate::model::{Edit, EntryPath, Field, MetadataChange, Rule, SessionPatch, Value, Violation, Violations};

/// The metadata that a write would leave.
pub(super) struct ResultingMetadata<'p> {
    patch: &'p SessionPatch,
    /// The keys that the caller owns; `None` is every key.
    own: Option<&'p KeyPatterns>,
    fields: &'p [Field],
    entries: Vec<NormalizedEntry>,
    /// Whether it replaces the session's metadata. If not, the metadata stays unchanged.
    replaces: bool,
}

impl ResultingMetadata<'_> {
    /// The edits that turn the document into this.
    pub fn edits(&self) -> Vec<Edit> {
        normalize::edits(self.fields, &self.entries)
    }

    fn path<'a>(&'a self, entry: &'a NormalizedEntry) -> EntryPath<'a> {
        entry.path(self.patch.name, self.fields)
    }

    /// Whether the provider keeps this entry.
    fn keeps(&self, entry: &NormalizedEntry) -> bool {
        keeps(self.patch, entry)
    }
}

fn keeps(patch: &SessionPatch, entry: &NormalizedEntry) -> bool {
    patch.empty_map_clears || !entry.is_empty()
}

impl Policy {
    /// The metadata after normalization. Evaluates all rules but those for protected keys. `None` if the write has no
    /// metadata.
    pub(super) fn resulting_metadata<'p>(
        &self,
        patch: &'p SessionPatch,
        (current, own): (Option<&[Field]>, Option<&'p KeyPatterns>),
        violations: &mut Violations,
    ) -> Option<ResultingMetadata<'p>> {
        match &patch.metadata {
            MetadataChange::Replace(fields) => Some(self.check_fields(patch, fields, (current, own), violations)),
            MetadataChange::Malformed(found) => {
                violations.push(Violation {
                    path: patch.name.into(),
                    rule: Rule::Type,
                    message: format!("expected an object or null, found {found}"),
                });
                None
            }
            MetadataChange::Absent | MetadataChange::Wipe if patch.creates => {
                Some(self.check_fields(patch, &[], (current, own), violations))
            }
            MetadataChange::Wipe if patch.empty_map_clears => {
                let written = ResultingMetadata { patch, own, fields: &[], entries: Vec::new(), replaces: true };
                self.check_wipe(&written, violations);
                Some(written)
            }
            MetadataChange::Absent | MetadataChange::Wipe => None,
        }
    }

    fn check_wipe(&self, written: &ResultingMetadata, violations: &mut Violations) {
        if self.wipe == Wipe::Reject {
            violations.push(Violation {
                path: written.patch.name.into(),
                rule: Rule::Wipe,
                message: "must not be removed entirely".into(),
            });
        }
        self.check_required(written, violations);
    }

    fn check_fields<'p>(
        &self,
        patch: &'p SessionPatch,
        fields: &'p [Field],
        (current, own): (Option<&[Field]>, Option<&'p KeyPatterns>),
        violations: &mut Violations,
    ) -> ResultingMetadata<'p> {
        // A protected field that comes back unchanged stays unchanged, even if it is not in normal form.
        let untouched = |field: &Field| {
            current.is_some_and(|current| self.protected.matches(&field.key) && current.contains(field))
        };
        let mut entries = self.normalize.entries(fields, untouched);
        let replaces = patch.creates || entries.iter().any(|entry| keeps(patch, entry));
        if replaces {
            entries.extend(self.defaults(&entries, own));
        }
        let written = ResultingMetadata { patch, own, fields, entries, replaces };
        if !replaces && patch.empty_map_clears {
            violations.push(Violation {
                path: patch.name.into(),
                rule: Rule::Wipe,
                message: "would be removed entirely: all its values are empty and are dropped".into(),
            });
        }
        collisions(&written, violations);
        self.limits.check_count(patch.name, written.entries.len(), violations);
        for entry in &written.entries {
            self.check_entry(&written, entry, violations);
        }
        if replaces || !patch.empty_map_clears {
            self.check_required(&written, violations);
        }
        written
    }

    /// Entries for the defaults of keys that are missing.
    fn defaults(&self, entries: &[NormalizedEntry], own: Option<&KeyPatterns>) -> Vec<NormalizedEntry> {
        let is_own = |key: &str| own.is_none_or(|own| own.matches(key));
        let missing = |key: &str| is_own(key) && !entries.iter().any(|entry| entry.key == key);
        let rules = self.fields.iter().filter_map(|(pattern, rule)| Some((pattern.exact()?, rule.default.as_ref()?)));
        rules
            .filter(|(key, _)| missing(key))
            .map(|(key, value)| NormalizedEntry { field: None, key: key.into(), value: Value::Text(value.into()) })
            .collect()
    }

    fn check_entry(&self, written: &ResultingMetadata, entry: &NormalizedEntry, violations: &mut Violations) {
        // A protected entry may only stay as it is, so no other rule applies.
        if self.protected.matches(&entry.key) {
            return;
        }
        let path = written.path(entry);
        self.limits.check_key(path, &entry.key, violations);
        if let Some(allowed) = &self.allowed
            && !allowed.matches(&entry.key)
        {
            let what = "is not an allowed key";
            violations.report(path, Rule::Allowed, what, || format!("; allowed: {allowed}"), what);
        }
        let rule = self.fields.iter().find(|(pattern, _)| pattern.matches(&entry.key)).map(|(_, rule)| rule);
        match &entry.value {
            Value::Text(text) => {
                self.limits.check_value(path, text, violations);
                rule.inspect(|rule| rule.check(path, text, violations));
            }
            Value::Bytes(bytes) => {
                self.limits.check_bytes(path, bytes.len(), violations);
                rule.inspect(|rule| rule.check_bytes(path, bytes.len(), violations));
            }
            Value::Number(_) | Value::Bool(_) | Value::Null | Value::Composite(_) => violations.push(Violation {
                path: path.to_string(),
                rule: Rule::Type,
                message: format!("expected a string, found {}", entry.value.kind()),
            }),
        }
    }

    /// If the write does not replace the metadata, only keys that the write itself names can become missing.
    fn check_required(&self, written: &ResultingMetadata, violations: &mut Violations) {
        // Another owner's key may be what a pattern requires.
        let applies = |pattern: &&KeyPattern| written.own.is_none_or(|own| own.0.iter().any(|one| one.covers(pattern)));
        for pattern in self.required.iter().filter(applies) {
            let mut named = written.entries.iter().filter(|entry| pattern.matches(&entry.key)).peekable();
            let emptied = named.peek().map(|entry| written.path(entry));
            if named.any(|entry| written.keeps(entry)) || (emptied.is_none() && !written.replaces) {
                continue;
            }
            let (path, message) = match emptied {
                Some(path) => (path, "is required and must not be empty: the provider drops empty values"),
                None => (EntryPath { name: written.patch.name, key: pattern.source() }, "is required but missing"),
            };
            violations.push(Violation { path: path.to_string(), rule: Rule::Required, message: message.into() });
        }
    }

    /// Whether the write could add, change or remove a protected key.
    pub(super) fn may_change_protected(&self, written: &ResultingMetadata) -> bool {
        let mut keys = written.entries.iter().map(|entry| &entry.key);
        !self.protected.is_empty() && (written.replaces || keys.any(|key| self.protected.matches(key)))
    }

    /// A write replaces all metadata, so it must contain every protected key with its current value.
    pub(super) fn check_protected(&self, written: &ResultingMetadata, current: &[Field], violations: &mut Violations) {
        let mut report = |path: EntryPath, message: &str| {
            violations.push(Violation { path: path.to_string(), rule: Rule::Protected, message: message.into() });
        };
        for entry in written.entries.iter().filter(|entry| self.protected.matches(&entry.key)) {
            let held = current.iter().find(|field| field.key == entry.key);
            let message = match held {
                None if !written.keeps(entry) => continue,
                Some(_) if !written.keeps(entry) => {
                    "is protected and would be removed: the provider drops empty values"
                }
                None => "is protected and may not be added",
                Some(field) if !field.value.is_same(&entry.value) => "is protected and may not be changed",
                Some(_) => continue,
            };
            report(written.path(entry), message);
        }
        let lost = |field: &&Field| !written.entries.iter().any(|entry| entry.key == field.key);
        for field in current.iter().filter(|field| self.protected.matches(&field.key)).filter(lost) {
            if written.replaces {
                report(
                    EntryPath { name: written.patch.name, key: &field.key },
                    "is protected and would be removed: a write replaces all metadata, so send it with its current value",
                );
            }
        }
    }
}

/// Keys that become the same are a violation each; none overwrites the other.
fn collisions(written: &ResultingMetadata, violations: &mut Violations) {
    // Entries with the same key stay in their order.
    let mut sorted: Vec<&NormalizedEntry> = written.entries.iter().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    if sorted.is_sorted_by(|one, other| one.key < other.key) {
        return;
    }
    for entry in &written.entries {
        let same = sorted.get(sorted.partition_point(|other| other.key < entry.key)..).unwrap_or_default();
        let mut same = same.iter().take_while(|other| other.key == entry.key);
        if let Some(other) = same.find(|other| other.field != entry.field) {
            violations.push(Violation {
                path: written.path(entry).to_string(),
                rule: Rule::Collision,
                message: format!("duplicates {} after normalization", written.path(other)),
            });
        }
    }
}
