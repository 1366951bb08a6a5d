//! Tests of the whole program: as a process, on real sockets, with the official SDKs. Also: the architecture, the
//! documentation and the dependencies of the project.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests stop at the first surprise"
)]

mod architecture;
mod dependencies;
mod docs;
mod quickstarts;
mod reference;
mod release;
mod runbooks;
mod sdk_guide;
mod systemd;

/// What the tests share.
mod harness;

/// Auth0's sessions API, and what its official SDKs make of the gateway.
mod auth0 {
    mod official_sdks;
    mod policy_bypass;
    mod refresh_tokens_and_lists;
}

/// The session cache: what is stored, what invalidates it, and that it never shows stale data.
mod cache {
    mod coherence;
    mod exclusive_model;
    mod exclusive_right;
    mod fleet;
    mod invalidating_requests;
    mod lost_deletion_steps;
    mod memory_store;
    mod mixed_versions;
    mod model;
    mod purge;
    mod redis_guide;
    mod redis_scripts;
    mod redis_store;
    mod redis_topologies;
    mod session_cache;
    mod sharing_between_callers;
    mod tenants;
    mod unstorable_responses;
    mod unverified_callers;
}

/// Grants: who may do what with which sessions, and what each caller sees.
mod grants {
    mod auth0_table;
    mod guide;
    mod hits;
    mod owners;
    mod owners_fleet;
    mod owners_outside;
    mod owners_guide;
    mod owners_zitadel;
    mod owners_under_load;
    mod sdks;
    mod sessions;
    mod world;
    mod zitadel_table;
}

/// The configuration and the command line that reads it.
mod config {
    mod check_formats;
    mod check_online;
    mod command_line;
    mod init;
    mod reload;
}

/// Connections on both sides: protocols, limits, timeouts, and peers that misbehave.
mod connections {
    mod behind_proxies;
    mod client_disconnects;
    mod client_limits;
    mod connection_memory;
    mod content_codings;
    mod egress_proxy;
    mod header_compression;
    mod hop_by_hop_headers;
    mod host_and_address_forms;
    mod listeners;
    mod malformed_http2;
    mod memory_pressure;
    mod misbehaving_providers;
    mod name_resolution;
    mod pass_through;
    mod pass_through_timeouts;
    mod protocol_detection;
    mod provider_host;
    mod provider_http2;
    mod provider_tls;
    mod proxy_protocol;
    mod requests_in_flight;
    mod slow_clients;
    mod smuggling_corpora;
    mod strict_http1;
    mod tls_guide;
    mod unix_sockets;
    mod unreachable_addresses;
    mod upgrade_offers;
}

/// Callers' tokens, and the keys of their issuers.
mod identity {
    mod callers;
    mod introspection;
    mod issuer_keys;
    mod masks;
    mod real_issuer;
    mod several_issuers;
    mod tokens;
}

/// What holds for each dialect.
mod dialects {
    mod cases;
    mod contract;
    mod credentials;
    mod effects;
    mod forwarded;
    mod rejections;
}

/// The Helm chart and the manifests that are rendered from it.
mod kubernetes {
    mod cases;
    mod configurations;
    mod contract;
    mod manifests;
    mod pages;
    mod reference;
    mod rejected_values;
    mod running;
    mod values;
}

/// Start, stop and replacement of the process.
mod lifecycle {
    mod operations;
    mod probe;
    mod readiness;
    mod restarts;
    mod signals;
    mod start_and_stop;
}

/// Log, metrics and traces, and the rules for Prometheus.
mod observability {
    mod access_log;
    mod alert_rules;
    mod dashboard;
    mod exchanges;
    mod log;
    mod metrics;
    mod on_call;
    mod traces;
}

/// Okta's Sessions API (preview).
mod okta {
    mod sessions;
}

/// The policy, whichever provider and carrier a write uses.
mod policy {
    mod audit_guide;
    mod bypass_by_carrier;
    mod golden_cases;
    mod properties;
    mod recipes;
    mod rejection_size;
}

/// ZITADEL's session service, and what its official clients make of the gateway.
mod zitadel {
    mod carrier_agreement;
    mod grpc_behind_proxies;
    mod official_clients;
    mod opaque_tokens;
    mod sessions;
}
