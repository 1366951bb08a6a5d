//! How a memory limit is divided between clients and a store in memory.

/// The memory of an idle process, in bytes: measured at 16 to 28 MiB.
pub const BASE_MEMORY: usize = 32 << 20;
/// The minimum memory budget for clients, in bytes, however small the limit.
pub const MIN_CLIENT_MEMORY: usize = 8 << 20;

/// The maximum memory for verified tokens, in bytes, however large the limit: some 180,000.
const MAX_TOKEN_MEMORY: usize = 128 << 20;

/// How much of a memory limit verified tokens may take.
pub fn memory_for_tokens(limit: usize) -> usize {
    (limit / 16).min(MAX_TOKEN_MEMORY)
}

/// What a memory limit leaves for a store and for clients: nine tenths of it, without the idle process and verified
/// tokens.
fn left(limit: usize) -> usize {
    (limit / 10 * 9).saturating_sub(BASE_MEMORY + memory_for_tokens(limit))
}

/// The memory budget for clients under a memory limit, if the store holds `cached` bytes: what is left without them, less a
/// quarter for the allocator's overhead.
pub fn memory_for_clients(limit: usize, cached: usize) -> usize {
    (left(limit).saturating_sub(cached) / 4 * 3).max(MIN_CLIENT_MEMORY)
}

/// The maximum size of a store in memory that leaves enough of the limit for clients.
pub fn max_cached_for_limit(limit: usize) -> usize {
    left(limit).saturating_sub(MIN_CLIENT_MEMORY / 3 * 4)
}
