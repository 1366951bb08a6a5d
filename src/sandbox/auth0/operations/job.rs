//! A checked request, with what every operation needs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use serde_json::{Map, Value};

use super::super::payload::{self, Pairs};
use super::super::response::ApiResponse;
use super::super::store::Store;
use super::super::tenant::Tenant;

/// The longest delay of a delete, ten years: the sum with the current time must not overflow.
const LONGEST_DELAY: Duration = Duration::from_secs(315_360_000);

/// A checked request, with the time of its execution.
pub(super) struct Job<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) id: &'a str,
    pub(super) query: Pairs,
    pub(super) parts: &'a Parts,
    pub(super) body: Bytes,
    pub(super) now: Instant,
}

impl Job<'_> {
    /// When a delete that is accepted now takes effect.
    pub(super) fn end(&self) -> Instant {
        self.now + self.tenant.0.options.delete_delay.min(LONGEST_DELAY)
    }

    pub(super) fn object(&self) -> Result<Map<String, Value>, ApiResponse> {
        payload::object(self.parts, &self.body)
    }

    /// The store, if the user of the path exists.
    pub(super) fn user_store(&self) -> Result<parking_lot::MutexGuard<'_, Store>, ApiResponse> {
        let store = self.tenant.0.store.lock();
        if store.users.contains_key(self.id) { Ok(store) } else { Err(no_user()) }
    }
}

pub(super) fn no_user() -> ApiResponse {
    ApiResponse::not_found("The user does not exist.", Some("inexistent_user"))
}
