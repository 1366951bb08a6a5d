//! Labels of client connections, and of the memory that they use.

use enum_map::Enum;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// Why the gateway closed a client's connection or reset a request on it: the `reason` label. The message is what the
/// client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum DisconnectReason {
    /// The process has as many connections as `clients.limits.connections` allows.
    #[strum(message = "the connection is closed")]
    Connections,
    /// The source address has as many connections as `clients.limits.per_source` allows.
    #[strum(message = "the connection is closed")]
    PerSource,
    /// The listener has `proxy_protocol: required`, and the peer is not in `clients.trusted_peers`.
    #[strum(message = "the connection is closed")]
    ProxyPeerUntrusted,
    /// The listener has `proxy_protocol: required`, and the connection does not begin with a valid PROXY protocol header.
    #[strum(message = "the connection is closed")]
    ProxyHeaderInvalid,
    /// The listener has `proxy_protocol: required`, and no complete PROXY protocol header arrived in time; or the peer
    /// has 1,024 connections whose header has not arrived.
    #[strum(message = "the connection is closed")]
    ProxyHeaderTimeout,
    /// The TLS handshake or ALPN failed. Connections that end before the first byte of it do not count.
    #[strum(message = "an alert")]
    TlsHandshake,
    /// No complete request head arrived in time.
    #[strum(message = "408, or nothing if no byte of it arrived; on HTTP/2 GOAWAY")]
    HeadTimeout,
    /// An HTTP/2 connection without a valid preface, or trailers with a pseudo-header.
    #[strum(message = "GOAWAY; malformed HTTP/1.1 requests are rejected, and count as rejections")]
    Malformed,
    /// No further request arrived in time.
    #[strum(message = "the connection is closed; on HTTP/2 after GOAWAY")]
    IdleTimeout,
    /// A request body was too slow, or stopped.
    #[strum(message = "408; on HTTP/2 the stream is reset, and the access log has the reason `body_timeout`")]
    MinBodyRate,
    /// The client stopped reading a response.
    #[strum(message = "the connection is reset, so that the kernel does not keep unread data")]
    WriteTimeout,
    /// An HTTP/2 connection reached its maximum age.
    #[strum(message = "GOAWAY; requests that have begun are completed")]
    MaxAge,
    /// Too many PING frames: see below.
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    Pings,
    /// Too many SETTINGS frames: see below.
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    Settings,
    /// Too many PRIORITY frames: see below.
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    Priorities,
    /// 32 malformed HTTP/2 requests.
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    MalformedStreams,
    /// An HTTP/2 stream was rejected before it became a request: its head is malformed, too many streams are open, or
    /// its `:authority` and `host` differ or are both missing. It has no line in the access log; `log.level: debug`
    /// logs it, a reset with stream and code.
    #[strum(message = "RST_STREAM; 400 for no host, or two different ones")]
    RejectedStream,
    /// 50 requests that the client reset before they were processed; or `resets − responses > 100`, where resets are
    /// requests that ended without a response, by a client reset or a client error (after many responses up to 1,000
    /// are allowed; one per second is forgiven).
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    Resets,
    /// Too many WINDOW_UPDATE frames: see below.
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    WindowUpdates,
    /// Too many frames of unknown types: see below.
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    UnknownFrames,
    /// Too many DATA frames that are empty, or of a few bytes: see below.
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    EmptyFrames,
    /// About 50 rejected HTTP/2 heads in a row; one with thousands of headers counts as many.
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM")]
    RejectedHeads,
    /// Memory was low, and the client did not read: see [Memory](../operations/memory.md).
    #[strum(message = "GOAWAY, ENHANCE_YOUR_CALM; on HTTP/1.1 a reset")]
    Memory,
}

/// What memory is used for: the `kind` label. The message is how it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum MemoryKind {
    /// Client connections.
    #[strum(
        message = "8 KiB; 8 KiB more with TLS, 16 KiB more with HTTP/2, and 1 KiB for each stream that was open at \
                   once"
    )]
    Connections,
    /// Requests being served.
    #[strum(message = "24 KiB each")]
    Requests,
    /// Request bodies, and the parts that may have to be sent again.
    #[strum(message = "their bytes")]
    RequestBodies,
    /// Responses that clients have not read, and open HTTP/2 streams.
    #[strum(
        message = "their bytes; 1 KiB for each stream; if the client does not read and the provider uses HTTP/2, 256 \
                   KiB that may be in transit"
    )]
    Responses,
    /// Provider responses that are buffered.
    #[strum(message = "their bytes")]
    ProviderResponses,
}

/// What was shed to save memory: the `shed` label. The message is what the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray, EnumMessage)]
#[strum(serialize_all = "snake_case")]
pub enum Shed {
    /// A request, before it was sent.
    #[strum(message = "503 with `Retry-After`, in the provider's shape")]
    Request,
    /// An HTTP/2 stream, before it was processed.
    #[strum(message = "RST_STREAM with REFUSED_STREAM; clients may retry")]
    Stream,
    /// A response that had begun.
    #[strum(message = "the connection is closed, or the stream is reset")]
    Response,
    /// A response to a governed read of more than 256 KiB, before any of it was sent.
    #[strum(message = "503 with `Retry-After`")]
    ProviderResponse,
    /// A connection whose client did not read, or that was idle.
    #[strum(message = "GOAWAY with ENHANCE_YOUR_CALM, or a reset")]
    Connection,
}
