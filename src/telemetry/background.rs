//! Labels of work in the background: reloads and issuers.

use enum_map::Enum;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The result of a configuration reload: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum ReloadResult {
    /// The new configuration is active.
    Applied,
    /// The new configuration is invalid or cannot work; the previous one stays active.
    Rejected,
    /// The configuration has not changed.
    Unchanged,
    /// The configuration could not be read: too many open files. It may be valid; with `reload.watch` it is
    /// tried again.
    Unread,
}

/// The result of fetching an issuer's keys: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum KeyFetch {
    /// A fetch that got keys.
    Good,
    /// A fetch that failed.
    Failed,
}

/// Why an issuer's keys, or its discovery document, could not be fetched: `cause` in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum KeyFetchFailure {
    /// The host name cannot be resolved.
    #[strum(message = "the host in the URL, and DNS: see [dns](configuration.md#dns)")]
    Dns,
    /// No connection: refused, unreachable, or not made within 4/5 of `fetch_timeout`.
    #[strum(message = "host and port in the URL, firewalls, network policies")]
    Connect,
    /// The TLS handshake failed.
    #[strum(message = "the issuer's certificate: its CA (`ca_file`), its names, its expiry; `http://` or `https://`")]
    Tls,
    /// Connected, but there is no complete response within `fetch_timeout`.
    #[strum(message = "whether the issuer is slow; raise `fetch_timeout`")]
    Timeout,
    /// The status of the response is neither 2xx nor 3xx.
    #[strum(message = "401, 403, 404: the URL, and what is in front of the issuer; 429: `refresh`; 5xx: the issuer")]
    Status,
    /// The response is a redirect, which is not followed.
    #[strum(message = "the URL in `reason`: set `jwks` or `issuer` to it, if it is the issuer's")]
    Redirect,
    /// The response is not valid HTTP, is compressed, or has more than 256 KiB.
    #[strum(message = "the URL, and what is in front of the issuer")]
    Response,
    /// The document is not a JWKS or discovery document, or has no usable key.
    #[strum(message = "the URL: a login page or another document is there; `algorithms`")]
    Document,
}

/// How a valid token was verified: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum TokenCheck {
    /// By its signature, or by introspection.
    Verified,
    /// The result of an earlier verification was cached.
    Cached,
}
