//! What a provider reports of its request limit.

/// What a provider reports of its request limit in the headers of a response. A member is `None` if its header is absent
/// or is not a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// How many requests the limit allows.
    pub limit: Option<u64>,
    /// How many of them are left.
    pub remaining: Option<u64>,
    /// When the provider allows more again, in seconds since the epoch.
    pub reset: Option<u64>,
}
