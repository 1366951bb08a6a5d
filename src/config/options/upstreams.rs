//! The options of an upstream, but for those in `auth`.

use super::super::value::{millis, minutes, seconds};
use super::auth;
use super::declare::{Chosen, Counted, Measured, Opt, Plain, Switch, Timed};
use super::egress_proxy::PROXY;
use super::grants;
use super::kind::{Structure, TEXT, Words, boolean, choice, count, duration, size};
use super::table::{Format, NamedMaps, Options, Rule, Sample};
use crate::dialect::DIALECTS;
use crate::gateway::{OnUnreachable, Protocol, Unmatched};

const UNMATCHED_WORDS: Words<Unmatched> = &[("forward", Unmatched::Forward), ("reject", Unmatched::Reject)];
const PROTOCOLS: Words<Protocol> = &[("http1", Protocol::Http1), ("http2", Protocol::Http2), ("auto", Protocol::Auto)];
const ON_UNREACHABLE_WORDS: Words<OnUnreachable> =
    &[("forward", OnUnreachable::Forward), ("reject", OnUnreachable::Reject), ("hold", OnUnreachable::Hold)];

/// The names of the dialects.
pub fn dialects() -> Vec<&'static str> {
    DIALECTS.iter().map(|dialect| dialect.name).collect()
}

/// The upstreams.
pub const BY_NAME: NamedMaps = NamedMaps {
    options: &OPTIONS,
    restricted: true,
    required: true,
    samples: &[
        Sample { name: "acme", comment: "", lines: &[] },
        Sample {
            name: "zitadel",
            comment: "",
            lines: &[
                "dialect: zitadel",
                "url: https://zitadel.example",
                "match: { host: zitadel.example }",
                "auth: forward",
                "policy: logins",
            ],
        },
    ],
};

pub static DIALECT: Plain =
    Opt::new("dialect", Structure::Words(dialects), "API of the provider. See [dialects](#dialects).")
        .required()
        .shown("auth0")
        .comment("API of the provider.");

pub static URL: Plain = Opt::new(
    "url",
    Structure::Text(Format::Url),
    "Base URL of the provider. Its path is put in front of every request path. `http://` to another machine causes \
        a warning: tokens and sessions go over the network in cleartext. A host with a trailing dot is resolved \
        without search domains; `Host`, SNI and cache keys do not contain the dot.",
)
.required()
.allowed("`http[s]://HOST[:PORT][/PATH]`; no query, fragment or user information")
.shown("https://acme.eu.auth0.com")
.comment("Base URL: http[s]://HOST[:PORT][/PATH].");

pub static HOST: Plain = Opt::new(
    "host",
    TEXT,
    "Host name of the provider, if `url` reaches it by another name, such as a Kubernetes service: used for the \
        `Host` header, SNI and the verification of its certificate. In the cache the upstream is then the same \
        provider as `https://` and this host. Not with `preserve_host`.",
)
.default("that of `url`")
.allowed("host name or IP address, optionally with a port")
.shown("acme.eu.auth0.com")
.comment("Host name for `Host`, SNI and certificate, if `url` has another one, such as a Kubernetes service.");

pub static MATCH: Plain =
    Opt::new("match", Structure::Map(&MATCH_OPTIONS), "Requests that are routed to this upstream.")
        .default("every request")
        .allowed("different for each upstream");

pub static UNMATCHED: Chosen<Unmatched> = Opt::new(
    "unmatched",
    choice(UNMATCHED_WORDS, Unmatched::Forward),
    "How to treat requests that are no operation of the dialect: forward them unchanged (pass-through), or reject \
        them with 404. See [unmatched](#unmatched).",
)
.comment(
    "How to treat requests that are no operation of the dialect: forward them unchanged, or reject them with \
             404.",
);

pub static TLS: Plain =
    Opt::new("tls", Structure::Map(&TLS_OPTIONS), "TLS towards the provider. Only with `https://`.")
        .comment("TLS; only with https://.");

pub static PROTOCOL: Chosen<Protocol> = Opt::new(
    "protocol",
    choice(PROTOCOLS, Protocol::Http1),
    "HTTP version towards the provider. `http2`: only HTTP/2, without TLS with prior knowledge. `auto`: negotiated \
        by ALPN, and HTTP/1.1 without TLS. gRPC calls always use HTTP/2. WebSockets need HTTP/1.1, so they do not \
        work with `http2`.",
)
.comment("HTTP version towards the provider; http2: without TLS with prior knowledge; auto: negotiated by ALPN.");

pub static EGRESS_PROXY: Plain = Opt::new(
    "egress_proxy",
    PROXY,
    "Forward proxy to the provider. The gateway opens tunnels through it (CONNECT), for `https://` and `http://` \
        alike. `environment` takes it from `HTTPS_PROXY` and `NO_PROXY` of the process; without this option the \
        gateway does not read these variables.",
)
.default("`off`")
.comment("Forward proxy to the provider (CONNECT); off, or `environment` for HTTPS_PROXY and NO_PROXY.");

pub static TIMEOUTS: Plain = Opt::new("timeouts", Structure::Map(&TIMEOUT_OPTIONS), "Timeouts at the provider.");

pub static AUTH: Plain = Opt::new(
    "auth",
    Structure::WordsOr(&["none", "forward"], &Structure::OneOrSeveral(&Structure::Map(&auth::OPTIONS))),
    "How callers are authenticated: by access tokens of one issuer, or of several in a list (at most 16). `forward` \
        requires a credential that only the provider verifies, such as an opaque token. `none` leaves authentication \
        to the provider; there is no default.",
)
.required()
.comment(
    "How callers are authenticated: by access tokens, `auth: forward` to require a credential that only the \
             provider verifies (opaque tokens), or `auth: none` to leave authentication to the provider.",
);

pub static CACHE: Plain = Opt::new(
    "cache",
    Structure::OffOr(&Structure::Map(&CACHE_OPTIONS)),
    "How session reads are cached; `{}` for all defaults.",
);

pub static BODY: Plain = Opt::new(
    "body",
    Structure::Map(&BODY_OPTIONS),
    "Limits of governed request bodies, and of bodies of requests that \
        [invalidate](../concepts/invalidation.md#requests-that-invalidate).",
);

pub static LIMITS: Plain = Opt::new("limits", Structure::Map(&LIMITS_OPTIONS), "Concurrency limits at the provider.")
    .comment(
        "Limits of requests in flight at the provider: further requests wait, and are then rejected with 503 or \
             429.",
    );

pub static PRESERVE_HOST: Switch = Opt::new(
    "preserve_host",
    boolean(false),
    "Whether to send the client's host to the provider (as `Host` and `X-Forwarded-Host`) instead of the host of \
        `url`.",
)
.comment("Send the client's host to the provider instead of the host of `url`.");

pub static ALLOW_HTTP: Switch = Opt::new(
    "allow_http",
    boolean(false),
    "Whether to suppress the warning about `http://` to another machine, because the network is encrypted \
        otherwise, such as by a service mesh.",
)
.comment("No warning about http:// to another machine, since the network is encrypted, as by a service mesh.");

pub static GRANTS: Plain = Opt::new(
    "grants",
    Structure::List(&Structure::Map(&grants::OPTIONS)),
    "Who may do what with which sessions: a list, in which the first grant that matches a caller decides alone. What \
        no grant allows is rejected with 403. See [grants](#grants).",
)
.default("every caller may do everything")
.allowed("list of [grants](#grants); needs verified callers")
.comment("Who may do what: the first grant that matches a caller decides alone, other callers are rejected.");

pub static POLICY: Plain = Opt::new("policy", TEXT, "Policy for writes.")
    .default("the provider's own limits only")
    .allowed("name of a policy")
    .shown("support");

pub static REFRESH_TOKEN_POLICY: Plain = Opt::new(
    "refresh_token_policy",
    TEXT,
    "Policy for writes of refresh tokens. Causes a warning if the dialect has no refresh tokens.",
)
.default("that of `policy`")
.allowed("name of a policy")
.shown("support");

/// The options of an upstream.
pub static OPTIONS: Options = Options {
    heading: "An upstream",
    comments_above: true,
    rules: &[],
    rows: &[
        &DIALECT,
        &URL,
        &HOST,
        &MATCH,
        &UNMATCHED,
        &TLS,
        &PROTOCOL,
        &EGRESS_PROXY,
        &TIMEOUTS,
        &AUTH,
        &GRANTS,
        &CACHE,
        &BODY,
        &LIMITS,
        &PRESERVE_HOST,
        &ALLOW_HTTP,
        &POLICY,
        &REFRESH_TOKEN_POLICY,
    ],
};

pub static MATCH_HOST: Plain =
    Opt::new("host", TEXT, "Host of the request, without a port. A trailing dot, here or in a request, is ignored.")
        .default("any")
        .allowed("host name, IPv4 address, IPv6 address in `[]`; no `*`")
        .shown("sessions.acme.example");

pub static MATCH_LISTENER: Plain = Opt::new("listener", TEXT, "Name of the listener that receives the request.")
    .default("any")
    .allowed("name of a listener; `main` with `listen`")
    .shown("main");

pub static PATH_PREFIX: Plain = Opt::new(
    "path_prefix",
    Structure::Text(Format::PathPrefix),
    "Prefix of the path, in whole segments. Without `strip_prefix` it must match a governed path, or a prefix of \
        one.",
)
.default("any")
.allowed("segments of `A-Z a-z 0-9 - _ . ~`, no trailing `/`: `/acme`")
.shown("/acme");

pub static STRIP_PREFIX: Switch = Opt::new(
    "strip_prefix",
    boolean(false),
    "Whether to remove the prefix before the request is validated and forwarded. Only with `path_prefix`.",
)
.shown("true")
.comment("Remove the prefix before validating and forwarding.");

/// The options in `match`.
pub static MATCH_OPTIONS: Options = Options {
    heading: "match",
    comments_above: false,
    rules: &[],
    rows: &[&MATCH_HOST, &MATCH_LISTENER, &PATH_PREFIX, &STRIP_PREFIX],
};

pub static CA_FILE: Plain =
    Opt::new("ca_file", TEXT, "CA certificates to trust, for the provider (in `tls`) or the issuer (in `auth`).")
        .default("the system's")
        .allowed("PEM file with at least one certificate")
        .shown("/etc/ssl/certs/ca-certificates.crt")
        .comment("CA certificates to trust, PEM.");

pub static CERTIFICATE: Plain = Opt::new("certificate", TEXT, "Client certificate, followed by its chain.")
    .default("none")
    .allowed("PEM file with at least one certificate; only with `key`")
    .shown("/run/secrets/acme.pem")
    .comment("Client certificate with its chain, PEM; with `key`.")
    .off();

pub static KEY: Plain = Opt::new("key", TEXT, "Private key of the certificate.")
    .default("none")
    .allowed("PEM file with the unencrypted private key of the first certificate; only with `certificate`")
    .shown("/run/secrets/acme.key")
    .comment("Private key, unencrypted PEM.")
    .off();

/// The options in `tls`.
pub static TLS_OPTIONS: Options = Options {
    heading: "tls",
    comments_above: false,
    rules: &[Rule::Needs("certificate", "key"), Rule::Needs("key", "certificate")],
    rows: &[&CA_FILE, &CERTIFICATE, &KEY],
};

pub static CONNECT: Timed = Opt::new(
    "connect",
    duration(millis(1), minutes(10), seconds(1)),
    "Connect timeout for one address, including TLS, and the tunnel of an `egress_proxy`.",
);

pub static FIRST_BYTE: Timed = Opt::new(
    "first_byte",
    duration(millis(1), minutes(10), seconds(15)),
    "Time from the end of a request to the first byte of its response. For a governed request, time to the whole \
        response.",
);

pub static IDLE: Timed = Opt::new(
    "idle",
    duration(millis(1), minutes(10), seconds(60)),
    "Idle timeout of a pass-through request: how long neither side may send anything. It applies to request bodies, \
        between two parts of a response such as an event stream, to gRPC streams, and to WebSockets, which need more \
        frequent pings. For pass-through requests it also limits `first_byte`.",
)
.comment("Between two parts of a pass-through body.");

pub static KEEPALIVE: Timed =
    Opt::new("keepalive", duration(millis(1), minutes(10), seconds(30)), "Keep-alive timeout of unused connections.");

/// The options in `timeouts`.
pub static TIMEOUT_OPTIONS: Options = Options {
    heading: "timeouts",
    comments_above: false,
    rules: &[],
    rows: &[&CONNECT, &FIRST_BYTE, &IDLE, &KEEPALIVE],
};

pub static IN_FLIGHT: Counted = Opt::new(
    "in_flight",
    count(1, 100_000, 500),
    "Maximum number of requests in flight at the provider: reads and writes, pass-through requests, open streams \
        and WebSockets.",
)
.comment("Requests, including pass-through requests and open streams.");

pub static PER_SOURCE: Counted = Opt::new(
    "per_source",
    count(1, 100_000, 100),
    "Maximum number of requests (not of connections: see [clients.limits](#clientslimits)) in flight for one \
        source, for callers that the gateway has not verified.",
)
.comment("Of them from one IPv4 address or IPv6 /64, by callers that the gateway has not verified.");

pub static WAIT: Timed =
    Opt::new("wait", duration(seconds(0), minutes(1), seconds(1)), "How long a request waits for a slot.");

/// The options in `limits` of an upstream.
pub static LIMITS_OPTIONS: Options = Options {
    heading: "limits of an upstream",
    comments_above: false,
    rules: &[],
    rows: &[&IN_FLIGHT, &PER_SOURCE, &WAIT],
};

pub static TTL: Timed = Opt::new(
    "ttl",
    duration(seconds(1), minutes(5), seconds(30)),
    "Maximum time that a response is fresh. Also how long a deleted session gets 404.",
);

pub static MAX_BODY: Measured =
    Opt::new("max_body", size(1 << 10, 1 << 20, 64 << 10), "Maximum size of a cached response.");

pub static STALE_WHILE_REVALIDATE: Timed = Opt::new(
    "stale_while_revalidate",
    duration(seconds(0), minutes(60), seconds(0)),
    "How long after `ttl` a response is served while it is fetched again.",
)
.comment("How long after `ttl` it is served while it is fetched again.");

pub static STALE_IF_ERROR: Timed = Opt::new(
    "stale_if_error",
    duration(seconds(0), minutes(60), seconds(0)),
    "How long after `ttl` a response is served if the provider fails.",
)
.comment("How long after `ttl` it is served if the provider fails.");

pub static NEGATIVE_TTL: Timed =
    Opt::new("negative_ttl", duration(seconds(0), seconds(2), seconds(0)), "How long a 404 of the provider is cached.")
        .default("not cached");

pub static ON_UNREACHABLE: Chosen<OnUnreachable> = Opt::new(
    "on_unreachable",
    choice(ON_UNREACHABLE_WORDS, OnUnreachable::Forward),
    "What happens to a write if the store cannot be reached to set its invalidation mark. `forward`: it is sent, \
        and other processes may serve cached responses from before it until the store is back. `reject`: it is not \
        sent. `hold`: it is sent, and acknowledged only when no process can serve a response from before it.",
)
.comment("Writes whose invalidation mark cannot be set.");

/// The options in `cache`.
pub static CACHE_OPTIONS: Options = Options {
    heading: "cache",
    comments_above: false,
    rules: &[],
    rows: &[&TTL, &MAX_BODY, &STALE_WHILE_REVALIDATE, &STALE_IF_ERROR, &NEGATIVE_TTL, &ON_UNREACHABLE],
};

pub static BODY_MAX: Measured = Opt::new(
    "max",
    size(1 << 10, 16 << 20, 256 << 10),
    "Maximum size of a request body. Without a `Content-Length` the maximum is 64 KiB.",
)
.comment("Maximum size of a governed or invalidating body.");

pub static BODY_TIMEOUT: Timed =
    Opt::new("timeout", duration(millis(1), minutes(10), seconds(15)), "How long a request body may take to arrive.");

/// The options in `body`.
pub static BODY_OPTIONS: Options =
    Options { heading: "body", comments_above: false, rules: &[], rows: &[&BODY_MAX, &BODY_TIMEOUT] };
