//! The edits that a policy makes in a write, and what metrics and log show of them.

use super::SignedDuration;
use enum_map::{Enum, EnumMap};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// An edit of a document. `field` is an index into [`super::MetadataChange::Replace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Rename the entry's key.
    Rename {
        /// The entry's index.
        field: usize,
        /// The new key.
        key: String,
    },
    /// Set the entry's value to a string.
    Set {
        /// The entry's index.
        field: usize,
        /// The new value.
        value: String,
    },
    /// Remove the entry.
    Remove {
        /// The entry's index.
        field: usize,
    },
    /// Add an entry. Adds the metadata too if the document has none.
    Insert {
        /// The new key.
        key: String,
        /// The new value.
        value: String,
    },
    /// Set the lifetime, whether or not the document has one.
    Lifetime(SignedDuration),
}

/// The kind of an edit: the `kind` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum EditKind {
    /// Normalization changed a key.
    KeyNormalized,
    /// Normalization changed a value.
    ValueNormalized,
    /// An entry with an empty value was dropped.
    EntryDropped,
    /// The default of a missing key was added.
    DefaultAdded,
    /// The lifetime was set to a bound.
    LifetimeClamped,
    /// One-time codes are removed from the response, if it has some.
    CodesStripped,
}

/// An edit as metrics and log show it: without the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditRecord {
    /// The kind.
    pub kind: EditKind,
    /// The field, in the caller's own spelling: `session_metadata.Team`.
    pub path: String,
}

/// The edits of a write as metrics and log show them, bounded in size: all are counted, the first are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EditRecords {
    counts: EnumMap<EditKind, u64>,
    listed: Vec<EditRecord>,
}

/// How many edits are listed.
const MAX_LISTED: usize = 20;

impl EditRecords {
    /// Adds an edit.
    pub fn push(&mut self, kind: EditKind, path: impl FnOnce() -> String) {
        self.counts[kind] += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(EditRecord { kind, path: path() });
        }
    }

    /// How many edits there are of each kind, for the kinds that there are.
    pub fn counts(&self) -> impl Iterator<Item = (EditKind, u64)> {
        self.counts.iter().map(|(kind, count)| (kind, *count)).filter(|(_, count)| *count > 0)
    }

    /// The first edits.
    pub fn listed(&self) -> &[EditRecord] {
        &self.listed
    }
}

impl Edit {
    /// The kind.
    pub fn kind(&self) -> EditKind {
        match self {
            Edit::Rename { .. } => EditKind::KeyNormalized,
            Edit::Set { .. } => EditKind::ValueNormalized,
            Edit::Remove { .. } => EditKind::EntryDropped,
            Edit::Insert { .. } => EditKind::DefaultAdded,
            Edit::Lifetime(_) => EditKind::LifetimeClamped,
        }
    }
}
