//! Prometheus' own tools, and the check that queries name only what the gateway exports.

use super::{Finished, project, skipped};
use serde_json::{Map, Value, json};
use sessiongate::metrics::{LabelValues, METRICS, Metric};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program, or an interpreter, that tests/setup installs.
pub(super) fn tool(path: &str) -> PathBuf {
    project().join("tests/.tools").join(path)
}

/// Whether Prometheus is installed. Fails if not, unless it may be skipped.
pub fn prometheus_installed() -> bool {
    if std::env::var("SESSIONGATE_SKIP_PROMETHEUS").is_ok_and(|value| value == "1") {
        skipped("rules and dashboard with Prometheus (SESSIONGATE_SKIP_PROMETHEUS=1)");
        return false;
    }
    let installed = ["prometheus/promtool", "prometheus/prometheus", "promql/bin/python"];
    assert!(
        installed.iter().all(|path| tool(path).exists()),
        "Prometheus is not installed: run tests/setup, or set SESSIONGATE_SKIP_PROMETHEUS=1 to leave it out"
    );
    true
}

fn run(mut command: Command) -> Finished {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs promtool in the folder of the project.
pub fn promtool(arguments: &[&str]) -> Finished {
    let mut command = Command::new(tool("prometheus/promtool"));
    command.args(arguments).current_dir(project());
    run(command)
}

/// The alerts of deploy/prometheus/rules.yaml, each with its severities.
pub fn alerts() -> BTreeMap<String, BTreeSet<String>> {
    let rules = fs::read_to_string(project().join("deploy/prometheus/rules.yaml")).unwrap();
    let mut alerts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in rules.split("- alert: ").skip(1) {
        let severity = rule.split("severity: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        alerts.entry(rule.lines().next().unwrap().to_owned()).or_default().insert(severity.to_owned());
    }
    alerts
}

/// The table of metrics, as tests/monitoring/check_queries.py reads it.
fn table() -> Value {
    let labels = |metric: &Metric| -> Map<String, Value> {
        let values = |values: &LabelValues| match values {
            LabelValues::Closed(values) => values().iter().map(|value| json!(value.name)).collect(),
            LabelValues::Open => Value::Null,
        };
        metric.labels.iter().map(|label| (label.name.to_owned(), values(&label.values))).collect()
    };
    METRICS.iter().map(|one| json!({ "name": one.name, "type": one.kind.name(), "labels": labels(one) })).collect()
}

/// What is wrong with the queries of these files: rules (`.yaml`), dashboards, or lists of `{"where", "expr"}`. Later
/// files may use what the rules of earlier ones record. See tests/monitoring/check_queries.py.
pub fn check_queries(files: &[&Path]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("metrics.json");
    fs::write(&metrics, table().to_string()).unwrap();
    let mut command = Command::new(tool("promql/bin/python"));
    command.arg("tests/monitoring/check_queries.py").args(files).current_dir(project());
    command.stdin(File::open(metrics).unwrap());
    let finished = run(command);
    assert!(finished.stderr.is_empty(), "{}", finished.stderr);
    let errors: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
    assert_eq!(finished.code, Some(i32::from(!errors.is_empty())), "{errors:?}");
    errors
}
