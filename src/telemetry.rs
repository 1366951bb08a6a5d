//! Closed sets of values that are metric labels and log values.
//!
//! Each set is an enum with derived names, so no value can be left out: [`Label::name`] gives the name of a value,
//! [`VariantArray::VARIANTS`] lists the set, and [`EnumMap`](enum_map::EnumMap) stores one item per value.

use enum_map::Enum;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// A value of a closed set.
pub trait Label: VariantArray + Copy + Into<&'static str> {
    /// The name in metrics and logs.
    fn name(self) -> &'static str {
        self.into()
    }

    /// Every name of the set, in the order of declaration.
    fn names() -> Vec<&'static str> {
        Self::VARIANTS.iter().map(|one| one.name()).collect()
    }
}

impl<T: VariantArray + Copy + Into<&'static str>> Label for T {}

/// What the gateway did with a request: the `decision` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Decision {
    /// Responded to a governed request, from the cache or from the provider.
    Responded,
    /// Streamed an ungoverned request through to the provider.
    PassedThrough,
    /// Rejected the request.
    Rejected,
    /// Responded with an error because the provider or the gateway itself failed.
    Failed,
    /// The client left before its whole response was written.
    ClientGone,
}

/// How the cache took part in a request: the `cache` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CacheStatus {
    /// The cache was not used.
    None,
    /// Served from the cache.
    Hit,
    /// The cache knows that the session was deleted.
    Deleted,
    /// Not in the cache; this request fetched the response.
    Miss,
    /// Not in the cache; this request waited for another request's fetch.
    Coalesced,
    /// The cache was bypassed: a write was in flight, or the store was unavailable.
    Bypass,
}

/// The class of a response's status: the `status` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
pub enum StatusClass {
    /// There was no response.
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
    /// 400 to 499.
    #[strum(serialize = "4xx")]
    ClientError,
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
            400..=499 => StatusClass::ClientError,
            500..=599 => StatusClass::ServerError,
            _ => StatusClass::None,
        }
    }
}

/// Something that happened in the cache: the `event` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CacheEvent {
    /// A read bypassed the cache because a write was in flight.
    BypassMarked,
    /// A read bypassed the cache because the store failed.
    BypassFailed,
    /// A read bypassed the cache because too many reads were already waiting.
    BypassWaiting,
    /// A read took over the lease of a reader that did not finish.
    LeaseLost,
    /// A response was cached, but it may be older than a mark that the store lost, so it was fetched again.
    Fenced,
    /// A cached response could not be decrypted or decoded.
    Unreadable,
    /// A response was not stored because it is older than an acknowledged write.
    TooOld,
    /// A stale response was served while it was fetched again.
    StaleWhileRevalidate,
    /// A stale response was served because the provider failed.
    StaleIfError,
    /// A write was forwarded although its invalidation mark could not be set.
    InvalidationFailed,
    /// A write was rejected because its invalidation mark could not be set.
    WriteRejected,
    /// A write was acknowledged although the store confirmed neither its mark nor its end.
    Unconfirmed,
    /// A write outlived its mark, or the store lost the mark.
    MarkLost,
}

/// A step that a store executes: the `step` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum StoreOperation {
    /// Begin a read: find an entry or take the lease.
    Acquire,
    /// Store a response.
    Fill,
    /// Invalidate an entry, or deny it to one caller.
    Retire,
    /// End a lease.
    Release,
    /// Set a write's invalidation mark.
    Begin,
    /// End a write's invalidation mark.
    End,
    /// Look up which sessions of a list are deleted.
    Deleted,
}

/// How a store failed: the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, thiserror::Error)]
#[strum(serialize_all = "snake_case")]
pub enum StoreFailure {
    /// No connection.
    #[error("the store is not connected")]
    Disconnected,
    /// Too many commands in flight.
    #[error("too many commands in flight")]
    Busy,
    /// No reply in time.
    #[error("the store timed out")]
    Timeout,
    /// The connection broke.
    #[error("the connection to the store broke")]
    Broken,
    /// The server replied with an error.
    #[error("the store returned an error")]
    ServerError,
    /// A cluster slot is migrating, and its keys are not all on the same node.
    #[error("the keys are migrating to another server")]
    Moving,
    /// The reply does not follow the protocol.
    #[error("the store returned an invalid response")]
    ProtocolError,
}

/// Why the gateway closed a client's connection or reset a request on it: the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DisconnectReason {
    /// The process has its maximum number of connections.
    Connections,
    /// The source address has its maximum number of connections.
    PerSource,
    /// The TLS handshake failed.
    TlsHandshake,
    /// The request's head did not arrive in time.
    HeadTimeout,
    /// Invalid HTTP, or trailers with a pseudo-header.
    Malformed,
    /// No further request arrived in time.
    IdleTimeout,
    /// The body arrived too slowly.
    MinBodyRate,
    /// The client stopped reading its response for too long.
    WriteTimeout,
    /// An HTTP/2 connection reached its maximum age.
    MaxAge,
    /// Too many PING frames.
    Pings,
    /// Too many SETTINGS frames.
    Settings,
    /// Too many PRIORITY frames.
    Priorities,
    /// Too many malformed HTTP/2 requests.
    MalformedStreams,
    /// An HTTP/2 stream was reset, or a library responded to it, before it became a request.
    RejectedStream,
    /// Too many reset HTTP/2 requests.
    Resets,
    /// Too many WINDOW_UPDATE frames.
    WindowUpdates,
    /// Too many frames of unknown types.
    UnknownFrames,
    /// Too many empty frames.
    EmptyFrames,
    /// Too many rejected HTTP/2 request heads, or a very large one.
    RejectedHeads,
    /// Memory was short, and the client did not read.
    Memory,
}

/// What memory is used for: the `kind` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum MemoryKind {
    /// Client connections.
    Connections,
    /// Requests in progress: the fixed cost of each.
    Requests,
    /// Request bodies.
    RequestBodies,
    /// Responses that clients have not read yet.
    Responses,
    /// Provider responses that are buffered whole.
    ProviderResponses,
}

/// What was dropped to save memory: the `shed` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Shed {
    /// A request, with status 503.
    Request,
    /// An HTTP/2 stream, which the client may retry.
    Stream,
    /// A response that had already started.
    Response,
    /// A provider's response, before any part of it was forwarded.
    ProviderResponse,
    /// A connection that was idle, or whose client did not read.
    Connection,
}

/// The result of a configuration reload: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ReloadResult {
    /// The new configuration is active.
    Applied,
    /// The new configuration is invalid or cannot work; the previous one stays active.
    Rejected,
    /// The configuration has not changed.
    Unchanged,
    /// The configuration could not be read: no free file descriptors. It may be valid.
    Unread,
}

/// Receives the events of a shared store, for metrics.
pub trait StoreObserver: Send + Sync {
    /// A step ended.
    fn step(&self, step: StoreOperation, took: Duration, failure: Option<StoreFailure>);
    /// A connection to a server opened.
    fn connected(&self);
    /// A connection to a server closed.
    fn disconnected(&self);
    /// An entry of this many bytes was read.
    fn read(&self, bytes: usize);
    /// An entry of this many bytes was written.
    fn written(&self, bytes: usize);
}
