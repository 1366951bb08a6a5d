//! Messages of providers that use JSON without a schema: the members in [`super::Names`].

use super::stored_metadata::{StoredEntry, StoredMetadata};
use super::{Dialect, ResponseFacts, Version};
use crate::model::{Edit, Field, MetadataChange, Rejection, SessionId, SessionPatch, Value};
use crate::wire::is_ambiguous_spelling;
use crate::wire::json::{Change, Document, Kind, Member, Node, member};
use bytes::Bytes;

impl Dialect {
    /// What the policy evaluates of a write.
    pub(super) fn read_patch(&self, name: &'static str, document: &Document) -> Result<SessionPatch, Rejection> {
        let Some(members) = document.members() else {
            let found = document.root().kind.name();
            return Err(Rejection::Malformed(format!("expected an object, found {found}")));
        };
        if let Some(twin) = members.iter().find(|member| is_ambiguous_spelling(&member.key, name)) {
            return Err(Rejection::Malformed(format!("expected `{name}`, found `{}`", twin.key.escape_debug())));
        }
        let metadata = member(members, name);
        let metadata = metadata.map_or(MetadataChange::Absent, |metadata| metadata_change(document, metadata));
        Ok(SessionPatch { name, empty: members.is_empty(), metadata, ..SessionPatch::default() })
    }

    /// The bytes to forward: the original bytes with the edits applied.
    pub(super) fn apply(&self, name: &str, document: &Document, edits: &[Edit]) -> Bytes {
        let metadata = document.members().and_then(|members| member(members, name));
        let changes: Vec<Change> = edits.iter().cloned().filter_map(change).collect();
        document.edited(metadata.unwrap_or(document.root()), &changes)
    }

    /// What a response tells about its session. `None` if it does not parse, or names another session than `requested`.
    pub(super) fn read_response(&self, response: &Document, requested: Option<&SessionId>) -> Option<ResponseFacts> {
        let members = self.session_members(response.members()?, requested.is_some())?;
        let found = |name: &str| member(members, name).map(|value| &value.kind);
        let named = found(self.names.id);
        if let (Some(named), Some(requested)) = (named, requested)
            && !matches!(named, Kind::Text(id) if id == requested.as_str())
        {
            return None;
        }
        let time = |name: &str| match found(name) {
            None | Some(Kind::Null) => Some(None),
            Some(Kind::Text(text)) => millis(text).map(Some),
            Some(Kind::Bool(_) | Kind::Number | Kind::Array(_) | Kind::Object(_)) => None,
        };
        let mut expires_at: Option<u64> = None;
        for name in self.names.expiries {
            if let Some(found) = time(name)? {
                expires_at = Some(expires_at.map_or(found, |known| known.min(found)));
            }
        }
        let version = match self.names.version {
            None => None,
            Some(Version::Time(name)) => time(name)?,
            Some(Version::Number(name)) => member(members, name).and_then(|version| number(response, version)),
        };
        Some(ResponseFacts { expires_at, version })
    }

    /// The metadata in a response to a read: the session's member `name`. `None` if that is neither an object nor null.
    pub(super) fn current_metadata(&self, name: &str, response: &Document) -> Option<StoredMetadata> {
        match member(self.session_members(response.members()?, true)?, name).map(|metadata| &metadata.kind) {
            None | Some(Kind::Null) => Some(StoredMetadata::default()),
            Some(Kind::Object(members)) => Some(members.iter().map(|member| stored(response, member)).collect()),
            Some(Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_)) => None,
        }
    }

    /// The bytes to forward: the original bytes with these members of stored metadata. Without any, the original bytes.
    pub(super) fn merged_document(&self, name: &str, document: &Document, kept: &[&str]) -> Option<Bytes> {
        if kept.is_empty() {
            return Some(document.edited(document.root(), &[]));
        }
        let members = document.members()?;
        let at = members.iter().position(|member| member.key == name)?;
        let emptied = match members.get(at).map(|member| &member.value.kind)? {
            Kind::Object(_) => None,
            Kind::Null => Some(document.edited(document.root(), &[Change::Empty(at)])),
            Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_) => return None,
        };
        let emptied = emptied.map(Document::parse).transpose().ok()?;
        let document = emptied.as_ref().unwrap_or(document);
        let added: Vec<Change> = kept.iter().map(|member| Change::AddSpelled((*member).to_owned())).collect();
        Some(document.edited(member(document.members()?, name)?, &added))
    }

    /// The ID of the session or refresh token in a response to a read.
    pub(super) fn resource_id<'d>(&self, response: &'d Document) -> Option<&'d str> {
        match &member(self.session_members(response.members()?, true)?, self.names.id)?.kind {
            Kind::Text(id) => Some(id),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    /// The members of the session in a response to a read, or of what tells the version in one to a write.
    pub(super) fn session_members<'m>(&self, members: &'m [Member], read: bool) -> Option<&'m [Member]> {
        let Some(name) = (if read { self.names.session } else { self.names.write_details }) else {
            return Some(members);
        };
        match &member(members, name)?.kind {
            Kind::Object(members) => Some(members),
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_) => None,
        }
    }
}

fn stored(document: &Document, member: &Member) -> StoredEntry {
    StoredEntry {
        field: Field { key: member.key.clone(), value: value(document, &member.value) },
        spelling: Some(document.member_spelling(member).to_owned()),
    }
}

fn metadata_change(document: &Document, node: &Node) -> MetadataChange {
    match &node.kind {
        Kind::Null => MetadataChange::Wipe,
        Kind::Object(members) if members.is_empty() => MetadataChange::Wipe,
        Kind::Object(members) => MetadataChange::Replace(
            members.iter().map(|m| Field { key: m.key.clone(), value: value(document, &m.value) }).collect(),
        ),
        Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Array(_) => MetadataChange::Malformed(node.kind.name()),
    }
}

fn value(document: &Document, node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Bool(truth) => Value::Bool(*truth),
        Kind::Number => Value::Number(document.spelling(node).into()),
        Kind::Text(text) => Value::Text(text.clone()),
        Kind::Array(_) | Kind::Object(_) => Value::Composite(node.kind.name()),
    }
}

fn change(edit: Edit) -> Option<Change> {
    match edit {
        Edit::Rename { field, key } => Some(Change::Key(field, key)),
        Edit::Set { field, value } => Some(Change::Text(field, value)),
        Edit::Remove { field } => Some(Change::Remove(field)),
        Edit::Insert { key, value } => Some(Change::Add(key, value)),
        // Only messages with a schema have a lifetime.
        Edit::Lifetime(_) => None,
    }
}

/// A number, also as a string.
fn number(document: &Document, node: &Node) -> Option<u64> {
    match &node.kind {
        Kind::Number => document.spelling(node).parse().ok(),
        Kind::Text(text) => text.parse().ok(),
        Kind::Null | Kind::Bool(_) | Kind::Array(_) | Kind::Object(_) => None,
    }
}

/// Converts an RFC 3339 time to milliseconds since the epoch.
fn millis(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).ok()
}
