//! Dialects: what a provider's API looks like. Each is a table; the code that reads the tables is the same for all.

mod auth0;
mod call;
mod listed;
pub mod path;
mod pattern;
mod resource;
mod revocation;
mod zitadel;

pub use auth0::AUTH0;
pub use call::DecodedBody;
pub use listed::SessionList;
pub use pattern::{InvalidationRule, PathPart};
pub use revocation::{MemberType, Revocation, RevocationBody, RevocationMember};
pub use zitadel::ZITADEL;

use crate::model::{Caller, Operation, Rejection, SessionId};
use crate::policy::Limits;
use crate::wire::carrier::Carrier;
use crate::wire::{OwnResponse, schema};
use http::Method;
use pattern::matches;
use std::borrow::Cow;

/// A provider's API.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The paths under which all of the API lies, in lower case.
    pub roots: &'static [&'static str],
    /// The places (see [`path`]) at and below which the canonical form of every request has to be one of `routes`.
    pub protected_paths: &'static [&'static str],
    /// The governed operations.
    pub routes: &'static [Route],
    /// What else may change sessions, and what does not although it looks like it: the first row that fits a path
    /// decides.
    pub invalidating: &'static [InvalidationRule],
    /// The paths at which users log out without a credential, by a token of theirs that names the session
    /// (OpenID Connect RP-Initiated Logout 1.0).
    pub logouts: &'static [&'static str],
    /// Whether the scopes of a token say what its caller may change.
    pub has_scopes: bool,
    /// Where things are in requests and answers.
    pub json: JsonMembers,
    /// The longest session id.
    pub session_id_length: usize,
    /// The longest id of a refresh token.
    pub refresh_token_id_length: usize,
    /// The longest id of a user, decoded.
    pub user_id_length: usize,
    /// The provider's own limits of metadata.
    pub limits: Limits,
    /// Whether the provider reads `X-Forwarded-For`, `-Proto` and `-Host`; one that does not is not told about its
    /// clients.
    pub reads_forwarded_headers: bool,
    /// Whether it takes calls of gRPC.
    pub has_grpc: bool,
    /// The beginnings of headers that a client has no say in, beside those of every proxy.
    pub stripped_headers: &'static [&'static str],
    /// Headers that say for whom, and as what, the provider answers: taken from trusted peers only.
    pub trusted_peer_headers: &'static [&'static str],
    /// Headers of a caller's own that decide on the provider's response: it is keyed by them.
    pub cache_key_headers: &'static [&'static str],
    /// Whether verified callers may share what is cached: the provider's response does not depend on who asks.
    pub is_shared_between_callers: bool,
    /// Which of its responses that there is no session speak of the session.
    pub not_found: NotFoundMeaning,
    /// Whether metadata without entries removes all of it, or else changes nothing.
    pub empty_map_clears: bool,
    /// Whether writes have lifetimes, checks and challenges.
    pub has_session_rules: bool,
    /// Whether a write that the provider calls bad may have had effects all the same, such as a check that failed and
    /// is counted.
    pub bad_request_has_effects: bool,
    /// The ids, at the end of an error's text, by which the provider says that a user is locked.
    pub lockout_ids: &'static [&'static str],
    /// The provider's form of a rejection, in the carrier of the call.
    pub reply: fn(&Rejection, Carrier) -> OwnResponse,
}

/// Which 404 (or 410) of a provider speaks of the session, and not of who asks for it.
#[derive(Debug, Clone, Copy)]
pub enum NotFoundMeaning {
    /// Each.
    Any,
    /// One whose message ends in this id.
    WithId(&'static str),
}

impl NotFoundMeaning {
    /// Whether a response with this text speaks of the session.
    pub fn is_about_session(self, text: &str) -> bool {
        match self {
            NotFoundMeaning::Any => true,
            NotFoundMeaning::WithId(id) => text
                .trim_end()
                .strip_suffix(')')
                .is_some_and(|text| text.strip_suffix(id).is_some_and(|text| text.ends_with('('))),
        }
    }
}

/// A governed operation.
#[derive(Debug)]
pub struct Route {
    /// The method, in upper case.
    pub method: &'static str,
    /// The path, part by part.
    pub path: &'static [PathPart],
    /// What it does.
    pub operation: Operation,
    /// The scopes that the caller's token needs, all of them; none where the provider has none.
    pub scopes: &'static [&'static str],
    /// What may stand in the query, each once.
    pub query: &'static [&'static str],
    /// The body, where the provider declares no messages.
    pub body: BodyKind,
    /// The messages, where the provider declares them.
    pub call: Option<&'static Call>,
}

/// The body of an operation that has no declared messages.
#[derive(Debug, Clone, Copy)]
pub enum BodyKind {
    /// None.
    Nothing,
    /// A document with this member for the metadata.
    Metadata(&'static str),
    /// A document that says what is revoked.
    Revocation(&'static RevocationBody),
}

/// The messages of an operation.
#[derive(Debug)]
pub struct Call {
    /// The message that asks.
    pub request: &'static schema::Message,
    /// The message that answers.
    pub response: &'static schema::Message,
    /// Whether it is a remote procedure, and not a resource with a method of HTTP.
    pub is_rpc: bool,
    /// Whether the caller should show the session's token.
    pub takes_session_token: bool,
}

/// Where things are in a provider's JSON messages.
#[derive(Debug)]
pub struct JsonMembers {
    /// The member of a response with the session's id.
    pub id: &'static str,
    /// The member with a session's metadata, in requests and answers.
    pub metadata: &'static str,
    /// The member of a response with a list of sessions.
    pub sessions: &'static str,
    /// The members of a response with times after which it does not hold.
    pub expiries: &'static [&'static str],
    /// The member of a response with the time of its last change.
    pub changed_at: &'static str,
}

/// What a path and a method name in a dialect.
#[derive(Debug, Clone)]
pub enum RouteMatch {
    /// A governed operation.
    Governed {
        /// Its row.
        route: &'static Route,
        /// The session, where the path names it.
        session: Option<SessionId>,
        /// The path in its canonical form: what was checked, and so what is forwarded.
        path: String,
    },
    /// Something that may change any session.
    Invalidating,
    /// Nothing that the dialect knows.
    Unmatched,
}

/// What a session's answer says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFacts {
    /// When it stops to hold, in milliseconds since the epoch.
    pub expires_at: Option<u64>,
    /// Its version: the time of the last change, in milliseconds since the epoch.
    pub version: Option<u64>,
}

impl Route {
    /// Whether it names a user.
    pub fn names_user(&self) -> bool {
        self.path.contains(&PathPart::User)
    }
}

impl Dialect {
    /// What this request names. `overridden` is the header that asks for another method than the request's own.
    pub fn match_route(
        &'static self,
        method: &Method,
        path: &str,
        overridden: Option<&'static str>,
    ) -> Result<RouteMatch, Rejection> {
        if method != Method::OPTIONS
            && let Some(path) = path::canonical_below(path, self.protected_paths)
        {
            return self.governed(method, path);
        }
        if self.roots.iter().all(|root| path::is_clearly_outside(path, root)) {
            return Ok(RouteMatch::Unmatched);
        }
        let spelling = path::PathReadings::of(path);
        if self.protected_paths.iter().any(|place| spelling.reaches(place) || spelling.may_reach(place)) {
            return match overridden {
                Some(name) => Err(Rejection::Header(name)),
                None if method == Method::OPTIONS => Ok(RouteMatch::Unmatched),
                None => Err(Rejection::Path),
            };
        }
        // Whoever asks for another method may get any.
        let method = Some(method).filter(|_| overridden.is_none());
        let writes = method.is_none_or(|method| !is_safe(method));
        let related = writes && spelling.any(|parts| self.may_change(method, parts));
        Ok(if related { RouteMatch::Invalidating } else { RouteMatch::Unmatched })
    }

    /// Whether a request with this method and this path may change sessions, read as a write.
    fn may_change(&self, method: Option<&Method>, parts: &[String]) -> bool {
        let named =
            |row: &&InvalidationRule| row.method.is_none_or(|own| method.is_some_and(|method| method.as_str() == own));
        let row = self.invalidating.iter().filter(named).find(|row| matches(row.path, parts));
        row.is_some_and(|row| row.changes)
    }

    /// Whether this caller may change anything at the provider, as far as its token says.
    pub fn allows_writes(&self, caller: &Caller) -> bool {
        !self.has_scopes || caller.scopes.iter().any(|scope| !scope.starts_with("read:"))
    }

    /// Whether a path and a method name a governed operation.
    pub fn governs(&'static self, method: &Method, path: &str) -> bool {
        let found = path::canonical_below(path, self.protected_paths).map(|path| self.governed(method, path));
        matches!(found, Some(Ok(RouteMatch::Governed { .. })))
    }

    fn governed(&'static self, method: &Method, path: Cow<str>) -> Result<RouteMatch, Rejection> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut here = self.routes.iter().filter(|route| matches(route.path, &parts)).peekable();
        let Some(any) = here.peek().copied() else {
            return Err(Rejection::UnknownOperation);
        };
        let route = here.find(|route| route.method == method.as_str()).ok_or(Rejection::Method(self.methods(any)))?;
        let mut session = None;
        for (part, text) in route.path.iter().zip(parts) {
            match part {
                PathPart::Session => session = Some(self.session_id(text)?),
                PathPart::RefreshToken => self.check_refresh_token_id(text)?,
                PathPart::User => self.check_user_id(text)?,
                PathPart::Word(_)
                | PathPart::Any
                | PathPart::OneOf(_)
                | PathPart::StartsWith(_)
                | PathPart::Rest
                | PathPart::EndsWith(_) => {}
            }
        }
        Ok(RouteMatch::Governed { route, session, path: path.into_owned() })
    }

    fn check_refresh_token_id(&self, text: &str) -> Result<(), Rejection> {
        // Their ids have the same characters.
        SessionId::parse(text, self.refresh_token_id_length).map(drop).ok_or(Rejection::RefreshTokenId)
    }

    fn check_user_id(&self, part: &str) -> Result<(), Rejection> {
        let fits = |id: &String| id.encode_utf16().count() <= self.user_id_length;
        path::decoded_part(part).filter(fits).map(drop).ok_or(Rejection::UserId)
    }

    /// A session's identifier.
    pub fn session_id(&self, text: &str) -> Result<SessionId, Rejection> {
        SessionId::parse(text, self.session_id_length).ok_or(Rejection::SessionId)
    }

    /// The methods of a governed path, as `Allow` lists them.
    fn methods(&self, like: &Route) -> String {
        let here = self.routes.iter().filter(|route| route.path == like.path);
        here.map(|route| route.method).collect::<Vec<_>>().join(", ")
    }

    /// The path of an operation at the provider that names nothing but a session.
    pub fn path(&self, route: &Route, id: Option<&SessionId>) -> String {
        let parts = route.path.iter().map(|part| match part {
            PathPart::Word(word) => word,
            PathPart::Session => id.map_or("", SessionId::as_str),
            PathPart::RefreshToken
            | PathPart::User
            | PathPart::Any
            | PathPart::OneOf(_)
            | PathPart::StartsWith(_)
            | PathPart::Rest
            | PathPart::EndsWith(_) => "",
        });
        parts.fold(String::new(), |path, part| path + "/" + part)
    }

    /// The operation that reads what another changes, as a resource.
    pub fn read_route(&self, of: Operation) -> Option<&'static Route> {
        let reads =
            if of == Operation::UpdateRefreshToken { Operation::ReadRefreshToken } else { Operation::ReadSession };
        let resource = |route: &&Route| route.call.is_none_or(|call| !call.is_rpc);
        self.routes.iter().find(|route| route.operation == reads && resource(route))
    }

    /// Whether an error's text says that a user is locked, whose sessions have ended with that.
    pub fn is_lockout(&self, text: &str) -> bool {
        let id = text.strip_suffix(')').and_then(|text| text.rsplit_once('(')).map(|(_, id)| id);
        id.is_some_and(|id| self.lockout_ids.contains(&id))
    }

    /// Whether the provider takes this header from peers that may speak for others.
    pub fn is_trusted_peer_header(&self, name: &str) -> bool {
        self.trusted_peer_headers.contains(&name)
    }

    /// Whether a client has no say in this header at this provider.
    pub fn is_stripped_header(&self, name: &str) -> bool {
        let hidden = |name: &str| self.stripped_headers.iter().any(|start| name.starts_with(start));
        !self.stripped_headers.is_empty() && (hidden(name) || (name.contains('_') && hidden(&name.replace('_', "-"))))
    }
}

fn is_safe(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}
