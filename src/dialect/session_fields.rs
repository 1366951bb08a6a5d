//! The fields of a session that masks may name.

use super::{Dialect, Effect};
use crate::grant::FieldPath;
use crate::wire::schema::{FieldType, Message};

impl Dialect {
    /// The path of a field: `device.last_ip`. What follows the metadata is one key, which may have dots.
    pub fn field_path(&self, text: &str) -> FieldPath {
        match text.split_once('.') {
            Some((name, key)) if self.is_metadata(name) => vec![name.to_owned(), key.to_owned()],
            Some(_) | None => text.split('.').map(str::to_owned).collect(),
        }
    }

    /// Whether a session has only fields that are known, because its messages have a schema.
    pub fn has_only_known_fields(&self) -> bool {
        self.session_schema().is_some()
    }

    /// Whether a field of a session, or of a refresh token, is documented by the provider.
    pub fn knows_field(&self, path: &FieldPath) -> bool {
        if path.iter().any(String::is_empty) {
            return false;
        }
        match path.as_slice() {
            [name, _] if self.is_metadata(name) => true,
            _ => {
                let text = path.join(".");
                let begins = |known: &str| known.strip_prefix(&text).is_some_and(|rest| rest.starts_with('.'));
                self.known_fields().iter().any(|known| *known == text || begins(known))
            }
        }
    }

    /// The paths of all documented fields.
    pub fn known_fields(&self) -> Vec<String> {
        let mut known: Vec<String> = self.session_fields.iter().map(|name| (*name).to_owned()).collect();
        if let Some(session) = self.session_schema() {
            collect("", session, &mut known);
        }
        known.dedup();
        known
    }

    /// The schema of a session.
    fn session_schema(&self) -> Option<&'static Message> {
        let reads = self.routes.iter().find(|route| route.effect == Effect::ReadsSession)?;
        match self.names.session.and_then(|name| reads.call?.response.field(name))?.kind {
            FieldType::Message(session) => Some(session),
            _ => None,
        }
    }
}

/// Collects the paths of a message's fields, each after what contains it.
fn collect(before: &str, message: &'static Message, known: &mut Vec<String>) {
    for field in message.fields {
        let path = if before.is_empty() { field.name.to_owned() } else { format!("{before}.{}", field.name) };
        if known.last() != Some(&path) {
            known.push(path.clone());
        }
        if let FieldType::Message(inner) | FieldType::Messages(inner) = field.kind {
            collect(&path, inner, known);
        }
    }
}
