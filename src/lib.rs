//! sessiongate: a reverse proxy that enforces session policies in front of identity providers.
//!
//! A pure core decides, a thin shell carries bytes, and providers are tables.
//!
//! # Rooms
//!
//! Each module uses only those above it, and the files of a module import each other one way. The modules from
//! [`handover`] to [`provider`] are leaves: each handles one thing outside the process, and they do not use each other.
//! `tests/suite/architecture.rs` enforces all of this.
//!
//! | module | what it is |
//! |---|---|
//! | [`telemetry`] | closed sets of metric labels and log words, but for those of the domain ([`model`] has them) |
//! | [`model`] | the nouns: operation, session ID, caller, patch, edit, violation, policy rule, rejection |
//! | [`wire`] | encodings and what is valid in them: JSON, protocol buffers, gRPC, Connect, strict HTTP, HPACK, PROXY |
//! | [`policy`] | what a write may do: evaluates a patch, gives a permit or violations |
//! | [`grant`] | which callers may do what, and what they see of a session |
//! | [`dialect`] | what a provider's API looks like, and its form of a rejection: one table each |
//! | [`token`] | from the text of a JWT to a verified caller |
//! | [`coherence`] | the cache protocol's decisions, as a pure state machine |
//! | [`gateway`] | upstreams and policies, compiled; the chain of types that is the order of security |
//! | [`config`] | from a text to the options of the process and a gateway, or to every error with its location |
//! | | *everything above is pure: no async, clock, environment, files, sockets or logging* |
//! | [`descriptors`] | how many files and sockets there may be, and which are kept back |
//! | [`memory`] | how much memory the process holds for its clients, and how much it may |
//! | [`client`] | outbound HTTP, to providers and issuers: addresses, tunnels, trusted roots, bounded exchanges |
//! | [`handover`] | listening sockets that pass from a process to its successor |
//! | [`log_writer`] | the log, written by a thread of its own |
//! | [`metrics`] | every metric |
//! | [`cache`] | stores that execute [`coherence`]; single flight |
//! | [`jwks`] | issuers: their keys, and the tokens that were verified with them |
//! | [`introspection`] | opaque tokens: what their issuer says of them, cached and bounded |
//! | [`provider`] | requests to a provider: headers, buffered or streamed responses, how many are in flight |
//! | [`serve`] | governed reads and writes, between cache and provider; without Pingora and sockets |
//! | [`runtime`] | the active configuration with its backends; readiness, request IDs, state of the process |
//! | [`edge`] | a client's connection: TLS, limits, strict HTTP/1, flood guard of HTTP/2, timing |
//! | [`proxy`] | Pingora's hooks, pass-through, the access log; only `edge` and `proxy` name Pingora |
//! | [`admin`] | the listeners for operations: `admin` with probes and metrics, `control` with purge |
//! | [`reload`] | reading the configuration again, and activating it while requests are served |
//! | [`sandbox`] | simulated providers, which do not know the tables |
//! | [`cli`] | the command line, start and stop of the process, and the only place that prints |
//!
//! # Life of a connection
//!
//! 1. **Accept** (`edge::connection`). A connection beyond a limit, or beyond the memory budget, is closed at once.
//! 2. **PROXY protocol header** (`edge::proxy_header`), if the listener requires it: the client's address.
//! 3. **TLS** (`edge::tls`), if the listener has it. The first bytes, or ALPN, say whether it is HTTP/1 or HTTP/2.
//! 4. **Guard.** `edge::client_stream` sees every byte: it counts frames of HTTP/2 (`edge::flood_guard`,
//!    `edge::flood_budget`) and measures the client's timing (`edge::client_timing`). `edge::strict_http1` hands out
//!    HTTP/1 request by request, and only if each is framed strictly.
//! 5. **Requests.** Pingora parses each and calls the hooks in `proxy::hooks`. `edge::downstream` tells them which
//!    client it is. A plain governed request of HTTP/1 needs no session of Pingora's: `proxy::direct` parses it, and
//!    serves it by the same functions, which know its client as a `proxy::downstream`.
//! 6. **End**: the client's own, a timeout, a limit, or the end of the process. The reason is a
//!    [`telemetry::DisconnectReason`].
//!
//! # Life of a request
//!
//! A request keeps the one [`runtime::Runtime`] that was current when its head arrived: configuration, providers,
//! policies. A configuration that is activated later is for later requests.
//!
//! 1. **Route** ([`gateway::Gateway::route`]). The path is read in every way that a server might read it. If any
//!    reading reaches a governed surface, the request has to be one of its operations in the canonical spelling, or it
//!    is rejected. Anything else is pass-through.
//! 2. **Authorize** ([`gateway::Governed::authorize`]). The caller's token is verified ([`jwks::Issuer::verify`]) and
//!    needs the operation's scope. Only an authorized request can name a cached response ([`gateway::CacheKey`]).
//! 3. **Read the body** ([`gateway::AuthorizedRequest::read_body`]), within bounds of size and time, out of its
//!    [`wire::carrier::Carrier`]. It becomes a [`wire::json::Document`] or a [`wire::message::Parsed`]; calls name
//!    their session there.
//! 4. **Evaluate** ([`gateway::DecodedRequest::decide`]). The dialect shows the policy what the body changes; the
//!    policy returns all violations, or a [`policy::Permit`] with edits, which are made in place. Only a
//!    [`gateway::Write`] can be sent to the provider, and it holds exactly the bytes that were evaluated.
//! 5. **Respond** ([`serve::Service::respond`]). A read of a session goes through [`cache::Sessions::read`]: a hit, the
//!    fetch of another request, or its own. Other reads are fetched; lists lose the sessions that were deleted
//!    ([`gateway::Listing`]). A write sets its invalidation mark, is sent, and is settled before it is acknowledged, in
//!    a task that goes on if the client leaves. Pingora forwards pass-through requests; what may change sessions, or
//!    may be sent again over HTTP/2, the gateway sends by itself (`proxy::relay`).
//! 6. **Account**: one [`gateway::Outcome`] becomes metrics and one line of the access log.
//!
//! # How to change things
//!
//! `tests/run --write` renders the parts of the documentation that come from tables.
//!
//! - **An option**: its row in `config/options/*.rs`, in the list of its map; the reader in `config/*.rs`, which gets
//!   the value by the row; the code that uses it; CHANGELOG. `tests/run --write` writes `config/schema.json`,
//!   `config/example.yaml` and the tables of `docs/reference/configuration.md`. See CONTRIBUTING.md.
//! - **A metric**: its row in `metrics/table.rs` (name, type, labels, help), a field that registers it, and the call
//!   that counts. A new label is declared in `metrics/labels.rs`. Counts by upstream go through `metrics/meters.rs`.
//!   What a component counts by itself is read by [`runtime::Runtime::reading`].
//! - **A label value, a policy rule, an operation**: its variant in [`telemetry`] or [`model`]. The documentation
//!   comment is its meaning in the reference.
//! - **A field of the access log**: its row in `proxy/access_log_fields.rs`, and the line in `proxy/access_log.rs` that
//!   writes it.
//! - **A line of the log for a state change**: the call of `tracing`, and its row in `docs/reference/log.md`.
//! - **A command, or an option of one**: its documentation comment in `cli`, which is also its text in
//!   `docs/reference/command-line.md`.
//! - **A kind of error or warning of `check`**: its variant in `config/finding.rs`, and `Problem::id` where it is
//!   found; a case in `config/tests`. `tests/run --write` adds it to `docs/reference/check.md`.
//! - **A rejection reason**: its row in `model/rejection.rs`, and the code that rejects; a case in
//!   `tests/suite/harness/rejections.rs`. `tests/run --write` adds it to `docs/reference/reasons.md` and to the
//!   responses in `tests/cases/rejections`; `docs/guides/troubleshooting.md` says what to do. A dialect overrides status
//!   or text only if its provider responds differently in the same case: see `dialect/rejections.rs`.
//! - **A limit of request heads**: `HeadLimits` in `wire/http1/error.rs`. `wire/http1/head.rs` checks the bytes of
//!   HTTP/1, `wire/http1/fields.rs` the fields of HTTP/2 (`proxy/head.rs` calls it). `config/clients.rs` reads it; then
//!   as for an option.
//! - **A provider**: see CONTRIBUTING.md.
//! - **A provider's route**: its row in [`dialect`], and a new [`model::Operation`] only if none has the same meaning
//!   for policy, cache and metrics. Then the simulated provider in [`sandbox`], cases in `tests/cases`, and
//!   `docs/reference/routes.md`.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | governed | a request on a route of the dialect: validated, or rejected |
//! | pass-through | any other request: streamed to the provider, never cached or validated |
//! | rejection | a response of the gateway in place of the provider's |
//! | upstream, provider | an entry of the configuration; the API behind it |
//! | dialect | a provider's API as a table |
//! | carrier | how a call stands on the wire: REST, gRPC, gRPC-web, Connect |
//! | credential, caller | what proves who sends a request; who it is |
//! | policy, permit, violation | what a write may do; the proof that it may; what it may not |
//! | edit | a change that normalization, a default or a clamp makes in a body |
//! | invalidation mark | a write in flight, as the store knows it: reads bypass the cache |
//! | generation, epoch | the version of a session's state, and of an upstream's, in the store |
//! | lease, single flight | the right to fetch; joining of concurrent misses |
//! | entry, variant | a cached response; which of a session's responses it is |
//! | tenant | whose sessions are shown: host and instance headers |
//! | keyed hash | what stands for a session ID in cache and log: `session_hash` |
//! | exchange, attempt | a request to a provider, with what came of it; one sending of it |
//! | quota | a provider's request limit, as its responses report it |
//! | slot | the right to have one request in flight at a provider |
//! | egress proxy, tunnel | a forward proxy to providers; a connection through it (CONNECT) |
//! | share | what a connection holds of the memory budget |
//! | backend | what an upstream is served with: provider, issuer, slots |
//! | replica, process | one process of the gateway |

// Supplies the zlib symbols that pingora's compression asks for: see .cargo/config.toml.
extern crate libz_rs_sys as _;

pub mod telemetry;
pub mod model;
pub mod wire;
pub mod policy;
pub mod grant;
pub mod dialect;
pub mod token;
pub mod coherence;
pub mod gateway;
pub mod config;
pub mod descriptors;
pub mod memory;
pub mod client;
pub mod handover;
pub mod log_writer;
pub mod metrics;
pub mod cache;
pub mod jwks;
pub mod introspection;
pub mod provider;
pub mod serve;
pub mod runtime;
pub mod edge;
pub mod proxy;
pub mod admin;
pub mod reload;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod cli;
