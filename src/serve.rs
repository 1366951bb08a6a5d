//! Governed requests: reads come from the cache or the provider, writes go to the provider under an invalidation mark.
//!
//! This room knows no Pingora and no socket. [`ClientRequest`] is what it needs of the client, [`ProviderClient`] what
//! it needs of the provider.

pub mod clock;
mod directives;
mod exclusive;
mod lockouts;
mod observed_exchange;
mod read;
mod respond;
mod service;
#[cfg(test)]
mod tests;
mod write;

pub use exclusive::MAX_RIGHT_WAIT;
pub use lockouts::Lockouts;
pub use observed_exchange::ObservedExchange;
pub use service::{ClientRequest, NotServed, ProviderClient, Served, ServedFrom, Service, UpstreamHandles};
