//! A governed operation, before its caller is authorized.

use super::head::BodySize;
use super::upstream::Upstream;
use crate::coherence::TenantId;
use crate::dialect::Route;
use crate::model::SessionId;
use crate::wire::carrier::Carrier;
use std::sync::Arc;

/// A governed operation, not yet authorized.
#[derive(Debug)]
pub struct Governed {
    pub(super) upstream: Arc<Upstream>,
    pub(super) route: &'static Route,
    pub(super) carrier: Carrier,
    /// The session, if the path names one.
    pub(super) session: Option<SessionId>,
    /// The canonical path at the provider.
    pub(super) path: String,
    /// The query to forward.
    pub(super) query: Option<String>,
    /// The session's token from the query.
    pub(super) token: Option<String>,
    /// What the provider's response depends on besides the session, if it depends on the caller.
    pub(super) caller: Vec<u8>,
    /// The segment of the path that names a tenant.
    pub(super) tenant_name: Option<String>,
    /// The provider's tenant that the request is for.
    pub(super) tenant: TenantId,
    pub(super) size: BodySize,
}

impl Governed {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The operation's row.
    pub fn route(&self) -> &'static Route {
        self.route
    }
}
