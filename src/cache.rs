//! The session cache: stores that execute [`crate::coherence`], and the procedures of reads and writes on top of them.
//! Concurrent misses on one response share one fetch. A write sets an invalidation mark before it is forwarded, and
//! ends it before it is acknowledged.

mod builder;
mod counters;
mod exclusive;
mod fetched;
mod jitter;
mod lease_guard;
mod memory;
mod read;
mod redis;
mod right_queues;
mod scope;
mod sessions;
mod shared_mark;
mod single_flight;
mod started_fetch;
mod store;
mod waiting_reads;
mod write;

pub use builder::{OpenCache, open};
pub use counters::CacheCounters;
pub use exclusive::{Right, RightError, RightTerms};
pub use fetched::{FetchedResponse, ReadOptions};
pub use memory::MemoryStore;
pub use read::ReadResult;
pub use redis::{Evicts, RedisStore, ServerTrial, SetupError, try_servers};
pub use right_queues::SessionName;
pub use scope::Scope;
pub use sessions::Sessions;
pub use store::{AcquireRequest, Acquisition, FillResult, Store, StoreError, StoreOutage, StoreUsage, Stored};
pub use write::{Mark, MarkFailurePolicy};
