//! A provider's API, as a table.

use super::path;
use super::pattern::{InvalidationRule, PathPart, matches};
use super::route::{Route, RouteMatch};
use crate::model::{Caller, Operation, Rejection, SessionId};
use crate::policy::Limits;
use crate::wire::OwnResponse;
use crate::wire::carrier::Carrier;
use http::Method;
use std::borrow::Cow;

/// A provider's API.
#[derive(Debug)]
pub struct Dialect {
    /// The name in the configuration.
    pub name: &'static str,
    /// What it is the API of, for the documentation.
    pub title: &'static str,
    /// Prefixes of every path of the API, in lower case.
    pub roots: &'static [&'static str],
    /// Path prefixes (see [`path`]) below which every request must match one of `routes`.
    pub protected_paths: &'static [&'static str],
    /// The governed operations.
    pub routes: &'static [Route],
    /// Which other requests may change sessions. The first matching row applies.
    pub invalidating: &'static [InvalidationRule],
    /// Paths where users log out without a credential: a token in the request names the session (OpenID Connect
    /// RP-Initiated Logout 1.0).
    pub logouts: &'static [&'static str],
    /// Whether access tokens carry scopes that limit what the caller may change.
    pub has_scopes: bool,
    /// The members of JSON messages.
    pub json: JsonMembers,
    /// The maximum length of a session ID.
    pub session_id_length: usize,
    /// The maximum length of a refresh token ID.
    pub refresh_token_id_length: usize,
    /// The maximum length of a user ID, decoded.
    pub user_id_length: usize,
    /// The provider's own limits of metadata.
    pub limits: Limits,
    /// Whether the provider uses `X-Forwarded-For`, `-Proto` and `-Host`. If not, they are not sent.
    pub reads_forwarded_headers: bool,
    /// Whether the provider accepts gRPC calls.
    pub has_grpc: bool,
    /// Prefixes of headers that are removed from client requests, in addition to those that every proxy removes.
    pub stripped_headers: &'static [&'static str],
    /// Headers that select the client, host or instance of a request: accepted from trusted peers only.
    pub trusted_peer_headers: &'static [&'static str],
    /// Headers of the caller that change the provider's response, so they are part of the cache key.
    pub cache_key_headers: &'static [&'static str],
    /// Whether verified callers may share cached responses: the provider's response does not depend on the caller.
    pub is_shared_between_callers: bool,
    /// Which of the provider's 404 responses are about the session.
    pub not_found: NotFoundMeaning,
    /// Whether an empty map removes all metadata; if not, it changes nothing.
    pub empty_map_clears: bool,
    /// Whether writes have lifetimes, checks and challenges.
    pub has_session_rules: bool,
    /// Whether a write that the provider rejects with 400 may have changed something, such as a counter of failed
    /// checks.
    pub bad_request_has_effects: bool,
    /// Error IDs, at the end of an error's text, that mean that the user is locked.
    pub lockout_ids: &'static [&'static str],
    /// Renders a rejection in the provider's shape, for the carrier of the call.
    pub reply: fn(&Rejection, Carrier) -> OwnResponse,
}

/// Which 404 (or 410) responses mean that the session does not exist, rather than that the caller may not see it.
#[derive(Debug, Clone, Copy)]
pub enum NotFoundMeaning {
    /// All.
    Any,
    /// Those whose message ends with this ID in parentheses.
    WithId(&'static str),
}

impl NotFoundMeaning {
    /// Whether a response with this message is about the session.
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

/// The names of members in a provider's JSON messages.
#[derive(Debug)]
pub struct JsonMembers {
    /// In a response: the session's ID.
    pub id: &'static str,
    /// In requests and responses: the session's metadata.
    pub metadata: &'static str,
    /// In a response: the list of sessions.
    pub sessions: &'static str,
    /// In a response: the times at which it expires.
    pub expiries: &'static [&'static str],
    /// In a response: the time of the last change.
    pub changed_at: &'static str,
}

impl Dialect {
    /// Matches a request. `overridden` is the header that asks for another method, if there is one.
    ///
    /// # Errors
    ///
    /// Rejects a request that could reach a protected path but is not exactly one of the routes.
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
        if self.protected_paths.iter().any(|prefix| spelling.reaches(prefix) || spelling.may_reach(prefix)) {
            return match overridden {
                Some(name) => Err(Rejection::Header(name, "is not allowed")),
                None if method == Method::OPTIONS => Ok(RouteMatch::Unmatched),
                None => Err(Rejection::Path),
            };
        }
        // A request with a method override may be executed with any method.
        let method = Some(method).filter(|_| overridden.is_none());
        let writes = method.is_none_or(|method| !is_safe(method));
        let related = writes && spelling.any(|parts| self.may_change(method, parts));
        Ok(if related { RouteMatch::Invalidating } else { RouteMatch::Unmatched })
    }

    /// Whether a request with this method and path may change sessions. A method of `None` stands for any.
    fn may_change(&self, method: Option<&Method>, parts: &[String]) -> bool {
        let named =
            |row: &&InvalidationRule| row.method.is_none_or(|own| method.is_some_and(|method| method.as_str() == own));
        let row = self.invalidating.iter().filter(named).find(|row| matches(row.path, parts));
        row.is_some_and(|row| row.changes)
    }

    /// Whether the caller's token allows any write at the provider.
    pub fn allows_writes(&self, caller: &Caller) -> bool {
        !self.has_scopes || caller.scopes.iter().any(|scope| !scope.starts_with("read:"))
    }

    /// Whether this method and path match a governed operation.
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
        // Refresh token IDs allow the same characters as session IDs.
        SessionId::parse(text, self.refresh_token_id_length).map(drop).ok_or(Rejection::RefreshTokenId)
    }

    fn check_user_id(&self, part: &str) -> Result<(), Rejection> {
        let fits = |id: &String| id.encode_utf16().count() <= self.user_id_length;
        path::decoded_part(part).filter(fits).map(drop).ok_or(Rejection::UserId)
    }

    /// Parses a session ID.
    pub fn session_id(&self, text: &str) -> Result<SessionId, Rejection> {
        SessionId::parse(text, self.session_id_length).ok_or(Rejection::SessionId)
    }

    /// The methods of a path, for the `Allow` header.
    fn methods(&self, like: &Route) -> String {
        let here = self.routes.iter().filter(|route| route.path == like.path);
        here.map(|route| route.method).collect::<Vec<_>>().join(", ")
    }

    /// The path at the provider of an operation whose path has no variable but the session.
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

    /// The REST operation that reads what this operation changes.
    pub fn read_route(&self, of: Operation) -> Option<&'static Route> {
        let reads =
            if of == Operation::UpdateRefreshToken { Operation::ReadRefreshToken } else { Operation::ReadSession };
        let resource = |route: &&Route| route.call.is_none_or(|call| !call.is_rpc);
        self.routes.iter().find(|route| route.operation == reads && resource(route))
    }

    /// Whether an error's text means that the user is locked. The user's sessions have ended then.
    pub fn is_lockout(&self, text: &str) -> bool {
        let id = text.strip_suffix(')').and_then(|text| text.rsplit_once('(')).map(|(_, id)| id);
        id.is_some_and(|id| self.lockout_ids.contains(&id))
    }

    /// Whether trusted peers may send this header to the provider.
    pub fn is_trusted_peer_header(&self, name: &str) -> bool {
        self.trusted_peer_headers.contains(&name)
    }

    /// Whether this header is removed from client requests.
    pub fn is_stripped_header(&self, name: &str) -> bool {
        let hidden = |name: &str| self.stripped_headers.iter().any(|start| name.starts_with(start));
        !self.stripped_headers.is_empty() && (hidden(name) || (name.contains('_') && hidden(&name.replace('_', "-"))))
    }
}

fn is_safe(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}
