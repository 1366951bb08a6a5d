//! Responses that list sessions or refresh tokens.

use super::ownership::text_at;
use super::{Dialect, Effect, Names, Route};
use crate::wire::carrier::Carrier;
use crate::wire::json::{Change, Document, Kind, Node, member};
use crate::wire::message::Parsed;
use bytes::Bytes;

/// The maximum number of values and keys. A hundred sessions with all their metadata stay far below it.
pub(super) const MAX_TOKENS: usize = 100_000;
/// The maximum number of sessions. No provider has pages that large.
const MAX_SESSIONS: usize = 1_000;

/// A parsed list of sessions or refresh tokens.
#[derive(Debug)]
pub struct SessionList {
    source: Source,
    names: &'static Names,
    /// The ID of each, and of its user.
    listed: Vec<(String, Option<String>)>,
}

/// What contains the list.
#[derive(Debug)]
enum Source {
    /// A JSON document, and the member with the list; `None` if the document is the list.
    Document(Document, Option<&'static str>),
    /// A message, and the field with the list.
    Message(Parsed, &'static str),
}

impl Dialect {
    /// Parses the response to an operation that lists sessions, or to one that lists refresh tokens: a list, or an
    /// object that contains one. `None` if any part is not as expected.
    pub fn session_list(&'static self, route: &Route, carrier: Carrier, response: Bytes) -> Option<SessionList> {
        let names = &self.names;
        if let Some(call) = route.call {
            let field = names.sessions?;
            let parsed = Parsed::read_up_to(MAX_TOKENS, call.response, carrier.codec(), response).ok()?;
            let sessions = parsed.root().elements(field).iter().map(|element| &element.object);
            let id = |session: &crate::wire::message::Object| {
                Some((session.text(names.id)?.to_owned(), session.text_at(names.user).map(str::to_owned)))
            };
            let listed = sessions.map(id).collect::<Option<Vec<_>>>()?;
            let source = Source::Message(parsed, field);
            return Some(SessionList { source, names, listed }).filter(|list| list.listed.len() <= MAX_SESSIONS);
        }
        let document = Document::parse_up_to(MAX_TOKENS, response).ok()?;
        let lists: &[&'static str] = match route.effect {
            Effect::ListsSessions => names.sessions.as_slice(),
            _ => names.refresh_tokens,
        };
        let name = match document.members() {
            Some(members) => Some(*lists.iter().find(|name| member(members, name).is_some())?),
            None => None,
        };
        let listed = match &list(&document, name)?.kind {
            Kind::Array(sessions) if sessions.len() <= MAX_SESSIONS => {
                sessions.iter().map(|session| ids(names, session)).collect::<Option<_>>()?
            }
            Kind::Array(_) | Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) | Kind::Object(_) => {
                return None;
            }
        };
        Some(SessionList { source: Source::Document(document, name), names, listed })
    }
}

/// The ID of a session or a refresh token, and of its user.
fn ids(names: &Names, listed: &Node) -> Option<(String, Option<String>)> {
    let Kind::Object(members) = &listed.kind else {
        return None;
    };
    Some((text_at(members, &[names.id])?.to_owned(), text_at(members, names.user).map(str::to_owned)))
}

impl SessionList {
    /// The session IDs, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(|(id, _)| id.as_str())
    }

    /// The users of the sessions, in order; `None` for a session without.
    pub fn users(&self) -> impl Iterator<Item = Option<&String>> {
        self.listed.iter().map(|(_, user)| user.as_ref())
    }

    /// The response without the sessions at these indexes.
    pub fn without(&self, gone: &[usize]) -> Bytes {
        match &self.source {
            Source::Document(document, name) => list(document, *name).map(|list| document.without(list, gone)),
            Source::Message(parsed, field) => parsed.without_elements(field, gone, &[], 0),
        }
        .unwrap_or_default()
    }

    /// The response without the sessions at these indexes, without cursors, and with totals that count what remains.
    /// `None` if it cannot be edited.
    pub fn without_foreign(&self, gone: &[usize]) -> Option<Bytes> {
        let count = self.listed.len().saturating_sub(gone.len());
        let document = match &self.source {
            Source::Message(parsed, field) => {
                return parsed.without_elements(field, gone, self.names.totals, count);
            }
            Source::Document(..) => Document::parse_up_to(MAX_TOKENS, self.without(gone)).ok()?,
        };
        let members = document.members().unwrap_or_default().iter().enumerate();
        let change = |(at, member): (usize, &crate::wire::json::Member)| {
            let key = member.key.as_str();
            if self.names.cursors.contains(&key) {
                return Some(Change::Remove(at));
            }
            self.names.totals.contains(&&[key][..]).then_some(Change::Count(at, count))
        };
        let changes: Vec<Change> = members.filter_map(change).collect();
        Some(document.edited(document.root(), &changes))
    }
}

fn list<'a>(document: &'a Document, name: Option<&str>) -> Option<&'a Node> {
    match name {
        None => Some(document.root()),
        Some(name) => member(document.members()?, name),
    }
}
