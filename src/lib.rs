//! sessiongate: a reverse proxy that enforces session policies in front of identity providers.

// Supplies the zlib symbols that pingora's compression asks for: see .cargo/config.toml.
extern crate libz_rs_sys as _;

pub mod cache;
pub mod client;
pub mod coherence;
pub mod dialect;
pub mod gateway;
pub mod journal;
pub mod keys;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod token;
pub mod upstream;
pub mod wire;
