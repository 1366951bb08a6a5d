//! Everything about a client's connection below the request: listening sockets, TLS, connection limits, strict HTTP/1,
//! the HTTP/2 flood guard, timeouts and memory. The caller supplies the service that serves requests (`Server`).

mod authorities;
mod client_stream;
mod client_timing;
mod connection;
mod connection_context;
mod connection_limits;
mod direct;
mod downstream;
mod flood_budget;
mod flood_guard;
mod frame;
mod hpack_heads;
mod http2;
mod listener;
mod memory_share;
mod peer_identity;
mod proxy_header;
mod resets;
mod server;
mod socket;
mod streams;
mod strict_http1;
mod tls;
mod uploads;
mod windows;

pub(crate) use client_timing::ClientTiming;
pub(crate) use connection::{Connections, ListenerInfo};
pub(crate) use connection_context::ConnectionContext;
pub(crate) use connection_limits::source;
pub(crate) use direct::{DirectApp, DirectEnd, DirectRequest, DirectServing};
pub(crate) use downstream::{client_timing, fault, open_tunnel};
pub(crate) use http2::SEND_BUFFER;
pub use listener::BoundListener;
pub(crate) use memory_share::{BodyBytes, MemoryShare, OutOfMemory, RequestDecision, RequestPermit, UnreadBytes};
pub(crate) use proxy_header::ProxyProtocol;
pub(crate) use server::{NO_KEEPALIVE_TIMEOUT, Server, ServerOptions, ShutdownStage};
pub(crate) use socket::Socket;
pub(crate) use strict_http1::StrictHttp1Stream;
pub use tls::TlsError;
pub(crate) use tls::{accept as accept_tls, certificate_expiry, server_config};
