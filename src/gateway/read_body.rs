//! Decodes the body of an authorized request.

use super::authorized::AuthorizedRequest;
use super::decoded::DecodedRequest;
use super::{Gateway, Governed};
use crate::model::Rejection;
use crate::wire::frame::FrameError;
use bytes::Bytes;

impl AuthorizedRequest {
    /// Decodes the whole body.
    ///
    /// # Errors
    ///
    /// Rejects a body that is malformed, unexpected, or contradicts the path, and a request that its caller's grant does
    /// not allow.
    ///
    /// The request is boxed, because each future that it goes through has a place for it.
    pub fn read_body(self, gateway: &Gateway, body: Bytes) -> Result<Box<DecodedRequest>, Rejection> {
        let Governed { upstream, route, carrier, path, session, token, .. } = &self.governed;
        let dialect = upstream.dialect;
        if !route.takes_body() && !body.is_empty() {
            return Err(Rejection::UnexpectedBody);
        }
        let message = carrier.request_message(&body).map_err(|error| match error {
            FrameError::Compressed => Rejection::ContentCoding,
            FrameError::Flags | FrameError::Length => Rejection::Malformed(error.to_string()),
        })?;
        let read = dialect.read_body(route, *carrier, message)?;
        // The path and the body must name the same session: it is unknown which of them the provider would use.
        let session = match (session, dialect.session_in(&read).filter(|named| !named.is_empty())) {
            (Some(session), Some(named)) if named != session.as_str() => {
                return Err(Rejection::Malformed("the session ID in the body differs from the path".into()));
            }
            (Some(session), _) => Some(session.clone()),
            (None, Some(named)) => Some(dialect.session_id(named)?),
            (None, None) => None,
        };
        if session.is_none() && route.effect.needs_session() {
            return Err(Rejection::SessionId(dialect.session_ids));
        }
        let token = token.clone().or_else(|| dialect.session_token_in(&read).map(str::to_owned));
        let proof = self.prove(&read, session.as_ref())?;
        self.check_search(&read, &proof)?;
        let session = session.map(|session| (gateway.session_hash(upstream, &session), session));
        // Paths are in canonical form.
        let named =
            |path: &str| gateway.keyed_hash(&[b"refresh_token", &upstream.scope.to_be_bytes(), path.as_bytes()]);
        let refresh_token = (route.names_refresh_token() && session.is_none()).then(|| named(path));
        let ids = read.revocation().map_or(&[][..], |revocation| &revocation.refresh_tokens);
        let paths = ids.iter().filter_map(|id| dialect.refresh_token_path(id));
        let revoked = paths.map(|path| named(&(upstream.target.base_path.clone() + &path))).collect();
        Ok(Box::new(DecodedRequest { authorized: self, body, read, session, refresh_token, revoked, token, proof }))
    }
}
