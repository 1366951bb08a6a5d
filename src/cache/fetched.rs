//! What a read needs from the cache, and what a fetch brings it.

use crate::coherence::reading::FreshnessWindows;
use crate::coherence::{CallerDigest, Millis, TenantId};
use crate::gateway::{Cacheability, ProviderResponse};
use crate::model::Rejection;
use http::StatusCode;
use std::sync::Arc;

/// The result of a fetch.
#[derive(Debug, Clone)]
pub struct FetchedResponse {
    /// The response, or the rejection in its place.
    pub response: Result<Arc<ProviderResponse>, Rejection>,
    /// Its status as the carrier decodes it; `None` without a response, or if a stored response replaced it.
    pub status: Option<StatusCode>,
    /// Whether it may be stored, and for how long.
    pub storable: Cacheability,
    /// Whether the provider failed, so that a stale response may be used.
    pub failed: bool,
    /// Digest of the caller's credential.
    pub caller: CallerDigest,
}

/// What a read needs from the cache.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// Whether the read needs a fetch of its own.
    pub fresh: bool,
    /// Whether its response must not be stored.
    pub no_store: bool,
    /// Digest of the caller's credential.
    pub caller: CallerDigest,
    /// The tenant of the request.
    pub tenant: TenantId,
    /// How long a response in flight may still count as fresh or stale, in milliseconds.
    pub kept: Millis,
    /// The freshness windows of this read, for stored responses and those in flight.
    pub windows: FreshnessWindows,
}
