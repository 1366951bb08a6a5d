//! The rules for Prometheus (deploy/prometheus/rules.yaml): every alert fires, and only when it should.

use crate::harness::{check_queries, prometheus_installed, promtool};
use serde_json::json;
use std::fs;

const RULES: &str = "deploy/prometheus/rules.yaml";

#[test]
fn the_rules_are_valid() {
    if prometheus_installed() {
        let checked = promtool(&["check", "rules", RULES]);
        assert_eq!(checked.code, Some(0), "{checked:#?}");
    }
}

#[test]
fn the_check_of_queries_finds_errors() {
    if !prometheus_installed() {
        return;
    }
    let cases = [
        ("sum(", "unclosed left parenthesis"),
        ("sessiongate_nothing", "no metric sessiongate_nothing"),
        ("sessiongate_request_duration_seconds", "no metric sessiongate_request_duration_seconds"),
        ("sum by (tenant) (sessiongate_open_connections)", "by (tenant): the operand has no such label"),
        ("sessiongate_requests_total", "sessiongate_requests_total is a counter: use rate or increase"),
        ("rate(sessiongate_open_connections[5m])", "sessiongate_open_connections is a gauge: rate is for counters"),
        ("sessiongate_jwks_keys{issuer=\"x\"}", "sessiongate_jwks_keys has no label issuer"),
        ("rate(sessiongate_rejections_total{reason=\"x\"}[5m])", "sessiongate_rejections_total: reason is never x"),
        (
            "rate(sessiongate_rejections_total{reason=~\"scope|x\"}[5m])",
            "sessiongate_rejections_total: reason is never x",
        ),
        (
            "rate(sessiongate_rejections_total{reason=~\"tokens_.+\"}[5m])",
            "sessiongate_rejections_total: reason is never tokens_.+",
        ),
        (
            "sum by (job) (sessiongate_open_connections) / sessiongate_memory_budget_bytes",
            "/: ['job'] never matches ['instance', 'job']: use on",
        ),
        (
            "histogram_quantile(0.9, sum by (job) (rate(sessiongate_request_duration_seconds_bucket[5m])))",
            "histogram_quantile (le): the operand has no such label",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.json");
    for (expr, error) in cases {
        fs::write(&path, json!([{ "where": "panel", "expr": expr }]).to_string()).unwrap();
        let found = check_queries(&[&path]);
        assert!(found.len() == 1 && found[0].contains(&format!(": panel: {error}")), "{expr}: {found:?}");
    }
    fs::write(
        &path,
        r#"[{"where": "panel", "expr": "sum by (upstream) (rate(sessiongate_requests_total{upstream=~\"$upstream\"}[$__rate_interval]))"}]"#,
    )
    .unwrap();
    assert_eq!(check_queries(&[&path]), [""; 0]);
}
