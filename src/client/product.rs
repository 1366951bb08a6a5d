//! How the gateway names itself.

/// The `User-Agent` of the gateway's own requests. Web firewalls reject requests without one.
pub const PRODUCT: &str = concat!("sessiongate/", env!("CARGO_PKG_VERSION"));
