//! Requests of HTTP/1 as bytes: where each ends, and whether it is written in the one way that all servers read alike;
//! and requests of HTTP/2 by the same rules.
//!
//! Whoever stands before the gateway, the gateway, and the provider behind it have to see the same requests in the same
//! bytes. RFC 9112 lets recipients be lenient in places (a bare LF ends a line, a repeated length counts once), and
//! each leniency that one has and another has not is a way to hide a request. So nothing is read leniently here, and
//! what is not plain is a [`RequestError`].
//!
//! Sources: RFC 9110 (fields), RFC 9112 (messages), RFC 3986 (targets), and the collections of ways around them in
//! llhttp's tests, smuggler, and HTTP Request Smuggler.

mod body;
mod chunks;
mod fault;
mod fields;
mod head;
mod token;

pub use body::BodyFraming;
pub use fault::{HeadLimits, RequestError};
pub use fields::{
    Http2Head, check, connection_options, is_authority, uri_without_root_dot, without_invalid_authority,
    without_root_dot,
};
pub use head::{HeadParser, ParsedHead};

#[cfg(test)]
mod tests;
