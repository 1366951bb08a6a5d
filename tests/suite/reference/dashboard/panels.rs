//! The panels of the Grafana dashboard, in the order of an investigation.

use super::Kind::{Lines, Stacked, Stat, States, Table};
use super::{Panel, Row};

pub(super) static ROWS: &[Row] = &[
    Row {
        title: "Overview",
        panels: &[
            Panel {
                title: "Replicas",
                description: "Replicas that Prometheus scrapes. Fewer than you run: look at the targets in Prometheus, \
                              and at restarts.",
                kind: Stat(None),
                unit: "none",
                width: 4,
                queries: &[("", "count(sessiongate_build_info{@process})")],
            },
            Panel {
                title: "Requests",
                description: "Requests per second, of all replicas.",
                kind: Stat(None),
                unit: "reqps",
                width: 4,
                queries: &[("", "sum(rate(sessiongate_requests_total{@upstream}[$__rate_interval]))")],
            },
            Panel {
                title: "Failed requests",
                description: "Share of the requests that failed because of the provider, the issuer, the store or the \
                              gateway. The row below tells these apart.",
                kind: Stat(Some([0.01, 0.05])),
                unit: "percentunit",
                width: 4,
                queries: &[(
                    "",
                    r#"sum(rate(sessiongate_requests_total{@upstream, decision="failed"}[$__rate_interval])
                         or vector(0))
                       / sum(rate(sessiongate_requests_total{@upstream}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Provider p95",
                description: "95 % of the requests that reached the provider got its response head within this time.",
                kind: Stat(Some([2.5, 10.0])),
                unit: "s",
                width: 4,
                queries: &[(
                    "",
                    "histogram_quantile(0.95,
                       sum by (le) (rate(sessiongate_upstream_duration_seconds_bucket{@upstream}[$__rate_interval])))",
                )],
            },
            Panel {
                title: "Cache hit ratio",
                description: "Share of the reads that the cache took part in and that were served from it.",
                kind: Stat(None),
                unit: "percentunit",
                width: 4,
                queries: &[(
                    "",
                    r#"sum(rate(sessiongate_requests_total{@upstream, cache="hit"}[$__rate_interval]) or vector(0))
                       / sum(rate(sessiongate_requests_total{@upstream, cache!="none"}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Configurations",
                description: "Different configurations among the replicas. More than 1 for longer than a rollout \
                              takes: see the row Configuration.",
                kind: Stat(Some([2.0, 3.0])),
                unit: "none",
                width: 4,
                queries: &[("", "count(count by (hash) (sessiongate_config_info{@process}))")],
            },
        ],
    },
    Row {
        title: "Is it the gateway or the provider?",
        panels: &[
            Panel {
                title: "Requests by decision",
                description: "What the gateway did with the requests. `failed` is a fault of the provider, the issuer, \
                              the store or the gateway; `rejected` is mostly the client's.",
                kind: Stacked,
                unit: "reqps",
                width: 8,
                queries: &[(
                    "{{decision}}",
                    "sum by (decision) (rate(sessiongate_requests_total{@upstream}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Responses by status",
                description: "Class of the status that clients got. 429 comes from the provider or from a limit of the \
                              gateway: compare with Provider outcomes.",
                kind: Stacked,
                unit: "reqps",
                width: 8,
                queries: &[(
                    "{{status}}",
                    "sum by (status) (rate(sessiongate_requests_total{@upstream}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Failures by cause",
                description: "Requests that failed, by who has to act. The cause `gateway` is a limit of the gateway: \
                              see the row Capacity.",
                kind: Stacked,
                unit: "reqps",
                width: 8,
                queries: &[
                    (
                        "provider",
                        r#"sum(rate(sessiongate_rejections_total{@upstream, reason=~"@provider"}[$__rate_interval])
                           or vector(0))"#,
                    ),
                    (
                        "issuer",
                        r#"sum(rate(sessiongate_rejections_total{@upstream, reason=~"@issuer"}[$__rate_interval])
                           or vector(0))"#,
                    ),
                    (
                        "store",
                        r#"sum(rate(sessiongate_rejections_total{@upstream, reason=~"@store"}[$__rate_interval])
                           or vector(0))"#,
                    ),
                    (
                        "gateway",
                        r#"sum(rate(sessiongate_rejections_total{@upstream, reason=~"@gateway"}[$__rate_interval])
                           or vector(0))"#,
                    ),
                ],
            },
            Panel {
                title: "Failures by reason",
                description: "Failed requests by reason. docs/reference/reasons.md explains each.",
                kind: Lines,
                unit: "reqps",
                width: 8,
                queries: &[(
                    "{{upstream}} {{reason}}",
                    r#"sum by (upstream, reason) (rate(
                         sessiongate_rejections_total{@upstream, reason=~"@failures"}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Provider duration",
                description: "Time at the provider, to the end of the response head. If it rises together with Request \
                              duration, the provider is slow. If only Request duration rises, the store, the gateway \
                              or the clients are.",
                kind: Lines,
                unit: "s",
                width: 8,
                queries: &[
                    (
                        "p50",
                        "histogram_quantile(0.5, sum by (le)
                           (rate(sessiongate_upstream_duration_seconds_bucket{@upstream}[$__rate_interval])))",
                    ),
                    (
                        "p95",
                        "histogram_quantile(0.95, sum by (le)
                           (rate(sessiongate_upstream_duration_seconds_bucket{@upstream}[$__rate_interval])))",
                    ),
                    (
                        "p99",
                        "histogram_quantile(0.99, sum by (le)
                           (rate(sessiongate_upstream_duration_seconds_bucket{@upstream}[$__rate_interval])))",
                    ),
                ],
            },
            Panel {
                title: "Request duration",
                description: "Time from the request head to the end of the response, with the time at the provider and \
                              the time that the client takes to send and read.",
                kind: Lines,
                unit: "s",
                width: 8,
                queries: &[
                    (
                        "p50",
                        "histogram_quantile(0.5, sum by (le)
                           (rate(sessiongate_request_duration_seconds_bucket{@upstream}[$__rate_interval])))",
                    ),
                    (
                        "p95",
                        "histogram_quantile(0.95, sum by (le)
                           (rate(sessiongate_request_duration_seconds_bucket{@upstream}[$__rate_interval])))",
                    ),
                    (
                        "p99",
                        "histogram_quantile(0.99, sum by (le)
                           (rate(sessiongate_request_duration_seconds_bucket{@upstream}[$__rate_interval])))",
                    ),
                    (
                        "p99 of hits",
                        r#"histogram_quantile(0.99, sum by (le)
                           (rate(sessiongate_request_duration_seconds_bucket{@upstream, cache="hit"}
                             [$__rate_interval])))"#,
                    ),
                ],
            },
            Panel {
                title: "Provider outcomes",
                description: "Requests that reached or tried to reach the provider, by its status. `failed` means no \
                              response: no connection, a timeout or a broken response.",
                kind: Stacked,
                unit: "reqps",
                width: 8,
                queries: &[(
                    "{{upstream}} {{outcome}}",
                    "sum by (upstream, outcome)
                       (rate(sessiongate_upstream_duration_seconds_count{@upstream}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Provider p95 by operation",
                description: "A single slow operation is usually the provider's. All of them at once: also check the \
                              network, DNS and TLS to the provider.",
                kind: Lines,
                unit: "s",
                width: 8,
                queries: &[(
                    "{{upstream}} {{operation}}",
                    "histogram_quantile(0.95, sum by (upstream, operation, le)
                       (rate(sessiongate_upstream_duration_seconds_bucket{@upstream}[$__rate_interval])))",
                )],
            },
            Panel {
                title: "429 by origin",
                description: "429 of the provider: its quota is used up. 429 of the gateway: `limits.per_source` of \
                              the upstream, or too many writes on one session.",
                kind: Lines,
                unit: "reqps",
                width: 8,
                queries: &[
                    (
                        "provider {{upstream}}",
                        r#"sum by (upstream)
                           (rate(sessiongate_upstream_duration_seconds_count{@upstream, outcome="429"}
                             [$__rate_interval]))"#,
                    ),
                    (
                        "gateway {{upstream}} {{reason}}",
                        r#"sum by (upstream, reason) (rate(sessiongate_rejections_total{
                             @upstream, reason=~"source_busy|too_many_writes"}[$__rate_interval]))"#,
                    ),
                ],
            },
            Panel {
                title: "Provider quota",
                description: "Requests that the provider still allows, and its limit, as last reported. The lowest \
                              value of all replicas. Near 0: find the caller in the access log, or raise `cache.ttl`.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[
                    ("{{upstream}} remaining", "min by (upstream) (sessiongate_upstream_quota_remaining{@upstream})"),
                    ("{{upstream}} limit", "min by (upstream) (sessiongate_upstream_quota_limit{@upstream})"),
                ],
            },
            Panel {
                title: "Age of the quota",
                description: "Time since the provider last reported its quota. Provider quota is out of date if this \
                              is longer than the provider's interval.",
                kind: Lines,
                unit: "s",
                width: 8,
                queries: &[("{{upstream}}", "min by (upstream) (sessiongate_upstream_quota_age_seconds{@upstream})")],
            },
            Panel {
                title: "New provider connections",
                description: "Share of the pass-through requests that needed a new connection to the provider. Near \
                              100 %: the provider closes connections, and each request pays for TCP and TLS.",
                kind: Lines,
                unit: "percentunit",
                width: 8,
                queries: &[(
                    "{{upstream}}",
                    r#"sum by (upstream)
                         (rate(sessiongate_upstream_connections_total{@upstream, reused="false"}[$__rate_interval]))
                       / sum by (upstream)
                         (rate(sessiongate_upstream_connections_total{@upstream}[$__rate_interval]))"#,
                )],
            },
        ],
    },
    Row {
        title: "Cache",
        panels: &[
            Panel {
                title: "Reads by cache status",
                description: "How the cache took part. `bypass` means that a write was in flight, the store failed, or \
                              too many reads were waiting: see Cache events.",
                kind: Stacked,
                unit: "reqps",
                width: 8,
                queries: &[(
                    "{{cache}}",
                    r#"sum by (cache) (rate(sessiongate_requests_total{@upstream, cache!="none"}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Hit and bypass ratio",
                description: "Shares of the reads that the cache took part in. Hits fall after a restart with the \
                              store in memory, after a purge, and while the store is down.",
                kind: Lines,
                unit: "percentunit",
                width: 8,
                queries: &[
                    (
                        "{{upstream}} hit",
                        r#"sum by (upstream)
                             (rate(sessiongate_requests_total{@upstream, cache="hit"}[$__rate_interval]))
                           / sum by (upstream)
                             (rate(sessiongate_requests_total{@upstream, cache!="none"}[$__rate_interval]))"#,
                    ),
                    (
                        "{{upstream}} bypass",
                        r#"sum by (upstream)
                             (rate(sessiongate_requests_total{@upstream, cache="bypass"}[$__rate_interval]))
                           / sum by (upstream)
                             (rate(sessiongate_requests_total{@upstream, cache!="none"}[$__rate_interval]))"#,
                    ),
                ],
            },
            Panel {
                title: "Cache events",
                description: "Events other than hits and misses. `unconfirmed` and `mark_lost`: other replicas may \
                              serve older data for up to `ttl`. docs/reference/metrics.md explains each.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{event}}",
                    "sum by (event) (rate(sessiongate_cache_events_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Store p99",
                description: "Response time of the shared store, by operation, with failed operations. Up to the \
                              store's timeouts; then reads bypass the cache.",
                kind: Lines,
                unit: "s",
                width: 8,
                queries: &[(
                    "{{step}}",
                    "histogram_quantile(0.99, sum by (step, le)
                       (rate(sessiongate_store_duration_seconds_bucket{@process}[$__rate_interval])))",
                )],
            },
            Panel {
                title: "Store errors",
                description: "Failed operations of the shared store, by operation and reason. Requests still succeed \
                              with `on_unreachable: forward`; with `reject` writes fail.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{step}} {{reason}}",
                    "sum by (step, reason) (rate(sessiongate_store_errors_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Store connections",
                description: "Usable connections to the shared store, by replica. 0: this replica bypasses the cache. On \
                              one replica only: its network. On all: the store.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[("{{instance}}", "sum by (instance) (sessiongate_store_connections{@process})")],
            },
            Panel {
                title: "Store disconnects",
                description: "Connections to the shared store that were closed or lost.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{instance}}",
                    "sum by (instance) (rate(sessiongate_store_disconnects_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Store connection failures",
                description: "Failed attempts to get a usable connection to the shared store, by the error code of \
                              Redis. none: no reply, such as network, TLS or a timeout.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{code}}",
                    "sum by (code) (rate(sessiongate_store_connect_failures_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Store traffic",
                description: "Bytes of cached responses that are read from the shared store and written to it.",
                kind: Lines,
                unit: "Bps",
                width: 8,
                queries: &[(
                    "{{direction}}",
                    "sum by (direction) (rate(sessiongate_store_bytes_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Manual purges",
                description: "Purges through the control listener. The hit ratio falls after each.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{upstream}} {{purged}}",
                    "sum by (upstream, purged) (rate(sessiongate_cache_purges_total{@upstream}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Cache in memory",
                description: "Memory that the cache in memory uses, by replica. 0 with a shared store.",
                kind: Lines,
                unit: "bytes",
                width: 8,
                queries: &[("{{instance}}", "sum by (instance) (sessiongate_cache_bytes{@process})")],
            },
            Panel {
                title: "Sessions in memory",
                description: "Sessions in the cache in memory, by replica. 0 with a shared store.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[("{{instance}}", "sum by (instance) (sessiongate_cache_sessions{@process})")],
            },
            Panel {
                title: "Evictions",
                description: "Sessions that the cache in memory evicted to make room. If this rises, raise \
                              `store.memory.max_bytes`.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{instance}}",
                    "sum by (instance) (rate(sessiongate_cache_evictions_total{@process}[$__rate_interval]))",
                )],
            },
        ],
    },
    Row {
        title: "Callers",
        panels: &[
            Panel {
                title: "Rejected by reason",
                description: "Requests that clients have to change. A sudden rise after a deployment points to the \
                              client that was deployed, or to a new policy: find the caller in the access log.",
                kind: Stacked,
                unit: "reqps",
                width: 8,
                queries: &[(
                    "{{reason}}",
                    r#"sum by (reason)
                       (rate(sessiongate_rejections_total{@upstream, reason!~"@failures"}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Valid tokens",
                description: "Valid tokens, by how they were verified. Few `cached` ones: callers get a new token for \
                              each request, which costs CPU here and requests at the issuer.",
                kind: Stacked,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{result}}",
                    "sum by (result) (rate(sessiongate_token_checks_total{@upstream}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Connections cut off",
                description: "Connections, and requests on them, that the gateway ended, by reason. docs/reference/limits.md \
                              explains each.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{reason}}",
                    "sum by (reason) (rate(sessiongate_connections_cut_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Age of the issuer's keys",
                description: "Time since the last successful fetch of the keys, the highest of all replicas; -1 if \
                              there was none. Above the refresh interval: fetches fail. At the maximum: tokens are \
                              rejected.",
                kind: Lines,
                unit: "s",
                width: 8,
                queries: &[
                    ("{{upstream}} age", "max by (upstream) (sessiongate_jwks_age_seconds{@upstream})"),
                    (
                        "{{upstream}} refresh interval",
                        "max by (upstream) (sessiongate_jwks_refresh_interval_seconds{@upstream})",
                    ),
                    ("{{upstream}} maximum", "max by (upstream) (sessiongate_jwks_max_stale_seconds{@upstream})"),
                ],
            },
            Panel {
                title: "Key fetches",
                description: "Fetches of the issuers' keys, by result. The log says why a fetch failed.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{upstream}} {{result}}",
                    "sum by (upstream, result) (rate(sessiongate_jwks_fetches_total{@upstream}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Usable keys",
                description: "Usable signing keys of the issuer, the lowest of all replicas. 0: every token is \
                              rejected.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[("{{upstream}}", "min by (upstream) (sessiongate_jwks_keys{@upstream})")],
            },
        ],
    },
    Row {
        title: "Policy",
        panels: &[
            Panel {
                title: "Violations that reject",
                description: "Violations of policies with `mode: enforce`, by rule; each rule once per request.",
                kind: Stacked,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{upstream}} {{rule}}",
                    r#"sum by (upstream, rule)
                       (rate(sessiongate_violations_total{@upstream, mode="enforce"}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Violations in audit mode",
                description: "What `mode: enforce` would reject, by rule. Wait until this stays at 0 before you \
                              enforce the policy; `would_reject` in the access log names the caller.",
                kind: Stacked,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{upstream}} {{rule}}",
                    r#"sum by (upstream, rule)
                       (rate(sessiongate_violations_total{@upstream, mode="audit"}[$__rate_interval]))"#,
                )],
            },
            Panel {
                title: "Edits",
                description: "Changes that normalization, defaults and clamps make in bodies, by kind. With `mode: \
                              audit` they are counted and not made.",
                kind: Stacked,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{upstream}} {{kind}} {{mode}}",
                    "sum by (upstream, kind, mode) (rate(sessiongate_edits_total{@upstream}[$__rate_interval]))",
                )],
            },
        ],
    },
    Row {
        title: "Capacity",
        panels: &[
            Panel {
                title: "Connections",
                description: "Open client connections by replica, and the limit of one replica. At the limit new \
                              connections are closed at once.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[
                    ("{{instance}}", "sum by (instance) (sessiongate_open_connections{@process})"),
                    ("limit", "min(sessiongate_connections_limit{@process})"),
                ],
            },
            Panel {
                title: "New connections",
                description: "Client connections accepted. Near the rate of requests: clients do not keep connections.",
                kind: Lines,
                unit: "cps",
                width: 8,
                queries: &[(
                    "{{instance}}",
                    "sum by (instance) (rate(sessiongate_connections_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Requests in flight",
                description: "Requests in flight in the gateway, by replica. It rises if the provider is slow.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[("{{instance}}", "sum by (instance) (sessiongate_requests_in_flight{@process})")],
            },
            Panel {
                title: "In flight at the provider",
                description: "Requests in flight at the provider, the most of any replica, and the limit of one \
                              replica (`limits.in_flight`). At the limit requests wait, and are then rejected.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[
                    ("{{upstream}}", "max by (upstream) (sessiongate_upstream_requests_in_flight{@upstream})"),
                    ("{{upstream}} limit", "min by (upstream) (sessiongate_upstream_requests_limit{@upstream})"),
                ],
            },
            Panel {
                title: "Waits for a slot",
                description: "Requests that waited for a slot at the provider. Those that were rejected are \
                              `upstream_busy` in Failures by reason, or `source_busy` in Rejected by reason.",
                kind: Lines,
                unit: "reqps",
                width: 8,
                queries: &[(
                    "{{upstream}}",
                    "sum by (upstream) (rate(sessiongate_upstream_waits_total{@upstream}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Work shed",
                description: "Work that was shed because the memory budget was used up. Raise the memory limit, or add \
                              replicas.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{shed}}",
                    "sum by (shed) (rate(sessiongate_memory_shed_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Memory held for clients",
                description: "Memory held for clients in the fullest replica, and the budget of one replica. At the \
                              budget the gateway sheds work.",
                kind: Lines,
                unit: "bytes",
                width: 8,
                queries: &[
                    ("held", "max(sum by (job, instance) (sessiongate_memory_held_bytes{@process}))"),
                    ("budget", "min(sessiongate_memory_budget_bytes{@process})"),
                ],
            },
            Panel {
                title: "Memory held by kind",
                description: "What memory is held for, in all replicas.",
                kind: Stacked,
                unit: "bytes",
                width: 8,
                queries: &[("{{kind}}", "sum by (kind) (sessiongate_memory_held_bytes{@process})")],
            },
            Panel {
                title: "Memory of the process",
                description: "Resident memory by replica, and the lowest memory limit. The gateway sheds work before \
                              it reaches 90 % of the limit.",
                kind: Lines,
                unit: "bytes",
                width: 8,
                queries: &[
                    (
                        "{{instance}}",
                        "sum by (instance) (process_resident_memory_bytes{@process}
                           and on (job, instance) sessiongate_build_info)",
                    ),
                    ("limit", "min(sessiongate_memory_limit_bytes{@process})"),
                ],
            },
            Panel {
                title: "CPU",
                description: "CPU cores in use, by replica.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[(
                    "{{instance}}",
                    "sum by (instance) (rate(process_cpu_seconds_total{@process}[$__rate_interval])
                       and on (job, instance) sessiongate_build_info)",
                )],
            },
            Panel {
                title: "Open files",
                description: "Share of the file descriptors that are in use, by replica.",
                kind: Lines,
                unit: "percentunit",
                width: 8,
                queries: &[(
                    "{{instance}}",
                    "sum by (instance) (process_open_fds{@process} / process_max_fds{@process}
                       and on (job, instance) sessiongate_build_info)",
                )],
            },
            Panel {
                title: "Log lines dropped",
                description: "Log lines that were dropped because the log was not read fast enough. Then the access \
                              log is incomplete.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{instance}}",
                    "sum by (instance) (rate(sessiongate_log_lines_dropped_total{@process}[$__rate_interval]))",
                )],
            },
        ],
    },
    Row {
        title: "Configuration",
        panels: &[
            Panel {
                title: "Configuration and version",
                description: "The hash of the configuration and the version of each replica. They are equal except \
                              during a rollout. `sha256sum` of the file prints the same hash.",
                kind: Table,
                unit: "none",
                width: 12,
                queries: &[(
                    "",
                    "sum by (job, instance, hash, version) (sessiongate_config_info{@process}
                       * on (job, instance) group_left (version) sessiongate_build_info)",
                )],
            },
            Panel {
                title: "Last reload",
                description: "Whether the last reload was successful. After a rejected one the previous configuration \
                              stays active; the log says why.",
                kind: States(["activated", "rejected"]),
                unit: "none",
                width: 12,
                queries: &[("{{instance}}", "min by (instance) (sessiongate_config_last_reload_successful{@process})")],
            },
            Panel {
                title: "Reloads",
                description: "Reloads of the configuration, by result.",
                kind: Lines,
                unit: "ops",
                width: 8,
                queries: &[(
                    "{{result}}",
                    "sum by (result) (rate(sessiongate_config_reloads_total{@process}[$__rate_interval]))",
                )],
            },
            Panel {
                title: "Restart needed",
                description: "Replicas that need a restart because this option changed.",
                kind: Lines,
                unit: "none",
                width: 8,
                queries: &[("{{option}}", "sum by (option) (sessiongate_config_restart_needed{@process})")],
            },
            Panel {
                title: "Uptime",
                description: "Time since the start of each replica. Falls to 0 at a restart.",
                kind: Lines,
                unit: "s",
                width: 8,
                queries: &[(
                    "{{instance}}",
                    "time() - max by (instance) (process_start_time_seconds{@process}
                       and on (job, instance) sessiongate_build_info)",
                )],
            },
            Panel {
                title: "Certificates expire in",
                description: "Time until the certificate of each listener expires, the shortest of all replicas. Below \
                              0 clients reject the certificate.",
                kind: Lines,
                unit: "s",
                width: 8,
                queries: &[(
                    "{{listener}}",
                    "min by (listener) (sessiongate_certificate_expiry_timestamp_seconds{@process}) - time()",
                )],
            },
        ],
    },
];
