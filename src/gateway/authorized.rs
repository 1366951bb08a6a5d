//! A caller that may do what it asks for, before it is known what exactly it asks.

use super::decoded::DecodedRequest;
use super::{BodySize, Credential, Gateway, Governed, Upstream};
use crate::model::{Operation, Rejection};
use crate::wire::carrier::Carrier;
use crate::wire::frame::FrameError;
use bytes::Bytes;
use std::sync::Arc;

/// A caller that may do what it asks for.
#[derive(Debug)]
pub struct AuthorizedRequest {
    pub(super) governed: Governed,
    pub(super) credential: Credential,
}

/// The name of a cached response. It can be made only from an admitted read, and it holds no identifier in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// The upstream's scope.
    pub upstream: u64,
    /// The session.
    pub session: [u8; 16],
    /// Whom the response is for.
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

    /// How the call stands on the wire.
    pub fn carrier(&self) -> Carrier {
        self.governed.carrier
    }

    /// What the head said of the body, which must be read before the request is decided.
    pub fn body_size(&self) -> BodySize {
        self.governed.size
    }

    /// The largest body that may be read, and how it is rejected beyond that.
    pub fn body_limit(&self) -> (usize, Rejection) {
        let limits = self.governed.upstream.body;
        match self.governed.size {
            BodySize::None | BodySize::Unknown if self.governed.route.call.is_none() => {
                (limits.max_undeclared, Rejection::LengthRequired(limits.max_undeclared))
            }
            BodySize::Declared(_) | BodySize::None | BodySize::Unknown => (limits.max, Rejection::TooLarge(limits.max)),
        }
    }

    /// Whether a body of the size that the head declares may be read at all.
    pub fn check_size(&self) -> Result<(), Rejection> {
        let limit = self.governed.upstream.body.max;
        match self.governed.size {
            BodySize::Declared(size) if size > limit => Err(Rejection::TooLarge(limit)),
            BodySize::Declared(_) | BodySize::None | BodySize::Unknown => Ok(()),
        }
    }

    /// Reads what is asked for out of the whole body.
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
        // In a path and in the body they would have to agree, and nothing says which of them counts.
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
