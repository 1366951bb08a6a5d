//! Labels of requests.

use enum_map::Enum;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What the gateway did with a request: the `decision` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum Decision {
    /// Responded to a governed request, from the cache or from the provider.
    Responded,
    /// Forwarded a pass-through request to the provider.
    PassedThrough,
    /// Rejected the request.
    Rejected,
    /// The provider, the issuer, the store or the gateway itself failed.
    Failed,
    /// The client left before its whole response was written.
    ClientGone,
}

/// How the cache took part in a request: the `cache` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum CacheStatus {
    /// The cache was not used.
    None,
    /// Served from the cache.
    Hit,
    /// Responded with 404: the session was deleted through the gateway.
    Deleted,
    /// Not in the cache; this request fetched the response.
    Miss,
    /// Not in the cache; this request waited for another request's fetch.
    Coalesced,
    /// The cache was bypassed: a write was in flight, the store failed, or too many reads were waiting.
    Bypass,
}

/// What came of the exclusive right that a write needed: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum RightResult {
    /// The write took it at once.
    Taken,
    /// The write took it, after other writes.
    Waited,
    /// The write was rejected: other writes did not end in time.
    Conflict,
    /// The write was rejected: the right expired, or was lost, before the write was sent.
    Expired,
    /// The store did not confirm it, or may have lost rights of writes that are in flight.
    Unavailable,
    /// The write was rejected: a replica is running whose version takes no rights.
    OlderReplica,
}

/// The class of a response's status: the `status` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
pub enum StatusClass {
    /// No response, or a status outside 100 to 599.
    #[strum(serialize = "none")]
    None,
    /// 100 to 199.
    #[strum(serialize = "1xx")]
    Informational,
    /// 200 to 299.
    #[strum(serialize = "2xx")]
    Successful,
    /// 300 to 399.
    #[strum(serialize = "3xx")]
    Redirection,
    /// 400 to 499, except 429.
    #[strum(serialize = "4xx")]
    ClientError,
    /// 429: a limit of the provider or of the gateway was reached.
    #[strum(serialize = "429")]
    TooManyRequests,
    /// 500 to 599.
    #[strum(serialize = "5xx")]
    ServerError,
}

impl StatusClass {
    /// The class of a status code; [`StatusClass::None`] outside 100 to 599.
    pub fn of(status: u16) -> StatusClass {
        match status {
            100..=199 => StatusClass::Informational,
            200..=299 => StatusClass::Successful,
            300..=399 => StatusClass::Redirection,
            429 => StatusClass::TooManyRequests,
            400..=499 => StatusClass::ClientError,
            500..=599 => StatusClass::ServerError,
            _ => StatusClass::None,
        }
    }
}

/// Whether a connection was used before: the `reused` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum Reused {
    /// A new connection.
    False,
    /// A connection that an earlier request had used.
    True,
}
