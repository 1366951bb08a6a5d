//! A request that may change any session, or a call that lists sessions, before its caller is authorized.

use super::matched_credential::MatchedCredential;
use super::upstream::Upstream;
use crate::dialect::Route;
use crate::model::{Operation, Rejection};
use std::sync::Arc;

/// A request that may change any session, or a call that lists sessions, not yet authorized.
#[derive(Debug)]
pub struct InvalidatingRequest {
    pub(super) upstream: Arc<Upstream>,
    /// The row of a call that lists sessions; `None` for a request that may change any session.
    pub(super) route: Option<&'static Route>,
    /// The path to forward instead of the original one.
    pub(super) path: Option<String>,
}

impl InvalidatingRequest {
    /// The operation.
    pub fn operation(&self) -> Operation {
        self.route.map_or(Operation::ChangeRelated, |route| route.operation)
    }

    /// The row of a call that lists sessions.
    pub fn route(&self) -> Option<&'static Route> {
        self.route
    }

    /// Whether the request may change sessions.
    pub fn changes(&self) -> bool {
        self.route.is_none_or(|route| !route.effect.reads())
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
    pub fn authorize(self, caller: &MatchedCredential) -> Result<Arc<Upstream>, Rejection> {
        caller.check(self.operation()).map(|()| self.upstream)
    }
}
