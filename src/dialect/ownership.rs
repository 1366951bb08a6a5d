//! Whose sessions requests and responses are about.

use super::pattern::PathPart;
use super::{BodyKind, DecodedBody, Dialect, Effect, MemberType, Query, Route, path};
use crate::wire::carrier::Carrier;
use crate::wire::json::{Document, Kind, Member, member};
use crate::wire::message::{Object, Parsed};
use bytes::Bytes;

/// The user that the checks of a write name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedUser<'b> {
    /// None.
    None,
    /// By the ID.
    Id(&'b str),
    /// By something else, such as a login name.
    Other,
    /// In a way that the gateway does not know.
    Unknown,
}

impl Route {
    /// The ID of the user that a canonical path of this operation names, without the provider's base path.
    pub fn user_in_path(&self, path: &str) -> Option<String> {
        let parts = path.trim_start_matches('/').split('/');
        let (_, part) = self.path.iter().zip(parts).find(|(part, _)| **part == PathPart::User)?;
        path::decoded_part(part)
    }

    /// Whether a revocation can have a member of such a type.
    fn can_revoke(&self, wanted: fn(&MemberType) -> bool) -> bool {
        match self.body {
            BodyKind::Revocation(body) => body.members.iter().any(|member| wanted(&member.member_type)),
            BodyKind::Nothing | BodyKind::Metadata(_) => false,
        }
    }

    fn takes_parameter(&self, name: &str) -> bool {
        match self.query {
            Query::Parameters(names) => names.contains(&name),
            Query::SessionToken(_) => false,
        }
    }

    /// Whether the message of a request can have this field.
    fn takes_field(&self, name: &str) -> bool {
        self.call.is_some_and(|call| call.request.field(name).is_some())
    }
}

impl Dialect {
    /// Whether a request can name one session by its ID.
    pub fn can_name_session(&self, route: &Route) -> bool {
        route.path.contains(&PathPart::Session)
            || route.can_revoke(|kind| matches!(kind, MemberType::Session))
            || self.names.session_id.is_some_and(|name| route.takes_field(name))
    }

    /// Whether a request can name refresh tokens by their IDs.
    pub fn can_name_refresh_tokens(&self, route: &Route) -> bool {
        route.names_refresh_token() || route.can_revoke(|kind| matches!(kind, MemberType::RefreshTokens { .. }))
    }

    /// Whether a request can name the user whose sessions or refresh tokens it is about.
    pub fn can_name_user(&self, route: &Route) -> bool {
        route.names_user()
            || route.can_revoke(|kind| matches!(kind, MemberType::User))
            || self.names.user_parameter.is_some_and(|name| route.takes_parameter(name))
            || self.names.filters.as_ref().is_some_and(|filters| route.takes_field(filters.field))
    }

    /// Whether a request can have checks, which name the user of the session.
    pub fn can_check_user(&self, route: &Route) -> bool {
        self.names.checks.as_ref().is_some_and(|checks| route.takes_field(checks.field))
    }

    /// The ID of the user whose sessions or refresh tokens a query lists.
    pub fn user_in_query(&self, query: &str) -> Option<String> {
        let name = self.names.user_parameter?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        path::decoded_value(value)
    }

    /// Whether a request's filters limit a list to the sessions of this user. A filter counts only if the gateway knows
    /// all of it.
    pub fn is_filtered_by(&self, user: &str, body: &DecodedBody) -> bool {
        let (Some(names), DecodedBody::Message(parsed)) = (&self.names.filters, body) else {
            return false;
        };
        parsed.root().elements(names.field).iter().any(|filter| {
            let by_user = filter.object.message(names.user).filter(|_| is_known(&filter.object));
            by_user.is_some_and(|by_user| is_known(by_user) && by_user.text(names.user_id) == Some(user))
        })
    }

    /// The user that a request's checks name.
    pub fn checked_user<'b>(&self, body: &'b DecodedBody) -> CheckedUser<'b> {
        let (Some(names), DecodedBody::Message(parsed)) = (&self.names.checks, body) else {
            return CheckedUser::None;
        };
        match parsed.root().message(names.field).and_then(|checks| checks.message(names.user)) {
            None => CheckedUser::None,
            Some(check) if !check.unknown.is_empty() => CheckedUser::Unknown,
            Some(check) => check.text(names.user_id).map_or(CheckedUser::Other, CheckedUser::Id),
        }
    }

    /// The ID of the user in the response to a read of a session or of a refresh token.
    pub fn user_in_response(&self, route: &Route, carrier: Carrier, message: &Bytes) -> Option<String> {
        match route.call {
            Some(call) => {
                let parsed = Parsed::read(call.response, carrier.codec(), message.clone()).ok()?;
                self.session_message(parsed.root())?.text_at(self.names.user).map(str::to_owned)
            }
            None => {
                let document = Document::parse(message.clone()).ok()?;
                text_at(self.session_members(document.members()?, true)?, self.names.user).map(str::to_owned)
            }
        }
    }

    /// The ID of the session in the response to a read of a refresh token.
    pub fn session_in_response(&self, message: &Bytes) -> Option<String> {
        let document = Document::parse(message.clone()).ok()?;
        text_at(document.members()?, &[self.names.token_session?]).map(str::to_owned)
    }

    /// The operation over REST that reads one session, or one refresh token.
    pub fn reading(&self, refresh_token: bool) -> Option<&'static Route> {
        let reads = |route: &&Route| match refresh_token {
            true => route.effect.reads() && route.names_refresh_token(),
            false => route.effect == Effect::ReadsSession && !route.is_rpc(),
        };
        self.routes.iter().find(reads)
    }

    /// The path at the provider that reads a refresh token. `None` if the ID is not valid.
    pub fn refresh_token_path(&self, id: &str) -> Option<String> {
        let route = self.reading(true).filter(|_| self.refresh_token_ids.accepts(id))?;
        let part = |part: &PathPart| match part {
            PathPart::Word(word) => *word,
            PathPart::RefreshToken => id,
            _ => "",
        };
        Some(route.path.iter().map(part).fold(String::new(), |path, part| path + "/" + part))
    }
}

/// The text at the end of this path of nested objects.
pub(super) fn text_at<'m>(members: &'m [Member], path: &[&str]) -> Option<&'m str> {
    let (name, rest) = path.split_first()?;
    match (&member(members, name)?.kind, rest) {
        (Kind::Text(text), []) => Some(text),
        (Kind::Object(members), [_, ..]) => text_at(members, rest),
        _ => None,
    }
}

/// Whether a message has exactly one field, which the gateway knows. Of two, a provider may use either.
fn is_known(message: &Object) -> bool {
    message.unknown.is_empty() && message.items.len() == 1
}
