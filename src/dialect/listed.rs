//! Responses that list sessions.

use super::Dialect;
use crate::wire::json::{Document, Kind, Node};
use bytes::Bytes;

/// The most values and keys of a list: a hundred sessions with all metadata that they may have are far below it.
const MAX_TOKENS: usize = 100_000;
/// The most sessions of a list: no provider puts so many on one page.
const MAX_SESSIONS: usize = 1_000;

/// A list of sessions.
#[derive(Debug)]
pub struct SessionList {
    document: Document,
    ids: Vec<String>,
    /// The member with the list; none where the list is the whole response.
    member: Option<&'static str>,
}

impl Dialect {
    /// Reads a response that lists sessions: an object with a list in it, or a list; none where it cannot be read as a
    /// whole.
    pub fn session_list(&self, response: &Bytes) -> Option<SessionList> {
        let document = Document::parse_up_to(MAX_TOKENS, response.clone()).ok()?;
        let member = document.members().map(|_| self.json.sessions);
        let ids = match &list(&document, member)?.kind {
            Kind::Array(sessions) if sessions.len() <= MAX_SESSIONS => {
                sessions.iter().map(|session| self.id_of(session)).collect::<Option<_>>()?
            }
            Kind::Array(_) | Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Object(_) => {
                return None;
            }
        };
        Some(SessionList { document, ids, member })
    }

    fn id_of(&self, session: &Node) -> Option<String> {
        let Kind::Object(members) = &session.kind else {
            return None;
        };
        match members.iter().find(|member| member.key == self.json.id).map(|member| &member.value.kind) {
            Some(Kind::Text(id)) => Some(id.clone()),
            Some(_) | None => None,
        }
    }
}

impl SessionList {
    /// The sessions, in their order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(String::as_str)
    }

    /// The response without the sessions at these places.
    pub fn without(&self, gone: &[usize]) -> Bytes {
        let list = list(&self.document, self.member);
        list.map(|list| self.document.without(list, gone)).unwrap_or_default()
    }
}

fn list<'a>(document: &'a Document, member: Option<&str>) -> Option<&'a Node> {
    match member {
        None => Some(document.root()),
        Some(name) => document.members()?.iter().find(|member| member.key == name).map(|member| &member.value),
    }
}
