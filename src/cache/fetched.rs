//! What a read needs from the cache, and what a fetch brings it.

use crate::coherence::reading::FreshnessWindows;
use crate::coherence::{CallerDigest, Millis, TenantId};
use crate::gateway::{Cacheability, ProviderResponse};
use crate::model::Rejection;
use http::StatusCode;
use std::sync::Arc;

/// What a fetch brought.
#[derive(Debug, Clone)]
pub struct FetchedResponse {
    /// The response, or why there is none.
    pub response: Result<Arc<ProviderResponse>, Rejection>,
    /// Its status as the carrier decodes it; `None` without a response, or if a stored response replaced it.
    pub status: Option<StatusCode>,
    /// Whether it may be stored.
    pub storable: Cacheability,
    /// Whether the provider failed, so that an older response may do.
    pub failed: bool,
    /// Tells apart who asked.
    pub caller: CallerDigest,
}

/// What a read wants of the cache.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// Whether only a fetch of its own will do.
    pub fresh: bool,
    /// Whether what it fetches may not be stored.
    pub unstored: bool,
    /// Tells apart who asks.
    pub caller: CallerDigest,
    /// Which tenant is asked.
    pub tenant: TenantId,
    /// For how long a response may be good that is still on its way, in milliseconds.
    pub kept: Millis,
    /// For how long responses may do, those on their way included.
    pub windows: FreshnessWindows,
}
