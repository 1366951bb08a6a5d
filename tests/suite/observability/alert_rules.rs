//! The rules for Prometheus (deploy/prometheus/rules.yaml): every alert fires, and only when it should.

use crate::harness::{alerts, check_queries, project, prometheus_installed, promtool};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const RULES: &str = "deploy/prometheus/rules.yaml";

/// The files of tests for promtool, relative to the project.
fn cases() -> Vec<String> {
    let folder = "tests/monitoring/rules";
    let files = fs::read_dir(project().join(folder)).unwrap();
    files.map(|file| format!("{folder}/{}", file.unwrap().file_name().display())).collect()
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    if prometheus_installed() {
        let files = cases();
        let arguments: Vec<&str> = ["test", "rules"].into_iter().chain(files.iter().map(String::as_str)).collect();
        let tested = promtool(&arguments);
        assert_eq!(tested.code, Some(0), "{}\n{}", tested.stdout, tested.stderr);
    }
}

#[test]
fn every_alert_has_cases_that_fire_and_that_do_not() {
    let (mut firing, mut silent, mut quiet) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for file in cases() {
        let text = fs::read_to_string(project().join(&file)).unwrap();
        for case in text.split("alertname: ").skip(1) {
            let name: String = case.chars().take_while(|c| c.is_alphanumeric()).collect();
            let fires = !case[name.len()..].trim_start_matches([',', '\n', ' ']).starts_with("exp_alerts: []");
            if fires {
                firing.insert(name.clone())
            } else {
                silent.insert(name.clone())
            };
            if file.ends_with("/quiet.yaml") {
                quiet.push(name);
            }
        }
    }
    let alerts: BTreeSet<String> = alerts().into_keys().collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(firing, alerts, "alerts that fire in tests/monitoring/rules");
    assert_eq!(silent, alerts, "alerts that do not");
    let times = |alert: &&String| quiet.iter().filter(|name| name == alert).count() != 3;
    let missing: Vec<&String> = alerts.iter().filter(times).collect();
    assert!(missing.is_empty(), "not in each of the three tests of quiet.yaml: {missing:?}");
}

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

#[test]
fn rules_and_their_tests_use_existing_metrics_and_labels() {
    if prometheus_installed() {
        let files = cases();
        let files = [RULES].into_iter().chain(files.iter().map(String::as_str)).map(Path::new);
        let errors = check_queries(&files.collect::<Vec<_>>());
        assert!(errors.is_empty(), "{errors:#?}");
    }
}
