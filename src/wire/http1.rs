//! Strict parsing of requests: where an HTTP/1 request ends, and whether all servers read it alike. HTTP/2 requests
//! follow the same rules.
//!
//! The proxies before the gateway, the gateway, and the provider must see the same requests in the same bytes. RFC 9112
//! allows leniency in places (a bare LF ends a line, a repeated length counts once), and every difference in leniency
//! is a way to smuggle a request. So nothing is parsed leniently here, and any deviation is a [`RequestError`].
//!
//! [`ConnectResponse`] is the one response that is read here: that of a forward proxy.
//!
//! Sources: RFC 9110 (fields), RFC 9112 (messages), RFC 3986 (targets), and the attacks in llhttp's tests, smuggler,
//! and HTTP Request Smuggler.

mod body;
mod chunks;
mod connect;
mod error;
mod fields;
mod head;
mod token;

pub use body::BodyFraming;
pub use connect::{ConnectResponse, ConnectResponseError};
pub use error::{HeadLimits, RequestError};
pub use fields::{
    Http2Head, check, connection_options, is_authority, uri_without_root_dot, without_invalid_authority,
    without_root_dot,
};
pub use head::{HeadParser, ParsedHead, fields};

#[cfg(test)]
mod tests;
