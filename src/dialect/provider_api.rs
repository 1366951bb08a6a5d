//! A provider's API, as a table.

use super::credential::{self, CredentialPlace, IdentityClaims, Scopes};
use super::names::Names;
use super::path;
use super::pattern::{InvalidationRule, PathPart, RuleEffect, matches};
use super::provider_headers::ProviderHeaders;
use super::rejections::RejectionFormat;
use super::route::{Route, RouteMatch};
use super::token_form::TokenForm;
use crate::model::{Caller, IdForm, Rejection, SessionId};
use crate::policy::Limits;
use http::{HeaderMap, Method};
use std::borrow::Cow;

/// A provider's API.
#[derive(Debug)]
pub struct Dialect {
    /// The name in the configuration.
    pub name: &'static str,
    /// What it is the API of, for the documentation.
    pub title: &'static str,
    /// Whether it is a preview: its table may still change, and it has not been used against the provider itself.
    pub preview: bool,
    /// Prefixes of every path of the API, in lower case.
    pub roots: &'static [&'static str],
    /// Path prefixes (see [`path`]) below which every request must match one of `routes`.
    pub protected_paths: &'static [&'static str],
    /// Path prefixes below those that are not governed. Only their canonical spelling is forwarded.
    pub unprotected_paths: &'static [&'static str],
    /// The governed operations.
    pub routes: &'static [Route],
    /// Which other requests may change sessions. The first matching row applies.
    pub invalidating: &'static [InvalidationRule],
    /// Where users log out without a credential.
    pub logouts: &'static [Logout],
    /// Path prefixes (see [`path`]) of requests that carry no credential by design: discovery, keys, logins, logouts, and
    /// endpoints with credentials of their own, such as the token endpoint. They need no grant.
    pub public_paths: &'static [&'static str],
    /// Where requests show their credential. The first place that has one applies.
    pub credentials: &'static [CredentialPlace],
    /// The `typ` of access tokens, if it is neither `JWT` nor one of RFC 9068's.
    pub token_type: Option<&'static str>,
    /// The claims of access tokens that say who the caller is.
    pub claims: IdentityClaims,
    /// The form of the issuer and the audience of access tokens, if it is always the same.
    pub token_form: Option<TokenForm>,
    /// The scopes of access tokens.
    pub scopes: Scopes,
    /// The headers that the provider reads.
    pub headers: ProviderHeaders,
    /// The documented fields of a session, and of a refresh token, that are not in a schema of its messages: paths such
    /// as `device.last_ip`.
    pub session_fields: &'static [&'static str],
    /// The names of fields in messages.
    pub names: Names,
    /// The form of session IDs.
    pub session_ids: IdForm,
    /// The form of refresh token IDs.
    pub refresh_token_ids: IdForm,
    /// The maximum length of a user ID, decoded.
    pub user_id_length: usize,
    /// The provider's own limits of metadata.
    pub limits: Limits,
    /// Whether the provider accepts gRPC calls.
    pub has_grpc: bool,
    /// Whether verified callers share cached responses.
    pub sharing: Sharing,
    /// Which of the provider's 404 responses are about the session.
    pub not_found: NotFoundMeaning,
    /// Whether an empty map removes all metadata; if not, it changes nothing.
    pub empty_map_clears: bool,
    /// Whether a write that the provider rejects with 400 may have changed something, such as a counter of failed
    /// checks.
    pub bad_request_has_effects: bool,
    /// Error IDs, at the end of an error's text, that mean that the user is locked.
    pub lockout_ids: &'static [&'static str],
    /// How rejections are rendered in the provider's shape: `dialect.rejections.response(rejection, carrier)`.
    pub rejections: RejectionFormat,
}

/// A public operation that ends sessions: a token in the request, instead of a credential, names the session (OpenID
/// Connect RP-Initiated Logout 1.0).
#[derive(Debug)]
pub struct Logout {
    /// The path.
    pub path: &'static str,
    /// The parameter with the token, in the query or in a form.
    pub token: &'static str,
}

/// Whether verified callers share cached responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// They do, for this reason: the provider's response does not depend on who reads, once the scope is checked.
    Shared(&'static str),
    /// Each credential has its own, for this reason.
    PerCredential(&'static str),
}

impl Sharing {
    /// Whether they do.
    pub fn is_shared(self) -> bool {
        match self {
            Sharing::Shared(_) => true,
            Sharing::PerCredential(_) => false,
        }
    }
}

/// Which 404 (or 410) responses mean that the session does not exist, rather than that the caller may not see it.
#[derive(Debug, Clone, Copy)]
pub enum NotFoundMeaning {
    /// All.
    Any,
    /// Those whose message ends with this ID in parentheses.
    WithId(&'static str),
    /// Those whose error is this one.
    Error(&'static str),
}

impl NotFoundMeaning {
    /// Whether a response with this error is about the session.
    pub fn is_about_session(self, text: &str) -> bool {
        match self {
            NotFoundMeaning::Any => true,
            NotFoundMeaning::Error(error) => text == error,
            NotFoundMeaning::WithId(id) => text
                .trim_end()
                .strip_suffix(')')
                .is_some_and(|text| text.strip_suffix(id).is_some_and(|text| text.ends_with('('))),
        }
    }
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
            && let Some(canonical) = path::canonical_below(path, self.protected_paths)
        {
            if !path::is_below_any(&canonical, self.unprotected_paths) {
                return self.governed(method, canonical);
            }
            // Another API's. In another spelling, a server could read it as a governed path.
            return match canonical {
                Cow::Borrowed(_) => Ok(self.ungoverned(method, overridden, &path::PathReadings::of(path))),
                Cow::Owned(_) => Err(Rejection::Path),
            };
        }
        if path::is_clearly_outside(path, self.roots) {
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
        Ok(self.ungoverned(method, overridden, &spelling))
    }

    /// What a request is that is not governed. One with a method override may be executed with any method.
    fn ungoverned(&self, method: &Method, overridden: Option<&'static str>, path: &path::PathReadings) -> RouteMatch {
        let method = Some(method).filter(|_| overridden.is_none());
        if method.is_some_and(is_safe) {
            return RouteMatch::Unmatched;
        }
        match path.greatest(|parts| self.rule_effect(method, parts)) {
            Some(RuleEffect::Changes) => RouteMatch::Invalidating,
            Some(RuleEffect::ChangesIfAccepted) => RouteMatch::InvalidatingIfAccepted,
            Some(RuleEffect::Keeps) | None => RouteMatch::Unmatched,
        }
    }

    /// What a request with this method and path may do to sessions. `None` is any method.
    fn rule_effect(&self, method: Option<&Method>, parts: &[String]) -> RuleEffect {
        let named =
            |row: &&InvalidationRule| row.method.is_none_or(|own| method.is_some_and(|method| method.as_str() == own));
        let row = self.invalidating.iter().filter(named).find(|row| matches(row.path, parts));
        row.map_or(RuleEffect::Keeps, |row| row.effect)
    }

    /// Whether the caller's token allows any write at the provider.
    pub fn allows_writes(&self, caller: &Caller) -> bool {
        self.scopes.allow_writes(caller)
    }

    /// The token that a request shows.
    ///
    /// # Errors
    ///
    /// Rejects a request without a credential, with several, or with a malformed one.
    pub fn token<'h>(&self, headers: &'h HeaderMap) -> Result<&'h str, Rejection> {
        credential::token(self.credentials, headers)
    }

    /// The credentials that a request shows, each with the header that contains it. They are not parsed.
    pub fn shown_credentials<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = (&'static str, &'h [u8])> {
        let places = self.credentials.iter();
        places.flat_map(|place| place.values(headers).map(|value| (place.header(), value)))
    }

    /// Rejects a request with several credentials in one place.
    pub fn check_credentials(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let several = |place: &CredentialPlace| credential::check_single(*place, place.values(headers).skip(1));
        self.credentials.iter().try_for_each(several)
    }

    /// Whether requests with this path, in canonical form, carry no credential by design.
    pub fn is_public(&self, path: &str) -> bool {
        path::is_below_any(path, self.public_paths)
    }

    /// Whether this header contains a credential.
    pub fn has_credential(&self, name: &[u8]) -> bool {
        self.credentials.iter().any(|place| name.eq_ignore_ascii_case(place.header().as_bytes()))
    }

    /// Whether a path looks like a protected one, as clients usually spell it. It decides nothing about a request.
    pub fn may_govern(&self, path: &str) -> bool {
        self.protected_paths.iter().any(|prefix| path::looks_below(path, prefix))
    }

    /// Whether this method and path match a governed operation.
    pub fn governs(&'static self, method: &Method, path: &str) -> bool {
        matches!(self.match_route(method, path, None), Ok(RouteMatch::Governed { .. }))
    }

    fn governed(&'static self, method: &Method, path: Cow<str>) -> Result<RouteMatch, Rejection> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let here = self.routes.iter().filter(|route| matches(route.path, &parts));
        let Some(route) = here.clone().find(|route| route.method == method.as_str()) else {
            let methods: Vec<&str> = here.map(|route| route.method).collect();
            return Err(match methods.is_empty() {
                true => Rejection::UnknownOperation,
                false => Rejection::Method(methods.join(", ")),
            });
        };
        let (mut session, mut tenant) = (None, None);
        for (part, text) in route.path.iter().zip(parts) {
            match part {
                PathPart::Session => session = Some(self.session_id(text)?),
                PathPart::RefreshToken => self.check_refresh_token_id(text)?,
                PathPart::User => self.check_user_id(text)?,
                PathPart::Tenant => {
                    path::decoded_part(text).ok_or(Rejection::Path)?;
                    tenant = Some(text.to_owned());
                }
                PathPart::Word(_)
                | PathPart::Any
                | PathPart::OneOf(_)
                | PathPart::StartsWith(_)
                | PathPart::Rest
                | PathPart::EndsWith(_) => {}
            }
        }
        Ok(RouteMatch::Governed { route, session, tenant, path: path.into_owned() })
    }

    fn check_refresh_token_id(&self, text: &str) -> Result<(), Rejection> {
        let form = self.refresh_token_ids;
        if form.accepts(text) { Ok(()) } else { Err(Rejection::RefreshTokenId(form)) }
    }

    fn check_user_id(&self, part: &str) -> Result<(), Rejection> {
        let fits = |id: &String| id.encode_utf16().count() <= self.user_id_length;
        path::decoded_part(part).filter(fits).map(drop).ok_or(Rejection::UserId(self.user_id_length))
    }

    /// Parses a session ID.
    pub fn session_id(&self, text: &str) -> Result<SessionId, Rejection> {
        SessionId::parse(text, self.session_ids).ok_or(Rejection::SessionId(self.session_ids))
    }

    /// The path at the provider of an operation whose path has no variables but the session and the tenant.
    pub fn path(&self, route: &Route, id: Option<&SessionId>, tenant: Option<&str>) -> String {
        let parts = route.path.iter().map(|part| match part {
            PathPart::Word(word) => word,
            PathPart::Session => id.map_or("", SessionId::as_str),
            PathPart::Tenant => tenant.unwrap_or_default(),
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
    pub fn read_route(&self, of: &Route) -> Option<&'static Route> {
        self.reading(of.names_refresh_token())
    }

    /// Whether it has operations on refresh tokens.
    pub fn has_refresh_tokens(&self) -> bool {
        self.routes.iter().any(Route::names_refresh_token)
    }

    /// Whether an error's text means that the user is locked. The user's sessions have ended then.
    pub fn is_lockout(&self, text: &str) -> bool {
        let id = text.strip_suffix(')').and_then(|text| text.rsplit_once('(')).map(|(_, id)| id);
        id.is_some_and(|id| self.lockout_ids.contains(&id))
    }
}

fn is_safe(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}
