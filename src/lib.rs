//! sessiongate: a reverse proxy that enforces session policies in front of identity providers.

// Supplies the zlib symbols that pingora's compression asks for: see .cargo/config.toml.
extern crate libz_rs_sys as _;

pub mod model;
pub mod wire;
pub mod policy;
pub mod dialect;
pub mod token;
pub mod coherence;
pub mod gateway;
pub mod config;
pub mod client;
pub mod journal;
pub mod metrics;
pub mod cache;
pub mod keys;
pub mod upstream;
pub mod runtime;
pub mod proxy;
pub mod admin;
pub mod sandbox;
pub mod cli;
