//! The proof that a request is about sessions that its caller's grant allows.

use super::authorized::AuthorizedRequest;
use super::current_state::{CurrentState, Owner};
use crate::dialect::{CheckedUser, DecodedBody, Dialect, Effect, Route};
use crate::grant::SessionScope;
use crate::model::{Caller, Operation, Rejection, SessionId};

/// The proof that a request is about sessions that its caller's grant allows, or what is still missing to it. Every
/// decoded request has one.
#[derive(Debug)]
pub(super) enum SessionProof {
    /// The grant allows all sessions, or the request names the caller's own.
    Complete,
    /// What the provider shows must belong to this owner.
    Missing(Owner),
}

/// The complete proof. No write is made without it.
#[derive(Debug)]
pub(super) struct Proven(());

impl SessionProof {
    /// The owner that the provider's response must show.
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            SessionProof::Complete => None,
            SessionProof::Missing(owner) => Some(owner),
        }
    }

    pub fn into_owner(self) -> Option<Owner> {
        match self {
            SessionProof::Complete => None,
            SessionProof::Missing(owner) => Some(owner),
        }
    }

    /// Completes the proof with the current state of all that the request names. `None` if that is needed, but not here.
    ///
    /// # Errors
    ///
    /// Rejects a request for what does not belong to the owner, like one for what does not exist.
    pub fn proven(&self, current: Option<&[CurrentState]>) -> Result<Option<Proven>, Rejection> {
        match (self, current) {
            (SessionProof::Complete, _) => Ok(Some(Proven(()))),
            (SessionProof::Missing(_), None) => Ok(None),
            (SessionProof::Missing(owner), Some(current)) => {
                let owned = !current.is_empty() && current.iter().all(|state| state.belongs_to(owner));
                owned.then_some(Some(Proven(()))).ok_or(Rejection::ForeignSession)
            }
        }
    }
}

/// Whether any request for this operation can be proven to be about sessions that a grant with this scope allows. The
/// others are rejected, whatever they contain.
pub fn is_provable(dialect: &Dialect, route: &Route, sessions: SessionScope) -> bool {
    match (sessions, route.effect) {
        (SessionScope::Any, _) => true,
        (SessionScope::Own, Effect::CreatesSession) => false,
        (SessionScope::Own, _) => dialect.can_name_session(route) || dialect.can_name_refresh_tokens(route),
        (SessionScope::User, Effect::CreatesSession) => dialect.can_check_user(route),
        (SessionScope::User, Effect::ListsSessions) => dialect.can_name_user(route),
        (SessionScope::User, _) => {
            let names_one = dialect.can_name_session(route) || dialect.can_name_refresh_tokens(route);
            names_one || dialect.can_name_user(route)
        }
    }
}

impl AuthorizedRequest {
    /// Proves what the request alone proves.
    ///
    /// # Errors
    ///
    /// Rejects a request for another session than the caller's own, and one that nothing proves to be the caller's.
    pub(super) fn prove(&self, body: &DecodedBody, session: Option<&SessionId>) -> Result<SessionProof, Rejection> {
        let Some(grant) = &self.grant else {
            return Ok(SessionProof::Complete);
        };
        // Without a verified caller there is no grant.
        let caller = self.credential.verified().map(|verified| verified.caller());
        let caller =
            caller.filter(|_| is_provable(self.governed.upstream.dialect, self.governed.route, grant.sessions));
        match (grant.sessions, caller) {
            (SessionScope::Any, _) => Ok(SessionProof::Complete),
            (SessionScope::Own, Some(caller)) => self.prove_own(caller, body, session),
            (SessionScope::User, Some(caller)) => self.prove_user(caller, body, session),
            (SessionScope::Own, None) => Err(no_own()),
            (SessionScope::User, None) => Err(others()),
        }
    }

    /// The session is the one that the caller's token names.
    fn prove_own(
        &self,
        caller: &Caller,
        body: &DecodedBody,
        session: Option<&SessionId>,
    ) -> Result<SessionProof, Rejection> {
        let own = caller.session.as_deref().filter(|own| !own.is_empty());
        if self.names_refresh_tokens(body) {
            let own = own.ok_or(Rejection::ForeignSession)?;
            return self.missing(Owner::Session(own.to_owned()));
        }
        let named = session.ok_or_else(no_own)?;
        // A path may name a user, too: a provider may look only at that.
        if self.user_in_path().is_some_and(|user| user != caller.subject) {
            return Err(no_own());
        }
        if own == Some(named.as_str()) { Ok(SessionProof::Complete) } else { Err(Rejection::ForeignSession) }
    }

    /// The session's user is the subject of the caller's token.
    fn prove_user(
        &self,
        caller: &Caller,
        body: &DecodedBody,
        session: Option<&SessionId>,
    ) -> Result<SessionProof, Rejection> {
        let subject = Some(caller.subject.as_str()).filter(|subject| !subject.is_empty()).ok_or_else(others)?;
        let dialect = self.governed.upstream.dialect;
        let is_checked = match dialect.checked_user(body) {
            CheckedUser::Id(user) => user == subject,
            // The provider compares a login name with the session's user. A new session has none.
            CheckedUser::None | CheckedUser::Other => self.governed.route.effect != Effect::CreatesSession,
            CheckedUser::Unknown => false,
        };
        let revoked = body.revocation().and_then(|revocation| revocation.user.as_deref());
        let named = [self.user_in_path(), self.user_in_query(), revoked.map(str::to_owned)];
        let mut named = named.into_iter().flatten().peekable();
        let is_named = named.peek().is_some();
        if !is_checked || named.any(|user| user != subject) {
            return Err(others());
        }
        match self.governed.route.effect {
            Effect::CreatesSession => Ok(SessionProof::Complete),
            Effect::ListsSessions if is_named || dialect.is_filtered_by(subject, body) => {
                Ok(SessionProof::Missing(Owner::User(subject.to_owned())))
            }
            Effect::Reads(_) if is_named => Ok(SessionProof::Missing(Owner::User(subject.to_owned()))),
            Effect::ListsSessions => Err(others()),
            _ if session.is_some() || self.names_refresh_tokens(body) => self.missing(Owner::User(subject.to_owned())),
            _ if is_named => Ok(SessionProof::Complete),
            _ => Err(others()),
        }
    }

    /// The provider shows whether the caller owns what a write changes: the write is made after a read, with the
    /// caller's own token.
    fn missing(&self, owner: Owner) -> Result<SessionProof, Rejection> {
        if !self.governed.route.effect.reads() {
            self.check_read_scope()?;
        }
        Ok(SessionProof::Missing(owner))
    }

    /// Rejects a caller who may not read what the request changes.
    pub(super) fn check_read_scope(&self) -> Result<(), Rejection> {
        let Some(verified) = self.credential.verified() else {
            return Ok(());
        };
        let scopes = self.read_route().map_or(&[][..], |route| route.scopes);
        match scopes.iter().find(|scope| !verified.caller().has_scope(scope)) {
            Some(missing) => Err(Rejection::Scope(missing)),
            None => Ok(()),
        }
    }

    /// The operation over REST that reads what this request changes.
    pub(super) fn read_route(&self) -> Option<&'static Route> {
        let route = self.governed.route;
        let refresh_token = route.names_refresh_token() || route.operation == Operation::RevokeRefreshTokens;
        self.governed.upstream.dialect.reading(refresh_token)
    }

    fn names_refresh_tokens(&self, body: &DecodedBody) -> bool {
        let listed = body.revocation().is_some_and(|revocation| !revocation.refresh_tokens.is_empty());
        self.governed.route.names_refresh_token() || listed
    }

    fn user_in_path(&self) -> Option<String> {
        let base = self.governed.upstream.target.base_path.as_str();
        let path = self.governed.path.as_str();
        self.governed.route.user_in_path(path.strip_prefix(base).unwrap_or(path))
    }

    fn user_in_query(&self) -> Option<String> {
        self.governed.upstream.dialect.user_in_query(self.governed.query.as_deref()?)
    }
}

/// The request names no session, or not only the caller's own.
fn no_own() -> Rejection {
    Rejection::Grant("requests that do not name the caller's own session".into())
}

/// Nothing proves that the sessions are the caller's.
fn others() -> Rejection {
    Rejection::Grant("sessions of other users".into())
}
