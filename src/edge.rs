//! A client's connection until it has a request, and while it has one: sockets, TLS, limits, strict HTTP/1, the flood guard of
//! HTTP/2, and client timing. The caller supplies the service that answers requests (`Server`).

mod admission;
mod authorities;
mod connection;
mod downstream;
mod flood;
mod frame;
mod frames;
mod framing;
mod guard;
mod heads;
mod http2;
mod listener;
mod pulse;
mod resets;
mod server;
mod share;
mod socket;
mod streams;
mod tls;
mod uploads;
mod windows;

pub(crate) use admission::source;
pub(crate) use connection::{Connections, Door};
pub(crate) use downstream::{fault, open_tunnel, pulse};
pub(crate) use framing::Framed;
pub(crate) use http2::HELD;
pub use listener::Bound;
pub(crate) use pulse::Pulse;
pub(crate) use server::{KEPT, Server, Stage, Terms};
pub(crate) use share::{Admission, Admitted, Body, Share, Short, Waiting};
pub use tls::TlsError;
pub(crate) use tls::server_config;
