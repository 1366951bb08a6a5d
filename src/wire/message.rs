//! Messages.

/// An encoding of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Protocol buffers.
    Proto,
    /// JSON, as protocol buffers define it.
    Json,
}
