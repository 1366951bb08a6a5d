//! Generations, and the tokens of reads and writes.

/// A unique value that the store mints, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(pub u128);

/// Identifies one read or write, so that repeating a step does no harm. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

/// The generations under which a response is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The session's.
    pub session: Generation,
    /// The upstream's.
    pub epoch: Generation,
}
