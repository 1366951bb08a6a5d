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
    /// The operation.
    pub operation: Operation,
    /// The scopes that the caller's token needs, all of them; empty if the provider has no scopes.
    pub scopes: &'static [&'static str],
    /// The allowed query parameters, each at most once.
    pub query: &'static [&'static str],
    /// The body, if `call` is `None`.
    pub body: BodyKind,
    /// The schemas of the messages, if the provider declares them.
    pub call: Option<&'static Call>,
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
        /// The canonical path: it was validated, so it is what is forwarded.
        path: String,
    },
    /// A request that may change any session.
    Invalidating,
    /// No route and no invalidating request.
    Unmatched,
}

impl Route {
    /// Whether the path names a user.
    pub fn names_user(&self) -> bool {
        self.path.contains(&PathPart::User)
    }
}
