//! The metadata that a provider shows of a session or a refresh token.

use crate::model::Field;

/// The metadata that a provider shows of a session or a refresh token, as it stores it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredMetadata {
    fields: Vec<Field>,
    /// For each field what [`StoredEntry::spelling`] is.
    spellings: Vec<Option<String>>,
}

/// An entry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredEntry {
    pub field: Field,
    /// The member of a document, key and value, byte for byte. `None` in a message: there the field is all.
    pub spelling: Option<String>,
}

impl StoredMetadata {
    /// The entries as policies see them.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field at this index, and its text in a document.
    pub(super) fn entry(&self, at: usize) -> Option<(&Field, Option<&str>)> {
        Some((self.fields.get(at)?, self.spellings.get(at)?.as_deref()))
    }
}

impl FromIterator<StoredEntry> for StoredMetadata {
    fn from_iter<I: IntoIterator<Item = StoredEntry>>(entries: I) -> StoredMetadata {
        let (fields, spellings) = entries.into_iter().map(|entry| (entry.field, entry.spelling)).unzip();
        StoredMetadata { fields, spellings }
    }
}
