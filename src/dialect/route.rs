//! Governed operations, and what a request matches.

use super::pattern::PathPart;
use super::revocation_body::RevocationBody;
use crate::model::{Operation, SessionId};
use crate::wire::schema;

/// A governed operation.
#[derive(Debug)]
pub struct Route {
    /// The HTTP method, in upper case.
    pub method: &'static str,
    /// The path, segment by segment.
    pub path: &'static [PathPart],
    /// The operation: a label of metrics and logs.
    pub operation: Operation,
    /// What it does to sessions.
    pub effect: Effect,
    /// The scopes that the caller's token needs, all of them; empty if the provider has no scopes.
    pub scopes: &'static [&'static str],
    /// The allowed query.
    pub query: Query,
    /// The body, if `call` is `None`.
    pub body: BodyKind,
    /// The schemas of the messages, if the provider declares them.
    pub call: Option<&'static Call>,
}

/// What an operation does to sessions: where its response is cached, or what it makes stale in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Reads the session that path or body names. The response is cached.
    ReadsSession,
    /// Lists sessions. The response is not cached, but it must not contain deleted sessions.
    ListsSessions,
    /// Reads something else. The response is not cached, for this reason.
    Reads(&'static str),
    /// Changes the session that path or body names.
    ChangesSession,
    /// Ends the session that path or body names.
    EndsSession,
    /// Ends sessions of the user that path or body names; if the body names a session, only that. Nothing if there is
    /// neither.
    EndsUserSessions,
    /// Creates a session. None that is cached changes.
    CreatesSession,
    /// May change any session.
    ChangesAny,
    /// Changes nothing that is cached, for this reason.
    Nothing(&'static str),
}

impl Effect {
    /// Whether the operation only reads.
    pub fn reads(self) -> bool {
        match self {
            Effect::ReadsSession | Effect::ListsSessions | Effect::Reads(_) => true,
            Effect::ChangesSession
            | Effect::EndsSession
            | Effect::EndsUserSessions
            | Effect::CreatesSession
            | Effect::ChangesAny
            | Effect::Nothing(_) => false,
        }
    }

    /// Whether the operation is invalid without a session ID.
    pub fn needs_session(self) -> bool {
        matches!(self, Effect::ReadsSession | Effect::ChangesSession | Effect::EndsSession)
    }

    /// Whether the session that it names has ended afterwards.
    pub fn ends_session(self) -> bool {
        matches!(self, Effect::EndsSession | Effect::EndsUserSessions)
    }
}

/// The query of an operation.
#[derive(Debug, Clone, Copy)]
pub enum Query {
    /// These parameters, each at most once; none if empty.
    Parameters(&'static [&'static str]),
    /// Only the session's token, in one of these spellings. The first is the one that is forwarded.
    SessionToken(&'static [&'static str]),
}

/// The body of an operation without message schemas.
#[derive(Debug, Clone, Copy)]
pub enum BodyKind {
    /// No body.
    Nothing,
    /// A JSON document; the metadata is this member.
    Metadata(&'static str),
    /// A JSON document that names what to revoke.
    Revocation(&'static RevocationBody),
}

/// The messages of an operation.
#[derive(Debug)]
pub struct Call {
    /// The schema of the request.
    pub request: &'static schema::Message,
    /// The schema of the response.
    pub response: &'static schema::Message,
    /// Whether this is a remote procedure call rather than an HTTP method on a resource.
    pub is_rpc: bool,
    /// Whether policies may require the session's token in this request.
    pub takes_session_token: bool,
}

/// What a method and a path match.
#[derive(Debug, Clone)]
pub enum RouteMatch {
    /// A governed operation.
    Governed {
        /// The matching row.
        route: &'static Route,
        /// The session, if the path names one.
        session: Option<SessionId>,
        /// The segment with the tenant, if the path names one: sessions of different tenants may have the same ID.
        tenant: Option<String>,
        /// The canonical path: it was validated, so it is what is forwarded.
        path: String,
    },
    /// A request that may change any session.
    Invalidating,
    /// A request that may change any session if the provider accepts its credential, which the gateway cannot check.
    InvalidatingIfAccepted,
    /// No route and no invalidating request.
    Unmatched,
}

impl Route {
    /// A route without query, body and message schemas.
    pub(super) const fn document(
        method: &'static str,
        path: &'static [PathPart],
        operation: Operation,
        effect: Effect,
        scopes: &'static [&'static str],
    ) -> Route {
        let query = Query::Parameters(&[]);
        Route { method, path, operation, effect, scopes, query, body: BodyKind::Nothing, call: None }
    }

    /// With these query parameters.
    pub(super) const fn with_query(self, names: &'static [&'static str]) -> Route {
        Route { query: Query::Parameters(names), ..self }
    }

    /// With this body.
    pub(super) const fn with_body(self, body: BodyKind) -> Route {
        Route { body, ..self }
    }

    /// The path with names in place of IDs, in parts: `/api/v2/sessions/{session}`.
    pub fn template(&self) -> impl Iterator<Item = &'static str> {
        let name = |part: &PathPart| match part {
            PathPart::Word(word) => *word,
            PathPart::Session => "{session}",
            PathPart::RefreshToken => "{refresh_token}",
            PathPart::User => "{user}",
            PathPart::Tenant => "{tenant}",
            PathPart::Any | PathPart::OneOf(_) | PathPart::StartsWith(_) | PathPart::Rest | PathPart::EndsWith(_) => {
                "*"
            }
        };
        self.path.iter().flat_map(move |part| ["/", name(part)])
    }

    /// Whether the path names a user.
    pub fn names_user(&self) -> bool {
        self.path.contains(&PathPart::User)
    }

    /// Whether the path names a refresh token.
    pub fn names_refresh_token(&self) -> bool {
        self.path.contains(&PathPart::RefreshToken)
    }

    /// Whether this is a remote procedure call rather than an HTTP method on a resource.
    pub fn is_rpc(&self) -> bool {
        self.call.is_some_and(|call| call.is_rpc)
    }

    /// Whether a request may have a body: an HTTP method that reads has none.
    pub fn takes_body(&self) -> bool {
        self.is_rpc() || self.method != "GET"
    }

    /// Whether a request on a resource must have a body with a message.
    pub fn needs_body(&self) -> bool {
        self.method != "GET" && self.method != "DELETE"
    }
}
