//! The context of a checked request.

use std::time::SystemTime;

use super::authority::Caller;
use super::call::Version;
use super::instance::Instance;

/// The context of a request: what an operation needs besides the message.
pub(super) struct Job<'a> {
    pub(super) instance: &'a Instance,
    pub(super) caller: Caller,
    pub(super) version: Version,
    pub(super) now: SystemTime,
}
