//! A request whose caller is authorized, before its body is read.

use super::decoded::DecodedRequest;
use super::{BodySize, Credential, Gateway, Governed, Upstream};
use crate::model::{Operation, Rejection};
use crate::wire::carrier::Carrier;
use crate::wire::frame::FrameError;
use bytes::Bytes;
use std::sync::Arc;

/// A governed request whose caller is authorized.
#[derive(Debug)]
pub struct AuthorizedRequest {
    pub(super) governed: Governed,
    pub(super) credential: Credential,
}

/// The key of a cached response. It can be made only from an authorized read, and contains no ID in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// The scope: the hash of the upstream's provider.
    pub upstream: u64,
    /// The keyed hash of the session ID.
    pub session: [u8; 16],
    /// The hash of what else the response depends on.
    pub variant: [u8; 16],
}

impl AuthorizedRequest {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.governed.upstream
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.governed.route.operation
    }

    /// The call's encoding.
    pub fn carrier(&self) -> Carrier {
        self.governed.carrier
    }

    /// The size of the body, as the head declares it.
    pub fn body_size(&self) -> BodySize {
        self.governed.size
    }

    /// The maximum size of the body, and the rejection of a larger one.
    pub fn body_limit(&self) -> (usize, Rejection) {
        let limits = self.governed.upstream.body;
        match self.governed.size {
            BodySize::None | BodySize::Unknown if self.governed.route.call.is_none() => {
                (limits.max_undeclared, Rejection::LengthRequired(limits.max_undeclared))
            }
            BodySize::Declared(_) | BodySize::None | BodySize::Unknown => (limits.max, Rejection::TooLarge(limits.max)),
        }
    }

    /// Rejects a body whose declared size exceeds the limit.
    pub fn check_size(&self) -> Result<(), Rejection> {
        let limit = self.governed.upstream.body.max;
        match self.governed.size {
            BodySize::Declared(size) if size > limit => Err(Rejection::TooLarge(limit)),
            BodySize::Declared(_) | BodySize::None | BodySize::Unknown => Ok(()),
        }
    }

    /// Decodes the whole body.
    ///
    /// # Errors
    ///
    /// Rejects a body that is malformed, unexpected, or contradicts the path.
    pub fn read_body(self, gateway: &Gateway, body: Bytes) -> Result<DecodedRequest, Rejection> {
        let Governed { upstream, route, carrier, session, token, .. } = &self.governed;
        let dialect = upstream.dialect;
        let takes = route.call.is_none_or(|call| call.is_rpc || route.operation != Operation::ReadSession);
        if !takes && !body.is_empty() {
            return Err(Rejection::UnexpectedBody);
        }
        let message = carrier.request_message(&body).map_err(|error| match error {
            FrameError::Compressed => Rejection::ContentCoding,
            FrameError::Flags | FrameError::Length => Rejection::Malformed(error.to_string()),
        })?;
        let read = dialect.read_body(route, *carrier, message)?;
        // The path and the body must name the same session: it is unknown which of them the provider would use.
        let session = match (session, read.session().filter(|named| !named.is_empty())) {
            (Some(session), Some(named)) if named != session.as_str() => {
                return Err(Rejection::Malformed("the session in the body is not that of the path".into()));
            }
            (Some(session), _) => Some(session.clone()),
            (None, Some(named)) => Some(dialect.session_id(named)?),
            (None, None) => None,
        };
        if session.is_none() && route.operation.needs_session() {
            return Err(Rejection::SessionId);
        }
        let token = token.clone().or_else(|| read.token().map(str::to_owned));
        let session = session.map(|session| (gateway.session_hash(upstream, &session), session));
        Ok(DecodedRequest { authorized: self, body, read, session, token })
    }
}
