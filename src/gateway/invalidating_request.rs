//! A request that may change any session, or a call that lists sessions, before its caller is authorized.

use super::credential::{Credential, check_credential};
use super::upstream::Upstream;
use crate::dialect::Effect;
use crate::model::{Operation, Rejection};
use std::sync::Arc;

/// A request that may change any session, or a call that lists sessions, not yet authorized.
#[derive(Debug)]
pub struct InvalidatingRequest {
    pub(super) upstream: Arc<Upstream>,
    pub(super) operation: Operation,
    pub(super) effect: Effect,
    /// The path to forward instead of the original one.
    pub(super) path: Option<String>,
}

impl InvalidatingRequest {
    /// The operation.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether the request may change sessions.
    pub fn changes(&self) -> bool {
        !self.effect.reads()
    }

    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The canonical path to forward, if the original one has another spelling.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Authorizes the caller. Scopes are left to the provider: these operations are many, and the request keeps the
    /// caller's own credential.
    pub fn authorize(self, credential: &Credential) -> Result<Arc<Upstream>, Rejection> {
        check_credential(&self.upstream.check, credential).map(|()| self.upstream)
    }
}
