//! Responses that list sessions.

use super::Dialect;
use crate::wire::json::{Document, Kind, Node, member};
use bytes::Bytes;

/// The maximum number of values and keys. A hundred sessions with all their metadata stay far below it.
const MAX_TOKENS: usize = 100_000;
/// The maximum number of sessions. No provider has pages that large.
const MAX_SESSIONS: usize = 1_000;

/// A parsed list of sessions.
#[derive(Debug)]
pub struct SessionList {
    document: Document,
    ids: Vec<String>,
    /// The member that contains the list; `None` if the whole response is the list.
    member: Option<&'static str>,
}

impl Dialect {
    /// Parses a response that is a list of sessions, or an object that contains one. `None` if any part is not as
    /// expected.
    pub fn session_list(&self, response: &Bytes) -> Option<SessionList> {
        let document = Document::parse_up_to(MAX_TOKENS, response.clone()).ok()?;
        let member = match document.members() {
            Some(_) => Some(self.names.sessions?),
            None => None,
        };
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
        match member(members, self.names.id).map(|id| &id.kind) {
            Some(Kind::Text(id)) => Some(id.clone()),
            Some(_) | None => None,
        }
    }
}

impl SessionList {
    /// The session IDs, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(String::as_str)
    }

    /// The response without the sessions at these indexes.
    pub fn without(&self, gone: &[usize]) -> Bytes {
        let list = list(&self.document, self.member);
        list.map(|list| self.document.without(list, gone)).unwrap_or_default()
    }
}

fn list<'a>(document: &'a Document, name: Option<&str>) -> Option<&'a Node> {
    match name {
        None => Some(document.root()),
        Some(name) => member(document.members()?, name),
    }
}
