//! A request to carry out, with what every operation needs.

use std::time::SystemTime;

use super::authority::Caller;
use super::call::Version;
use super::instance::Instance;

/// What an operation knows besides its request.
pub(super) struct Job<'a> {
    pub(super) instance: &'a Instance,
    pub(super) caller: Caller,
    pub(super) version: Version,
    pub(super) now: SystemTime,
}
