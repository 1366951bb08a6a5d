//! Everything about a client's connection below the request: listening sockets, TLS, connection limits, strict HTTP/1,
//! the HTTP/2 flood guard, timeouts and memory. The caller supplies the service that serves requests (`Server`).

mod connection_limits;
mod authorities;
mod connection;
mod downstream;
mod flood_budget;
mod frame;
mod flood_guard;
mod strict_http1;
mod client_stream;
mod hpack_heads;
mod http2;
mod listener;
mod client_timing;
mod resets;
mod server;
mod memory_share;
mod socket;
mod streams;
mod tls;
mod uploads;
mod windows;

pub(crate) use client_timing::ClientTiming;
pub(crate) use connection::{Connections, ListenerInfo};
pub(crate) use connection_limits::source;
pub(crate) use downstream::{client_timing, fault, open_tunnel};
pub(crate) use http2::SEND_BUFFER;
pub use listener::BoundListener;
pub(crate) use memory_share::{BodyBytes, MemoryShare, OutOfMemory, RequestDecision, RequestPermit, UnreadBytes};
pub(crate) use server::{NO_KEEPALIVE_TIMEOUT, Server, ServerOptions, ShutdownStage};
pub(crate) use strict_http1::StrictHttp1Stream;
pub use tls::TlsError;
pub(crate) use tls::server_config;
