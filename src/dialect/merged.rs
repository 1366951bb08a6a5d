//! Writes together with what they keep of the stored metadata.

use super::stored_metadata::StoredMetadata;
use super::{DecodedBody, Dialect};
use crate::grant::Merge;
use crate::model::{Field, Value};
use crate::wire::message::Edit as MessageEdit;
use bytes::Bytes;

impl Dialect {
    /// The body with what `merge` keeps of `stored`, byte for byte, behind its own entries. In messages, keys that it
    /// clears are sent with an empty value: by its documentation the provider would keep them otherwise. `None` if the
    /// body has no metadata.
    pub fn merged(&self, body: &DecodedBody, stored: &StoredMetadata, merge: &Merge) -> Option<Bytes> {
        let kept = merge.kept.iter().map(|at| stored.entry(*at));
        match body {
            DecodedBody::None | DecodedBody::Revocation(_) => None,
            DecodedBody::Document(document, name) => {
                let members: Option<Vec<&str>> = kept.map(|entry| entry?.1).collect();
                self.merged_document(name, document, &members?)
            }
            DecodedBody::Message(parsed) => {
                let kept = kept.map(|entry| Some(MessageEdit::Add(entry?.0.key.to_string(), bytes(entry?.0)?)));
                let cleared = merge.cleared.iter().map(|at| Some(stored.entry(*at)?.0.key.to_string()));
                let cleared = cleared.map(|key| Some(MessageEdit::Add(key?, Vec::new())));
                let added: Option<Vec<MessageEdit>> = kept.chain(cleared).collect();
                Some(parsed.edited(self.names.metadata?, &added?))
            }
        }
    }
}

/// The bytes of a value in a message.
fn bytes(field: &Field) -> Option<Vec<u8>> {
    match &field.value {
        Value::Text(text) => Some(text.as_bytes().to_vec()),
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::Number(_) | Value::Bool(_) | Value::Null | Value::Composite(_) => None,
    }
}

#[cfg(test)]
mod tests;
