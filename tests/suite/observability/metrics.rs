//! Metrics: all are present, they count, and nothing that a caller sends becomes a label.

use crate::harness::{Gateway, Request, Series, Tenant, raw, series, wait_for};
use sessiongate::metrics::{LabelValues, METRICS, Metric};
use sessiongate::sandbox::auth0::{Options, Rate};
use std::collections::BTreeSet;

const POLICY: &str = "
policies:
  strict:
    fields: { tier: { one_of: [pro, free] }, source: { default: web } }
";

/// What a gateway without a store in Redis, TLS, introspection, grants and protected keys does not have before a purge,
/// and before it ends a connection.
const LATER: [&str; 8] = [
    "sessiongate_cache_purges_total",
    "sessiongate_connections_cut_total",
    "sessiongate_certificate_expiry_timestamp_seconds",
    "sessiongate_grant_requests_total",
    "sessiongate_exclusive_rights_total",
    "sessiongate_merged_writes_total",
    "sessiongate_introspections_total",
    "sessiongate_introspections_cached_total",
];

/// The name without the part of a histogram, if the metric is one.
fn family<'n>(name: &'n str, metric: &Metric) -> &'n str {
    let parts: &[&str] = if metric.kind.name() == "histogram" { &["_bucket", "_sum", "_count"] } else { &[] };
    parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

/// The sum of all series of this name with these labels.
fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |one: &Series| {
        one.name == name && labels.iter().all(|(label, value)| one.labels.get(*label).is_some_and(|own| own == value))
    };
    series(text).iter().filter(|one| fits(one)).map(|one| one.value).sum()
}

/// A gateway, and a request of every kind that has been counted: the tenant, the gateway, the metrics.
fn exercised() -> (Tenant, Gateway, String) {
    // Its responses report a limit that no request reaches.
    let tenant = Tenant::start_with(Options { rate: Some(Rate { burst: 1_000, per_second: 0 }), ..Options::default() });
    let gateway =
        Gateway::start(&(tenant.upstream("cache: {}\npolicy: strict\nmatch: { host: known.example }") + POLICY));
    gateway.ready();
    let session = tenant.session_path();
    let token = tenant.token();
    let with = |method: &str, path: &str| Request::new(method, path).header("Host", "known.example").bearer(&token);
    let requests = [
        (200, with("GET", &session)),
        (200, with("GET", &session)),
        (200, with("PATCH", &session).json(r#"{"session_metadata":{"tier":"pro"}}"#)),
        (400, with("PATCH", &session).json(r#"{"session_metadata":{"tier":"gold","x":1}}"#)),
        (401, Request::new("GET", &session).header("Host", "known.example")),
        (200, with("GET", "/api/v2/clients")),
        (404, Request::new("GET", "/").header("Host", "unknown.example")),
    ];
    for (status, request) in &requests {
        assert_eq!(request.send(&gateway.url()).status, *status, "{request:?}");
    }
    let text = wait_for("all requests to be counted", || {
        let text = gateway.metrics();
        let counted = sum(&text, "sessiongate_requests_total", &[]) >= requests.len() as f64;
        (counted && sum(&text, "sessiongate_requests_in_flight", &[]) == 0.0).then_some(text)
    });
    (tenant, gateway, text)
}

#[test]
fn every_metric_has_its_declared_help_and_type() {
    let (_tenant, gateway, text) = exercised();
    for Metric { name, kind, help, .. } in METRICS.iter().filter(|metric| !metric.name.contains("_store_")) {
        let family = format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
        assert!(text.contains(&family) || LATER.contains(name), "no {family}");
    }
    assert!(text.contains("# TYPE process_resident_memory_bytes gauge\n"));
    let response = Request::new("GET", "/metrics").send(&gateway.admin_url());
    let content_type = response.header("Content-Type").unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
}

#[test]
fn metrics_count_requests() {
    let (_tenant, _gateway, text) = exercised();
    let requests = |labels: &[(&str, &str)]| sum(&text, "sessiongate_requests_total", labels);
    let read = ("operation", "read_session");
    assert_eq!(requests(&[]), 7.0);
    assert_eq!(requests(&[read, ("cache", "miss"), ("status", "2xx"), ("decision", "responded")]), 1.0);
    assert_eq!(requests(&[read, ("cache", "hit"), ("status", "2xx"), ("upstream", "auth0")]), 1.0);
    assert_eq!(requests(&[read, ("decision", "rejected"), ("status", "4xx")]), 1.0);
    assert_eq!(requests(&[("operation", "update_session"), ("decision", "responded")]), 1.0);
    assert_eq!(requests(&[("operation", "update_session"), ("decision", "rejected")]), 1.0);
    assert_eq!(requests(&[("operation", "other"), ("decision", "passed_through"), ("status", "2xx")]), 1.0);
    assert_eq!(requests(&[("upstream", ""), ("decision", "rejected")]), 1.0);
    let rejections = |reason: &str| sum(&text, "sessiongate_rejections_total", &[("reason", reason)]);
    for (reason, count) in [("policy", 1.0), ("credential_missing", 1.0), ("no_upstream", 1.0)] {
        assert_eq!(rejections(reason), count, "{reason}");
    }
    assert_eq!(sum(&text, "sessiongate_rejections_total", &[]), 3.0);
    let violations = |rule: &str| sum(&text, "sessiongate_violations_total", &[("rule", rule)]);
    assert_eq!((violations("one_of"), violations("type")), (1.0, 1.0));
    assert_eq!(sum(&text, "sessiongate_upstream_fetches_total", &[("status", "2xx")]), 2.0);
    assert_eq!(sum(&text, "sessiongate_upstream_connections_total", &[]), 1.0);
    assert_eq!(sum(&text, "sessiongate_jwks_keys", &[]), 1.0);
    assert_eq!(sum(&text, "sessiongate_token_checks_total", &[("result", "verified")]), 1.0);
    assert_eq!(sum(&text, "sessiongate_token_checks_total", &[("result", "cached")]), 4.0);
    assert_eq!(sum(&text, "sessiongate_connections_total", &[]), 7.0);
    assert_eq!(sum(&text, "sessiongate_request_duration_seconds_count", &[]), 7.0);
    assert_eq!(sum(&text, "sessiongate_requests_in_flight", &[]), 0.0);
    assert_eq!(sum(&text, "sessiongate_cache_sessions", &[]), 1.0);
}

#[test]
fn request_content_never_becomes_a_label() {
    let (tenant, gateway, before) = exercised();
    let token = tenant.token();
    for number in 0..20 {
        let word = format!("evil{number}");
        for (method, path) in [
            ("GET", format!("/api/v2/sessions/{word}")),
            ("GET", format!("/{word}")),
            (&*word, tenant.session_path()),
            (&*word, format!("/{word}")),
        ] {
            for host in ["known.example", &format!("{word}.example")] {
                let request = Request::new(method, &path).header("Host", host).bearer(&token);
                let request = request.header("X-Forwarded-For", &word).header("User-Agent", &word);
                let _ = request.try_send(&gateway.url());
            }
        }
        let patch = Request::new("PATCH", &tenant.session_path()).header("Host", "known.example").bearer(&token);
        patch.json(&format!(r#"{{"session_metadata":{{"{word}":1,"tier":"{word}"}}}}"#)).send(&gateway.url());
        raw(gateway.address(), format!("{word}\r\n\r\n").as_bytes());
    }
    let text = gateway.metrics();
    assert!(!text.to_lowercase().contains("evil"), "{text}");
    for one in series(&text).into_iter().filter(|one| !one.name.starts_with("process_")) {
        let declared = METRICS.iter().find(|metric| *family(&one.name, metric) == *metric.name);
        let declared = declared.unwrap_or_else(|| panic!("{} is not declared", one.name));
        let labels: BTreeSet<_> = one.labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
        assert_eq!(labels, declared.label_names().into_iter().collect(), "{}", one.name);
        for label in declared.labels {
            let value = one.labels[label.name].as_str();
            let known = match (&label.values, label.name) {
                (LabelValues::Closed(values), _) => values().iter().any(|known| known.name == value),
                (LabelValues::Open, "upstream") => ["auth0", ""].contains(&value),
                (LabelValues::Open, "hash") => value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()),
                (LabelValues::Open, "version") => value == env!("CARGO_PKG_VERSION"),
                (LabelValues::Open, label) => panic!("what are the values of {label}?"),
            };
            assert!(known, "{}: {}={value}", one.name, label.name);
        }
    }
    let reasons = |text: &str| {
        let reasons = series(text).into_iter().filter_map(|mut one| one.labels.remove("reason"));
        reasons.collect::<BTreeSet<_>>().len()
    };
    assert!(reasons(&text) <= reasons(&before) + 8, "{} reasons", reasons(&text));
}

#[test]
fn cpu_time_has_fractions() {
    let tenant = Tenant::start();
    let gateway = Gateway::start(&tenant.upstream(""));
    let cpu = || sum(&gateway.metrics(), "process_cpu_seconds_total", &[]);
    // Each look costs some.
    wait_for("a fraction of a second", || (cpu().fract() > 0.0).then_some(()));
    let before = cpu();
    wait_for("the CPU time to grow by less than a second", || {
        let grown = cpu() - before;
        (grown > 0.0 && grown < 1.0).then_some(())
    });
    assert!(gateway.metrics().contains("# TYPE process_cpu_seconds_total counter\n"));
}

#[test]
fn limits_are_those_of_the_current_configuration() {
    let tenant = Tenant::start();
    let config = |connections: u32, in_flight: u32, refresh: u32, max_stale: u32| {
        let url = tenant.url();
        format!(
            "clients: {{ limits: {{ connections: {connections} }} }}
upstreams:
  a:
    dialect: auth0
    url: {url}
    auth: {{ issuer: {url}/, audience: {url}/api/v2/, refresh: {refresh}s, max_stale: {max_stale}s }}
    limits: {{ in_flight: {in_flight}, per_source: 1 }}
"
        )
    };
    let gateway = Gateway::start(&config(77, 5, 20, 30));
    let limits = || {
        let text = gateway.metrics();
        let of = |name: &str| sum(&text, &format!("sessiongate_{name}"), &[("upstream", "a")]);
        let connections = sum(&text, "sessiongate_connections_limit", &[]);
        let [requests, refresh, max_stale] =
            ["upstream_requests_limit", "jwks_refresh_interval_seconds", "jwks_max_stale_seconds"].map(of);
        [connections, requests, refresh, max_stale]
    };
    assert_eq!(limits(), [77.0, 5.0, 20.0, 30.0]);
    gateway.rewrite(&config(66, 4, 40, 50));
    gateway.signal("HUP");
    wait_for("the new limits", || (limits() == [66.0, 4.0, 40.0, 50.0]).then_some(()));
}
