//! The options of clients.

use super::super::settings::ForwardingHeaders;
use super::super::value::{minutes, seconds};
use super::declare::{Chosen, Counted, Measured, Opt, Plain, Timed};
use super::kind::{AutoOr, Or, SizeIn, Structure, TEXTS, Words, auto_or, choice, count, duration, size};
use super::table::Options;
use crate::wire::http1::HeadLimits;
use std::time::Duration;

/// The minimum of client timeouts.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The limits of a request's head. All are below Pingora's own: a head of 1 MiB, 256 headers, and a target of 64 KiB.
const HEAD: HeadLimits = HeadLimits::DEFAULT;

pub static HEAD_TIMEOUT: Timed = Opt::new(
    "head_timeout",
    duration(MIN_TIMEOUT, minutes(10), seconds(10)),
    "Time from the connection, including TLS, until the first request head is complete; on a kept-alive connection \
        from the first byte of the head.",
)
.comment("From the connection, or the first byte on a kept-alive one, to the complete request head.");

pub static IDLE_TIMEOUT: Timed = Opt::new(
    "idle_timeout",
    duration(MIN_TIMEOUT, minutes(60), seconds(60)),
    "Keep-alive timeout: time between a response and the next request, on HTTP/2 time without a request. Also the \
        longest wait for the next part of a body. Keep it longer than the keep-alive timeout of a load balancer in \
        front; otherwise it sends requests on connections that are being closed.",
)
.comment("Keep-alive timeout, and longest wait for the next part of a body.");

pub static WRITE_TIMEOUT: Timed = Opt::new(
    "write_timeout",
    duration(MIN_TIMEOUT, minutes(60), seconds(30)),
    "Write timeout: how long a client may stop reading a response.",
)
.comment("How long a client may stop reading a response.");

pub static MAX_AGE: Timed = Opt::new(
    "max_age",
    duration(seconds(1), minutes(60 * 24 * 7), minutes(60)),
    "Maximum age of an HTTP/2 connection, with a jitter of 10 %. Then the gateway sends GOAWAY, so that clients \
        spread over the replicas again.",
);

pub static MIN_BODY_RATE: Measured = Opt::new(
    "min_body_rate",
    size(0, 1 << 20, 256),
    "Minimum rate of a request body, in bytes per second of waiting, after the first 10 s. Time in which the \
        provider does not read, so that the client cannot send, does not count. Does not apply to gRPC streams.",
)
.allowed("`0B` for any")
.comment("Minimum rate of a request body, per second of waiting, after 10 s.");

pub static LIMITS: Plain =
    Opt::new("limits", Structure::Map(&LIMITS_OPTIONS), "Limits of connections, requests and memory.").comment("-");

pub static TRUSTED_PEERS: Plain = Opt::new(
    "trusted_peers",
    TEXTS,
    "Addresses and networks of trusted peers: your own proxies, and applications that send requests for clients, \
        such as a provider's login. Their `X-Forwarded-For`, `-Host`, `-Proto`, `Forwarded` and the headers of the \
        provider that select an instance are forwarded to providers that read them ([Dialects](#dialects) lists \
        them); from all other clients these headers are dropped. Their \
        `X-Request-Id` becomes the request ID in the log and the response, if it is a single header of 1 to 128 \
        characters from `A-Z`, `a-z`, `0-9`, `-._:+/=`; for all other clients the gateway generates the request ID.",
)
.default("none")
.restart("only if `proxy_protocol` of the listeners changes too")
.allowed("list of addresses and networks: `10.1.2.3`, `10.0.0.0/8`, `fd00::/8`")
.shown("[10.0.0.0/8]")
.comment(
    "Peers whose X-Forwarded-*, Forwarded and X-Request-Id are trusted, and the provider's headers that select an \
        instance.",
);

/// Which forwarding headers trusted peers write.
const WRITTEN: Words<ForwardingHeaders> = &[
    ("x-forwarded", ForwardingHeaders::XForwarded),
    ("forwarded", ForwardingHeaders::Forwarded),
    ("both", ForwardingHeaders::Both),
];

pub static FORWARDING_HEADERS: Chosen<ForwardingHeaders> = Opt::new(
    "forwarding_headers",
    choice(WRITTEN, ForwardingHeaders::XForwarded),
    "Which forwarding headers your trusted peers write: `X-Forwarded-*`, `Forwarded` (RFC 7239), or both. The others are \
        dropped, since a proxy that does not write a header forwards the client's own. With `both` \
        `X-Forwarded-For` has precedence.",
)
.comment("Which of them the trusted peers write; the others are the client's own, and dropped.");

/// The options in `clients`.
pub static OPTIONS: Options = Options {
    heading: "clients",
    comments_above: false,
    rules: &[],
    rows: &[
        &HEAD_TIMEOUT,
        &IDLE_TIMEOUT,
        &WRITE_TIMEOUT,
        &MAX_AGE,
        &MIN_BODY_RATE,
        &LIMITS,
        &TRUSTED_PEERS,
        &FORWARDING_HEADERS,
    ],
};

pub static CONNECTIONS: Counted = Opt::new(
    "connections",
    count(1, 1_000_000, 10_000),
    "Maximum number of client connections. Further connections are closed at once. The limit is lower if the \
        [limit of open files](limits.md#open-files) requires it.",
);

pub static PER_SOURCE: Counted = Opt::new(
    "per_source",
    count(1, 1_000_000, 200),
    "Maximum number of connections (not of requests: see [limits of an upstream](#limits-of-an-upstream)) from one \
        IPv4 address or IPv6 /64. Further connections are closed at once. Trusted peers and Unix sockets have no \
        such limit: list the proxies in front of the gateway in `trusted_peers`, or raise the limit.",
)
.comment("Of them from one IPv4 address or IPv6 /64; trusted peers have no limit.");

pub static STREAMS: Counted =
    Opt::new("streams", count(1, 10_000, 100), "Maximum number of concurrent requests on an HTTP/2 connection.");

pub static MEMORY: Opt<Or<AutoOr<SizeIn>>> = Opt::new(
    "memory",
    auto_or(SizeIn { min: 48 << 20, max: 1 << 40 }),
    "Memory limit of the process. Requests are shed before it reaches 90 % of the limit: see \
        [Memory](../operations/memory.md).",
)
.default("the cgroup limit, or 75 % of the machine's memory")
.comment("Memory limit of the process.");

pub static HEADER_BLOCK: Measured = Opt::new(
    "header_block",
    size(1 << 10, 256 << 10, HEAD.block),
    "Maximum size of all headers together, including four bytes per header for separators.",
)
.comment("All headers together. Larger headers are rejected with 431.");

pub static HEADERS: Counted = Opt::new(
    "headers",
    count(8, 250, HEAD.count),
    "Maximum number of headers. On HTTP/2 each part of a split cookie counts as one.",
)
.comment("Number of headers; each part of a split cookie counts as one.");

pub static HEADER: Measured = Opt::new(
    "header",
    size(256, 64 << 10, HEAD.single),
    "Maximum size of a single header: its name, `: `, and its value.",
)
.comment("A single header, name and value.");

pub static URI: Measured =
    Opt::new("uri", size(256, 32 << 10, HEAD.target), "Maximum size of the path with its query.")
        .comment("Path and query. A longer URI is rejected with 414.");

/// The options in `clients.limits`.
pub static LIMITS_OPTIONS: Options = Options {
    heading: "clients.limits",
    comments_above: false,
    rules: &[],
    rows: &[&CONNECTIONS, &PER_SOURCE, &STREAMS, &MEMORY, &HEADER_BLOCK, &HEADERS, &HEADER, &URI],
};
