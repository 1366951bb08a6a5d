//! sessiongate: a reverse proxy that enforces session policies in front of identity providers.
//!
//! A pure core decides, a thin shell carries bytes, and providers are tables.
//!
//! # The rooms
//!
//! Each module may use only those above it; `tests/suite/architecture.rs` enforces it.
//!
//! | module | what it is |
//! |---|---|
//! | [`telemetry`] | closed sets whose values are labels of metrics and words in the log |
//! | [`model`] | the nouns: operation, session id, caller, patch, edit, violation, refusal |
//! | [`wire`] | carriers and frames; JSON and protocol buffers that are edited in place; answers of our own |
//! | [`policy`] | what a write may do: a judgement over the view of a write |
//! | [`dialect`] | what a provider's API looks like: one table each |
//! | [`token`] | from the text of a JWT to a verified caller |
//! | [`coherence`] | the cache protocol's decisions, as a pure state machine |
//! | [`gateway`] | the compiled configuration, and the chain of types that is the order of security |
//! | [`config`] | from a text to a gateway, or to every error with its place |
//! | — | *everything above is pure: no async, clock, environment, files, sockets or logging* |
//! | [`descriptors`] | how many files and sockets there may be, and which are kept back |
//! | [`memory`] | how much the process holds for its clients, and how much it may |
//! | [`client`] | outbound HTTP: addresses, trusted roots, bounded exchanges |
//! | [`handover`] | listening sockets that go from a process to the one that takes its place |
//! | [`log_writer`] | the log, written by a thread of its own |
//! | [`metrics`] | every metric and label |
//! | [`cache`] | stores that execute [`coherence`], and the reading loop that coalesces misses |
//! | [`jwks`] | issuers' keys, and the tokens that were verified with them |
//! | [`provider`] | buffered fetches from a provider, which outlive the client that asked |
//! | [`runtime`] | what a running gateway carries |
//! | [`edge`] | a client's connection: TLS, limits, strict HTTP/1, the flood guard of HTTP/2; with `proxy` the only place that names Pingora |
//! | [`proxy`] | Pingora's hooks, which only translate; pass-through |
//! | [`admin`] | probes and metrics |
//! | [`reload`] | reading the configuration again, and what takes its place while requests are served |
//! | [`sandbox`] | simulated providers, which know nothing of the tables |
//! | [`cli`] | the command line, and the only place that prints |
//!
//! # The life of a request
//!
//! A request takes one [`runtime::Runtime`] when its head has arrived, and keeps to it: what it is judged by, its provider, its
//! policy. A configuration that takes the place of another meanwhile is for those that come after it.
//!
//! 1. **Route** ([`gateway::Gateway::route`]). The path is read in every way that a server might read it. If any reading reaches a
//!    governed surface, the request has to be one of its operations, spelled in the one canonical way, or it is refused. What
//!    reaches no governed surface is passed.
//! 2. **Admit** ([`gateway::Governed::admit`]). The caller's token is verified ([`jwks::Issuer::verify`]) and has to carry the
//!    operation's scope. Only an admitted request can name a cached answer ([`gateway::CacheKey`]).
//! 3. **Read the body**, within bounds of size and time, out of whatever its [`wire::carrier::Carrier`] puts around it
//!    ([`gateway::Admitted::read_body`]). It becomes a [`wire::json::Document`] or a [`wire::message::Parsed`]; calls name their
//!    session there.
//! 4. **Judge** ([`gateway::Asked::decide`]). The dialect shows the policy what the body changes, the policy answers with all violations or with a [`policy::Permit`] and its edits, and the document is edited in
//!    place. Only a [`gateway::Write`] can be sent to the provider, and it holds exactly the bytes that were judged.
//! 5. **Answer.** A read of a session goes through [`cache::Sessions::read`]: a hit, the fetch of somebody else, or a fetch of its
//!    own. Other reads are fetched, and lists lose the sessions that nobody sees by themselves ([`gateway::Listing`]). A write
//!    marks what it changes, is sent, and is settled before it is acknowledged, all in a task that a leaving client does not stop.
//!    Passed requests go through Pingora's own forwarding.
//! 6. **Account**: one [`gateway::Outcome`] becomes metrics and one line in the log.

// Supplies the zlib symbols that pingora's compression asks for: see .cargo/config.toml.
extern crate libz_rs_sys as _;

pub mod telemetry;
pub mod model;
pub mod wire;
pub mod policy;
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
pub mod provider;
pub mod runtime;
pub mod edge;
pub mod proxy;
pub mod admin;
pub mod reload;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod cli;
