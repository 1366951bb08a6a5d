//! Responses without what a caller may not see.

use super::session_list::MAX_TOKENS;
use super::{BodyKind, Dialect, Effect, Route};
use crate::grant::{HiddenFields, Masks};
use crate::wire::carrier::Carrier;
use crate::wire::is_ambiguous_spelling;
use crate::wire::json::{Change, Document, Kind, Member, Node, member};
use crate::wire::masking::{FieldMask, Shown};
use crate::wire::message;
use bytes::Bytes;

/// What is hidden of an object in a response.
#[derive(Debug, Clone)]
struct ResponseMask<'m> {
    dialect: &'static Dialect,
    masks: &'m Masks,
    place: Place,
    hidden: HiddenFields<'m>,
}

/// Where in a response an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The whole message: it is a session or a refresh token, or contains some.
    Root,
    /// A session, a refresh token, or what a write tells about one.
    Session,
    /// The metadata.
    Metadata,
    /// Another object in a session.
    Inside,
}

impl Dialect {
    /// The message of a successful response without what the masks hide: of the session or refresh token that it is, and
    /// of all that it contains. `None` if it is not a message of this operation, or if something that is hidden cannot
    /// be masked: it must not reach the caller then.
    pub fn masked(&'static self, route: &Route, carrier: Carrier, message: &Bytes, masks: &Masks) -> Option<Bytes> {
        let mask = self.response_mask(masks);
        match route.call {
            Some(call) => message::masked(MAX_TOKENS, call.response, carrier.codec(), message, &mask),
            // As a deletion has it.
            None if message.is_empty() && !route.effect.reads() => Some(Bytes::new()),
            None => {
                let document = Document::parse_up_to(MAX_TOKENS, message.clone()).ok()?;
                self.is_expected(route, document.root()).then(|| document.masked(&mask))
            }
        }
    }

    /// The body of an error with only its texts and numbers that by their definition say what went wrong. `None` if it is
    /// not a JSON object.
    pub fn plain_error(&self, body: &Bytes) -> Option<Bytes> {
        let document = Document::parse(body.clone()).ok()?;
        let is_plain = |member: &Member| {
            let is_scalar = matches!(member.value.kind, Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_));
            is_scalar && self.names.error_members.contains(&member.key.as_str())
        };
        let others = document.members()?.iter().enumerate().filter(|(_, member)| !is_plain(member));
        let changes: Vec<Change> = others.map(|(at, _)| Change::Remove(at)).collect();
        Some(document.edited(document.root(), &changes))
    }

    fn response_mask<'m>(&'static self, masks: &'m Masks) -> ResponseMask<'m> {
        ResponseMask { dialect: self, masks, place: Place::Root, hidden: masks.fields() }
    }

    /// Whether a document without a schema is what this operation responds with. In another form, a session could stand
    /// where no mask looks for it.
    fn is_expected(&self, route: &Route, root: &Node) -> bool {
        let lists = route.effect == Effect::ListsSessions || self.lists_tokens(route);
        match &root.kind {
            Kind::Array(items) => lists && items.iter().all(is_object),
            Kind::Object(members) if lists => {
                let is_list = |member: &&Member| self.lists().any(|name| name == member.key);
                let is_array =
                    |member: &Member| matches!(&member.value.kind, Kind::Array(items) if items.iter().all(is_object));
                members.iter().find(is_list).is_some_and(is_array)
            }
            Kind::Object(members) => {
                let named = member(members, self.names.id).is_some_and(|id| matches!(id.kind, Kind::Text(_)));
                // Most writes respond with an empty object.
                named || (members.is_empty() && !route.effect.reads())
            }
            Kind::Null | Kind::Bool(_) | Kind::Number | Kind::Text(_) => false,
        }
    }

    /// Whether this operation lists refresh tokens.
    fn lists_tokens(&self, route: &Route) -> bool {
        matches!(route.effect, Effect::Reads(_)) && !route.names_refresh_token()
    }

    /// The names of the lists in responses.
    fn lists(&self) -> impl Iterator<Item = &'static str> {
        self.names.sessions.into_iter().chain(self.names.refresh_tokens.iter().copied())
    }

    /// Whether this is the name of the metadata in a session or a refresh token.
    pub(super) fn is_metadata(&self, name: &str) -> bool {
        let bodies = self.routes.iter().filter_map(|route| match route.body {
            BodyKind::Metadata(name) => Some(name),
            BodyKind::Nothing | BodyKind::Revocation(_) => None,
        });
        self.names.metadata.into_iter().chain(bodies).any(|own| is_same(own, name))
    }
}

impl<'m> ResponseMask<'m> {
    fn at(&self, place: Place, hidden: HiddenFields<'m>) -> ResponseMask<'m> {
        ResponseMask { place, hidden, ..self.clone() }
    }

    /// A member of the whole message.
    fn in_root(&self, name: &str) -> Shown<ResponseMask<'m>> {
        let names = &self.dialect.names;
        let mut inner = self.dialect.lists().chain(names.session).chain(names.write_details);
        if inner.any(|own| is_same(own, name)) {
            return Shown::Partly(self.at(Place::Session, self.hidden.clone()));
        }
        // The ID of a session that was created.
        let name = if names.session_id.is_some_and(|own| is_same(own, name)) { names.id } else { name };
        self.in_session(name)
    }

    fn in_session(&self, name: &str) -> Shown<ResponseMask<'m>> {
        let shown = self.hidden.member(name);
        if !self.dialect.is_metadata(name) {
            return self.inside(shown);
        }
        let hidden = match shown {
            Shown::Dropped => return Shown::Dropped,
            Shown::Whole if !self.masks.hides_keys() => return Shown::Whole,
            Shown::Masked if !self.masks.hides_keys() => return Shown::Masked,
            Shown::Whole => HiddenFields::default(),
            Shown::Masked => HiddenFields::masked(),
            Shown::Partly(hidden) => hidden,
        };
        Shown::Partly(self.at(Place::Metadata, hidden))
    }

    /// A metadata key has one spelling: what is on the wire.
    fn in_metadata(&self, key: &str) -> Shown<ResponseMask<'m>> {
        if self.masks.shows_key(key) { self.inside(self.hidden.below(|own| own == key)) } else { Shown::Dropped }
    }

    fn inside(&self, shown: Shown<HiddenFields<'m>>) -> Shown<ResponseMask<'m>> {
        match shown {
            Shown::Whole => Shown::Whole,
            Shown::Dropped => Shown::Dropped,
            Shown::Masked => Shown::Masked,
            Shown::Partly(hidden) => Shown::Partly(self.at(Place::Inside, hidden)),
        }
    }
}

impl FieldMask for ResponseMask<'_> {
    fn member(&self, name: &str) -> Shown<Self> {
        match self.place {
            Place::Root => self.in_root(name),
            Place::Session => self.in_session(name),
            Place::Metadata => self.in_metadata(name),
            Place::Inside => self.inside(self.hidden.member(name)),
        }
    }
}

fn is_same(own: &str, name: &str) -> bool {
    own == name || is_ambiguous_spelling(name, own)
}

fn is_object(node: &Node) -> bool {
    matches!(node.kind, Kind::Object(_))
}

#[cfg(test)]
mod tests;
