//! The facts of a response.

/// What a response tells about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFacts {
    /// When the session expires, in milliseconds since the epoch.
    pub expires_at: Option<u64>,
    /// The session's version: its time of last change in milliseconds since the epoch, or its sequence number.
    pub version: Option<u64>,
}
