//! Labels of the introspection of opaque tokens.

use enum_map::Enum;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The result of an introspection: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum IntrospectionResult {
    /// The token is active and accepted.
    Active,
    /// The token is not active.
    Inactive,
    /// The token is active, but its claims are not accepted, such as its issuer or audience.
    Rejected,
    /// The issuer did not say anything of the token: see `cannot introspect tokens` in [the
    /// log](log.md#lines-for-state-changes).
    Failed,
}

/// Which cached result was used for an opaque token: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum IntrospectionCache {
    /// The token was active, within `ttl`.
    Active,
    /// The token was not accepted, within `negative_ttl`: the request was rejected.
    Inactive,
    /// The token was active, within `max_stale`, and its introspection fails.
    Stale,
}

/// Why a token could not be introspected: `cause` in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum IntrospectionFailure {
    /// The host name cannot be resolved.
    #[strum(message = "the host in `url`, and DNS: see [dns](configuration.md#dns)")]
    Dns,
    /// No connection: refused, unreachable, or not made within 4/5 of `timeout`.
    #[strum(message = "host and port in `url`, firewalls, network policies")]
    Connect,
    /// The TLS handshake failed.
    #[strum(message = "the certificate of the endpoint: its CA (`ca_file`), its names, its expiry")]
    Tls,
    /// Connected, but there is no complete response within `timeout`.
    #[strum(message = "whether the issuer is slow; raise `timeout`")]
    Timeout,
    /// The endpoint rejects the gateway: 401, or 403 before an introspection succeeded.
    #[strum(message = "`client_id`, and the secret or key; whether the client may introspect tokens")]
    Client,
    /// Another status than 200.
    #[strum(message = "400, 404, 405: `url`; 429: raise `ttl`; 5xx: the issuer")]
    Status,
    /// The response is not valid HTTP, is compressed, or has more than 64 KiB.
    #[strum(message = "`url`, and what is in front of the issuer")]
    Response,
    /// The response is not that of an introspection endpoint: not a JSON object, or without a boolean `active`.
    #[strum(message = "`url`: a login page or another document is there")]
    Document,
}
