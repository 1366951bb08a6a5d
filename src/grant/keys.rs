//! The metadata keys that a caller may set and clear.

use crate::model::{Field, MetadataChange, SessionPatch, Value, field_path};
use crate::policy::KeyPatterns;
use std::sync::Arc;

/// How many keys a rejection lists.
const MAX_LISTED: usize = 20;

/// The metadata keys that a caller may set and clear. `None` is any key that it sees: what a caller does not see, it must
/// not lose by mistake.
#[derive(Debug, Clone, Default)]
pub struct KeyGrant {
    /// The keys that it may set or change.
    pub set: Option<KeyPatterns>,
    /// The keys that it may remove.
    pub clear: Option<KeyPatterns>,
    /// The keys that it owns: it sets and clears these, and no others. Its writes are merged with the other keys.
    pub own: Option<KeyPatterns>,
    /// The keys that grants own: without `own`, the caller may change them only if `set` or `clear` names them.
    pub others: Option<Arc<KeyPatterns>>,
}

/// Whether a caller may change the keys of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyDecision {
    /// It may.
    Granted,
    /// That depends on the current metadata.
    NeedsCurrent,
    /// It may not: what it may not do. Names only keys that it has sent or sees.
    Rejected(String),
}

/// The keys that a caller may not change.
#[derive(Default)]
struct Ungranted {
    set: Vec<String>,
    cleared: Vec<String>,
    /// Whether keys would be removed that the caller does not see.
    removes_hidden: bool,
    needs_current: bool,
}

impl KeyGrant {
    /// Whether it allows everything that the caller sees.
    pub fn is_unrestricted(&self) -> bool {
        self.set.is_none() && self.clear.is_none() && self.own.is_none() && self.others.is_none()
    }

    /// Whether it owns this key.
    pub fn owns(&self, key: &str) -> bool {
        self.own.as_ref().is_some_and(|own| own.matches(key))
    }

    /// Decides on the metadata of a write as it is forwarded. `inserted` keys are the policy's own. `shows` tells whether
    /// the caller would see the value of a key. If it `reads` at all, it may send back such a value unchanged; otherwise
    /// its guesses would be answered.
    pub fn decide(
        &self,
        patch: &SessionPatch,
        inserted: impl Fn(&str) -> bool,
        shows: impl Fn(&str) -> bool,
        reads: bool,
        current: Option<&[Field]>,
    ) -> KeyDecision {
        if let MetadataChange::Malformed(_) = &patch.metadata {
            return KeyDecision::Rejected(format!("setting `{}`", patch.name));
        }
        let Some(fields) = sent_fields(patch) else { return KeyDecision::Granted };
        if self.own.is_some() {
            return self.decide_owned(patch, fields, current.is_some());
        }
        let mut ungranted = Ungranted::default();
        for field in fields.iter().filter(|field| !inserted(&field.key)) {
            self.check_sent(patch, field, (&shows, reads), current, &mut ungranted);
        }
        // A default takes the place of what the caller omits.
        let kept = |own: &Field| {
            let same = |field: &&Field| field.key == own.key;
            fields.iter().find(same).is_some_and(|field| !inserted(&own.key) || field.value.is_same(&own.value))
        };
        if replaces(patch, fields) && !patch.creates {
            match current {
                None => ungranted.needs_current = true,
                Some(current) => {
                    let lost = current.iter().filter(|own| !kept(own)).map(|own| own.key.as_str());
                    let allows = |keys, key: &str| self.allows(keys, key, &shows);
                    let may = |key: &str| allows(&self.clear, key) || (inserted(key) && allows(&self.set, key));
                    for key in lost.filter(|key| !may(key)) {
                        match reads && shows(key) {
                            true => ungranted.cleared.push(field_path(patch.name, key)),
                            false => ungranted.removes_hidden = true,
                        }
                    }
                }
            }
        }
        ungranted.decision(patch.name)
    }

    /// An owner sends keys of its own only. The others stay as they are: that needs the current metadata.
    fn decide_owned(&self, patch: &SessionPatch, fields: &[Field], has_current: bool) -> KeyDecision {
        let foreign = fields.iter().filter(|field| !self.owns(&field.key));
        let (cleared, set): (Vec<&Field>, Vec<&Field>) =
            foreign.partition(|field| clears(patch, field) && !patch.creates);
        let paths = |fields: Vec<&Field>| fields.iter().map(|field| field_path(patch.name, &field.key)).collect();
        let needs_current = !patch.creates && !has_current;
        let ungranted = Ungranted { set: paths(set), cleared: paths(cleared), removes_hidden: false, needs_current };
        ungranted.decision(patch.name)
    }

    /// Whether these keys, of those to set or to clear, contain the key. Without any it is every key that the caller
    /// sees and no other grant owns.
    fn allows(&self, keys: &Option<KeyPatterns>, key: &str, shows: &impl Fn(&str) -> bool) -> bool {
        let others = |key| self.others.as_ref().is_some_and(|others| others.matches(key));
        keys.as_ref().map_or_else(|| shows(key) && !others(key), |keys| keys.matches(key))
    }

    /// Checks a key that the caller has sent.
    fn check_sent(
        &self,
        patch: &SessionPatch,
        field: &Field,
        (shows, reads): (&impl Fn(&str) -> bool, bool),
        current: Option<&[Field]>,
        ungranted: &mut Ungranted,
    ) {
        let path = || field_path(patch.name, &field.key);
        if clears(patch, field) && !patch.creates {
            if !self.allows(&self.clear, &field.key, shows) {
                ungranted.cleared.push(path());
            }
            return;
        }
        if self.allows(&self.set, &field.key, shows) {
            return;
        }
        match current {
            _ if patch.creates || !reads || !shows(&field.key) => ungranted.set.push(path()),
            None => ungranted.needs_current = true,
            Some(current) => {
                let same = |own: &&Field| own.key == field.key && own.value.is_same(&field.value);
                if !current.iter().any(|own| same(&own)) {
                    ungranted.set.push(path());
                }
            }
        }
    }
}

impl Ungranted {
    fn decision(self, name: &str) -> KeyDecision {
        let mut parts = Vec::new();
        for (what, keys) in [("setting", &self.set), ("clearing", &self.cleared)] {
            if !keys.is_empty() {
                parts.push(format!("{what} {}", listed(keys)));
            }
        }
        if self.removes_hidden && self.cleared.is_empty() {
            parts.push(format!("clearing other keys of `{name}`, which the write would remove"));
        }
        match parts.is_empty() {
            false => KeyDecision::Rejected(parts.join("; ")),
            true if self.needs_current => KeyDecision::NeedsCurrent,
            true => KeyDecision::Granted,
        }
    }
}

/// The metadata that a write sets or clears; `None` if it leaves the metadata as it is.
pub(super) fn sent_fields(patch: &SessionPatch) -> Option<&[Field]> {
    match &patch.metadata {
        MetadataChange::Replace(fields) => Some(fields),
        MetadataChange::Wipe if patch.empty_map_clears => Some(&[]),
        MetadataChange::Absent | MetadataChange::Wipe | MetadataChange::Malformed(_) => None,
    }
}

/// Whether a write, as it is forwarded, removes one of these keys.
pub fn removes_any(patch: &SessionPatch, keys: &[Field]) -> bool {
    let Some(fields) = sent_fields(patch) else { return false };
    let sent = |own: &Field| fields.iter().find(|field| field.key == own.key);
    let replaces = replaces(patch, fields);
    !patch.creates && keys.iter().any(|own| sent(own).map_or(replaces, |field| clears(patch, field)))
}

/// Whether a write of these entries removes the keys that it omits.
pub(super) fn replaces(patch: &SessionPatch, fields: &[Field]) -> bool {
    patch.empty_map_clears || fields.iter().any(|field| !clears(patch, field))
}

/// Whether the provider removes the key of this entry, or does not keep the entry.
pub(super) fn clears(patch: &SessionPatch, field: &Field) -> bool {
    match &field.value {
        Value::Null => true,
        Value::Text(text) => text.is_empty() && !patch.empty_map_clears,
        Value::Bytes(bytes) => bytes.is_empty() && !patch.empty_map_clears,
        Value::Number(_) | Value::Bool(_) | Value::Composite(_) => false,
    }
}

fn listed(keys: &[String]) -> String {
    let shown: Vec<String> = keys.iter().take(MAX_LISTED).map(|key| format!("`{key}`")).collect();
    let more = match keys.len().saturating_sub(MAX_LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

#[cfg(test)]
mod tests;
