//! The table of all metrics. Registration takes name, type, labels and help text from it, and the metric tables of
//! `docs/reference/metrics.md` are rendered from it. All metrics but those of the process (`process_*`) are here.

use super::declaration::{Metric, counter, gauge, histogram};
use super::labels::{
    CACHE, DECISION, DIRECTION, DISCONNECT_REASON, EDIT_KIND, EVENT, FETCH_STATUS, GRANT, HASH, INTROSPECTION_CACHE,
    INTROSPECTION_RESULT, KEY_FETCH, LISTENER, MEMORY_KIND, MODE, OPERATION, OPTION, PURGED, REJECTION_REASON, RELOAD,
    REUSED, RIGHT_RESULT, RULE, SHED, STATUS, STEP, STORE_FAILURE, STORE_REFUSAL, TOKEN_CHECK, UPSTREAM,
    UPSTREAM_OUTCOME, VERSION,
};

/// Buckets of request durations, in seconds: cached responses take microseconds, providers up to their timeout.
const REQUEST_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 15.0,
    30.0,
];

/// Buckets of times at the provider, in seconds.
const UPSTREAM_BUCKETS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

/// Buckets of the store's response times, in seconds: a nearby server takes a tenth of a millisecond.
const STORE_BUCKETS: &[f64] = &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25];

/// Declares each metric, and the list of all of them: so the list has every metric that can be registered.
macro_rules! metrics {
    ($($row:ident = $metric:expr;)*) => {
        $(pub(super) static $row: Metric = $metric;)*

        /// All metrics, in the order of the documentation.
        pub static METRICS: &[&Metric] = &[$(&$row),*];
    };
}

metrics! {
    REQUESTS = counter(
        "sessiongate_requests_total",
        &[&UPSTREAM, &OPERATION, &DECISION, &CACHE, &STATUS],
        "Requests, by upstream, operation, decision, cache status and class of the response status.",
    );
    REQUEST_DURATION = histogram(
        "sessiongate_request_duration_seconds",
        &[&UPSTREAM, &OPERATION, &DECISION, &CACHE],
        REQUEST_BUCKETS,
        "Time from the request head to the end of the response.",
    );
    REQUESTS_IN_FLIGHT = gauge(
        "sessiongate_requests_in_flight",
        &[],
        "Requests in flight, and writes whose client has left.",
    );
    VIOLATIONS = counter(
        "sessiongate_violations_total",
        &[&UPSTREAM, &RULE, &MODE],
        "Violations of policies, by upstream, rule and mode of the policy; each rule once per request.",
    )
    .note("With `mode: audit` the requests are forwarded nevertheless.");
    EDITS = counter(
        "sessiongate_edits_total",
        &[&UPSTREAM, &EDIT_KIND, &MODE],
        "Edits that policies decide on in writes, by upstream, kind and mode of the policy.",
    )
    .note("With `mode: audit` they are counted but not made. They count too if the write then fails.");
    REJECTIONS = counter(
        "sessiongate_rejections_total",
        &[&UPSTREAM, &REJECTION_REASON],
        "Requests that the gateway rejected, or that failed, by upstream and reason.",
    )
    .note("See [Reasons of rejections](reasons.md).");
    GRANTS = counter(
        "sessiongate_grant_requests_total",
        &[&UPSTREAM, &GRANT, &DECISION],
        "Requests with a valid credential at upstreams with grants, by upstream, grant of the caller and decision.",
    )
    .note("See [Several applications, one tenant](../guides/several-applications.md).");
    EXCLUSIVE_RIGHTS = counter(
        "sessiongate_exclusive_rights_total",
        &[&UPSTREAM, &RIGHT_RESULT],
        "Writes that needed the exclusive right to change metadata, by upstream and result.",
    )
    .note("`right_wait_us` of the access log is how long each took to get it.");
    MERGED = counter(
        "sessiongate_merged_writes_total",
        &[&UPSTREAM],
        "Writes of owners of metadata keys that were merged with the other keys of the session.",
    )
    .note("They count too if the write then fails. See [owners of keys](configuration.md#owners-of-keys).");
    UPSTREAM_DURATION = histogram(
        "sessiongate_upstream_duration_seconds",
        &[&UPSTREAM, &OPERATION, &UPSTREAM_OUTCOME],
        UPSTREAM_BUCKETS,
        "Time at the provider, from sending to the end of the response head or to the failure, by upstream, operation \
         and outcome.",
    )
    .note(
        "Governed and pass-through requests. Includes a new connection and all attempts, but no wait for a slot, \
         and not the time in which a streamed body arrives. Cache hits are not counted.",
    );
    UPSTREAM_FETCHES = counter(
        "sessiongate_upstream_fetches_total",
        &[&UPSTREAM, &FETCH_STATUS],
        "Governed requests, and pass-through requests that invalidate, that were sent to the provider.",
    );
    UPSTREAM_CONNECTIONS = counter(
        "sessiongate_upstream_connections_total",
        &[&UPSTREAM, &REUSED],
        "Provider connections used by pass-through requests, except those that invalidate, by upstream and whether \
         they were reused.",
    );
    UPSTREAM_IN_FLIGHT = gauge(
        "sessiongate_upstream_requests_in_flight",
        &[&UPSTREAM],
        "Requests in flight at the provider, including those whose client has left.",
    )
    .note("See [limits of an upstream](configuration.md#limits-of-an-upstream).");
    UPSTREAM_WAITS = counter(
        "sessiongate_upstream_waits_total",
        &[&UPSTREAM],
        "Requests that waited for a slot at the provider.",
    )
    .note("Those that were rejected count as `upstream_busy` and `source_busy` in `sessiongate_rejections_total`.");
    UPSTREAM_REQUESTS_LIMIT = gauge(
        "sessiongate_upstream_requests_limit",
        &[&UPSTREAM],
        "How many requests may be in flight at the provider.",
    );
    UPSTREAM_QUOTA_LIMIT = gauge(
        "sessiongate_upstream_quota_limit",
        &[&UPSTREAM],
        "Request limit of the provider, as last reported.",
    )
    .note("No series until the provider has reported one. See [Quota](../operations/provider-failures.md#quota).");
    UPSTREAM_QUOTA_REMAINING = gauge(
        "sessiongate_upstream_quota_remaining",
        &[&UPSTREAM],
        "Requests left of the provider's limit, as last reported.",
    )
    .note("No series until the provider has reported one.");
    UPSTREAM_QUOTA_AGE = gauge(
        "sessiongate_upstream_quota_age_seconds",
        &[&UPSTREAM],
        "Time since the provider last reported its limit.",
    )
    .note("No series until the provider has reported one.");
    OPEN_CONNECTIONS = gauge("sessiongate_open_connections", &[], "Open client connections.");
    CONNECTIONS_LIMIT = gauge("sessiongate_connections_limit", &[], "How many client connections may be open.")
        .note("Lower than `clients.limits.connections` if the file descriptor limit requires it.");
    CERTIFICATE_EXPIRY = gauge(
        "sessiongate_certificate_expiry_timestamp_seconds",
        &[&LISTENER],
        "Time when the certificate of a TLS listener expires; of several, the first.",
    );
    CONNECTIONS = counter("sessiongate_connections_total", &[], "Client connections accepted.");
    DISCONNECTS = counter(
        "sessiongate_connections_cut_total",
        &[&DISCONNECT_REASON],
        "Client connections, and requests on them, that the gateway ended, by reason.",
    )
    .note("See [Connections that are cut off](limits.md#connections-that-are-cut-off).");
    CACHE_BYTES = gauge("sessiongate_cache_bytes", &[], "Memory used by the cache.");
    CACHE_SESSIONS = gauge("sessiongate_cache_sessions", &[], "Sessions in the cache.");
    CACHE_EVICTIONS = counter("sessiongate_cache_evictions_total", &[], "Sessions evicted to make room.")
        .note("If it rises, raise `store.memory.max_bytes`.");
    CACHE_PURGES = counter(
        "sessiongate_cache_purges_total",
        &[&UPSTREAM, &PURGED],
        "Manual cache purges, by upstream and what was purged.",
    );
    CACHE_EVENTS = counter(
        "sessiongate_cache_events_total",
        &[&EVENT],
        "Cache events other than hits and misses, by event.",
    )
    .note("See [Cache and store](#cache-and-store).");
    STORE_DURATION = histogram(
        "sessiongate_store_duration_seconds",
        &[&STEP],
        STORE_BUCKETS,
        "Duration of store operations, including failed ones.",
    );
    STORE_ERRORS = counter(
        "sessiongate_store_errors_total",
        &[&STEP, &STORE_FAILURE],
        "Failed store operations, by operation and reason.",
    );
    STORE_CONNECTIONS = gauge("sessiongate_store_connections", &[], "Usable connections to the store's servers.")
        .note("0 means that the cache is bypassed: alert on it.");
    STORE_DISCONNECTS = counter(
        "sessiongate_store_disconnects_total",
        &[],
        "Connections to the store's servers that were closed or lost.",
    );
    STORE_CONNECT_FAILURES = counter(
        "sessiongate_store_connect_failures_total",
        &[&STORE_REFUSAL],
        "Failed attempts to get a usable connection to a server of the store, by error code.",
    );
    STORE_BYTES = counter(
        "sessiongate_store_bytes_total",
        &[&DIRECTION],
        "Bytes of cache entries read from and written to the store.",
    );
    JWKS_KEYS = gauge("sessiongate_jwks_keys", &[&UPSTREAM], "Usable signing keys of the issuer.")
        .note("With several issuers: of the one that lacks keys, or whose keys become too old first.");
    JWKS_AGE = gauge(
        "sessiongate_jwks_age_seconds",
        &[&UPSTREAM],
        "Time since the last successful fetch of the issuer's keys; -1 if there was none.",
    );
    JWKS_REFRESH_INTERVAL = gauge(
        "sessiongate_jwks_refresh_interval_seconds",
        &[&UPSTREAM],
        "Interval between fetches of the issuer's keys.",
    );
    JWKS_MAX_STALE = gauge(
        "sessiongate_jwks_max_stale_seconds",
        &[&UPSTREAM],
        "Age at which the issuer's keys become invalid if no newer ones can be fetched.",
    );
    ISSUER_MISMATCH = gauge(
        "sessiongate_issuer_mismatch",
        &[&UPSTREAM],
        "1 if the issuer's discovery document names another issuer, 0 if it names the configured one. No series if \
         `jwks` is set, or until the document is fetched.",
    )
    .note("Alert on 1: see [auth](configuration.md#auth).");
    JWKS_FETCHES = counter(
        "sessiongate_jwks_fetches_total",
        &[&UPSTREAM, &KEY_FETCH],
        "Fetches of the issuer's signing keys, by upstream and result.",
    );
    TOKEN_CHECKS = counter(
        "sessiongate_token_checks_total",
        &[&UPSTREAM, &TOKEN_CHECK],
        "Valid tokens, by whether they were verified or the result was cached.",
    );
    INTROSPECTIONS = counter(
        "sessiongate_introspections_total",
        &[&UPSTREAM, &INTROSPECTION_RESULT],
        "Introspections of opaque tokens, by upstream and result.",
    )
    .note("Only with `introspection`. See [Opaque tokens](../guides/opaque-tokens.md).");
    INTROSPECTIONS_CACHED = counter(
        "sessiongate_introspections_cached_total",
        &[&UPSTREAM, &INTROSPECTION_CACHE],
        "Requests with opaque tokens for which a cached result was used, by upstream and result.",
    )
    .note("Only with `introspection`.");
    CONFIG_RELOADS = counter(
        "sessiongate_config_reloads_total",
        &[&RELOAD],
        "Configuration reloads, by result.",
    );
    CONFIG_RELOAD_SUCCESSFUL = gauge(
        "sessiongate_config_last_reload_successful",
        &[],
        "1 if the last configuration reload succeeded, 0 if it was rejected.",
    )
    .note("Alert on 0.");
    CONFIG_RELOAD_TIME = gauge(
        "sessiongate_config_last_reload_success_timestamp_seconds",
        &[],
        "Time of the last successful configuration reload.",
    );
    CONFIG_INFO = gauge(
        "sessiongate_config_info",
        &[&HASH],
        "Current configuration, by the SHA-256 hash of its text.",
    );
    CONFIG_RESTART_NEEDED = gauge(
        "sessiongate_config_restart_needed",
        &[&OPTION],
        "1 if a change of this option needs a restart.",
    )
    .note("See [Reload](../operations/reload.md).");
    MEMORY_LIMIT = gauge("sessiongate_memory_limit_bytes", &[], "Memory limit of the process.");
    MEMORY_BUDGET = gauge("sessiongate_memory_budget_bytes", &[], "Memory budget for clients.");
    MEMORY_HELD = gauge("sessiongate_memory_held_bytes", &[&MEMORY_KIND], "Memory held for clients, by kind.")
        .note("See [Memory](../operations/memory.md).");
    MEMORY_SHED = counter(
        "sessiongate_memory_shed_total",
        &[&SHED],
        "Work shed because memory was low, by kind.",
    )
    .note("See [Memory](../operations/memory.md).");
    LOG_LINES_DROPPED = counter(
        "sessiongate_log_lines_dropped_total",
        &[],
        "Log lines dropped because the log was not read fast enough.",
    );
    BUILD_INFO = gauge("sessiongate_build_info", &[&VERSION], "Version of the running process.");
}
