//! Closed sets: each value is a label of a metric, and a word in the log.
//!
//! A set is an enum with derived names, so that none can be left out: [`Label::name`] gives the name of a value,
//! [`VariantArray::VARIANTS`] lists the set, and [`EnumMap`](enum_map::EnumMap) holds something for each value.

use enum_map::Enum;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// A value of a closed set.
pub trait Label: VariantArray + Copy + Into<&'static str> {
    /// The name in metrics and in the log.
    fn name(self) -> &'static str {
        self.into()
    }

    /// Every name of the set, in the order of declaration.
    fn names() -> Vec<&'static str> {
        Self::VARIANTS.iter().map(|one| one.name()).collect()
    }
}

impl<T: VariantArray + Copy + Into<&'static str>> Label for T {}

/// What the gateway did. It is the `decision` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Decision {
    /// Answered a governed request, from the cache or from the provider.
    Responded,
    /// Passed an ungoverned request.
    PassedThrough,
    /// Refused the request.
    Rejected,
    /// Answered in the place of a provider that failed.
    Failed,
    /// Nothing, or not all: the client left before its response was written.
    ClientGone,
}

/// What the cache had to do with a request. It is the `cache` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CacheStatus {
    /// Nothing.
    None,
    /// It answered.
    Hit,
    /// It answered that the session was deleted.
    Deleted,
    /// It had no response; this request fetched one.
    Miss,
    /// It had no response; this request shared the fetch of another.
    Coalesced,
    /// It was left out: a write was in flight, or it could not be reached.
    Bypass,
}

/// The class of a response's status. It is the `status` label.
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
    /// The class of this status; `None` for 0 and other numbers that are no status.
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

/// What a cache does that an operator wants to know of. It is the `event` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CacheEvent {
    /// A read left the cache out because a write was in flight.
    BypassMarked,
    /// A read left the cache out because the store failed.
    BypassFailed,
    /// A read left the cache out because too many waited.
    BypassWaiting,
    /// A read took over from a reader that did not finish.
    LeaseLost,
    /// A response was there but may have outlived a mark that the store lost, and was fetched again.
    Fenced,
    /// A response was there but could not be opened.
    Unreadable,
    /// A response was older than an acknowledged write, and was not stored.
    TooOld,
    /// A response that was no longer fresh was given while it was fetched again.
    StaleWhileRevalidate,
    /// A response that was no longer fresh was given because the provider failed.
    StaleIfError,
    /// A write was forwarded although its mark could not be placed.
    InvalidationFailed,
    /// A write was rejected because its mark could not be placed.
    WriteRejected,
    /// A write was acknowledged although the store confirmed neither its mark nor its end.
    Unconfirmed,
    /// A write took longer than its mark stood, or the store lost the mark.
    MarkLost,
}

/// A step that a store carries out. It is the `step` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum StoreOperation {
    /// A read begins.
    Acquire,
    /// A response is stored.
    Fill,
    /// What is stored ends, or is denied to somebody.
    Retire,
    /// A lease ends.
    Release,
    /// A write is marked.
    Begin,
    /// A write is settled.
    End,
    /// A list asks which of its sessions are deleted.
    Deleted,
}

/// How a store failed. It is the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, thiserror::Error)]
#[strum(serialize_all = "snake_case")]
pub enum StoreFailure {
    /// There is no connection.
    #[error("the store is not connected")]
    Disconnected,
    /// As many commands are under way as may be.
    #[error("too many commands are under way")]
    Busy,
    /// No response came in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection to the store broke")]
    Broken,
    /// The server answered with an error.
    #[error("the store refused")]
    ServerError,
    /// The keys are on their way to another server, and not all of them are at the same one.
    #[error("the keys are on their way to another server")]
    Moving,
    /// What it answered makes no sense.
    #[error("the store's answer makes no sense")]
    ProtocolError,
}

/// Why a connection from a client, or a request on it, was cut off. It is the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DisconnectReason {
    /// There are as many connections as the process may have.
    Connections,
    /// There are as many connections from its source as there may be.
    PerSource,
    /// TLS was not agreed on.
    TlsHandshake,
    /// No whole head of a request came in time.
    HeadTimeout,
    /// What came is no HTTP, or trailers with a pseudo-header.
    Malformed,
    /// No other request came in time.
    IdleTimeout,
    /// A body came too slowly.
    MinBodyRate,
    /// Nothing of a response was taken in time.
    WriteTimeout,
    /// A connection of HTTP/2 was old enough.
    MaxAge,
    /// Too many PING frames.
    Pings,
    /// Too many SETTINGS frames.
    Settings,
    /// Too many PRIORITY frames.
    Priorities,
    /// Too many requests of HTTP/2 that are malformed.
    MalformedStreams,
    /// A stream of HTTP/2 was reset, or answered by a library, before it became a request.
    RejectedStream,
    /// Too many requests of HTTP/2 that were reset.
    Resets,
    /// Too many WINDOW_UPDATE frames.
    WindowUpdates,
    /// Too many frames that mean nothing.
    UnknownFrames,
    /// Too many frames with nothing in them.
    EmptyFrames,
    /// Too many heads of requests of HTTP/2 that were rejected, or a very large one.
    RejectedHeads,
    /// Memory was short, and its client did not read.
    Memory,
}

/// What is held in memory. It is the `kind` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum MemoryKind {
    /// Connections from clients.
    Connections,
    /// Requests that are served: what each costs in any case.
    Requests,
    /// Bodies of requests.
    RequestBodies,
    /// Responses that clients have not taken.
    Responses,
    /// Responses of providers that are read whole.
    ProviderResponses,
}

/// What was given up to save memory. It is the `shed` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Shed {
    /// A request, with 503.
    Request,
    /// A stream of HTTP/2, which the client may open again.
    Stream,
    /// A response that had begun.
    Response,
    /// A response of a provider, of which nothing was passed on.
    ProviderResponse,
    /// A connection whose client did not read, or that was idle.
    Connection,
}

/// What became of a configuration that was read again. It is the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ReloadResult {
    /// It holds.
    Applied,
    /// It is wrong, or cannot work: the last good one holds.
    Rejected,
    /// It is the one that holds.
    Unchanged,
    /// It could not be read for want of descriptors, which says nothing of it.
    Unread,
}

/// Observes a shared store.
pub trait StoreObserver: Send + Sync {
    /// A step is over.
    fn step(&self, step: StoreOperation, took: Duration, failure: Option<StoreFailure>);
    /// There is one more connection to a server.
    fn connected(&self);
    /// There is one connection to a server less.
    fn disconnected(&self);
    /// An entry of so many bytes came.
    fn read(&self, bytes: usize);
    /// An entry of so many bytes went.
    fn written(&self, bytes: usize);
}
