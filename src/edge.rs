//! A client's connection until it has a request, and while it has one: sockets, TLS, limits, strict HTTP/1, the flood
//! guard of HTTP/2, and client timing. The caller supplies the service that answers requests (`Server`).

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
pub(crate) use http2::HELD;
pub use listener::BoundListener;
pub(crate) use memory_share::{Body, MemoryShare, MemoryShort, RequestAdmission, RequestPermit, UnreadBytes};
pub(crate) use server::{KEPT, Server, ServerOptions, Stage};
pub(crate) use strict_http1::StrictHttp1Stream;
pub use tls::TlsError;
pub(crate) use tls::server_config;
