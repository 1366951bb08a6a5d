//! Files that are rendered: the chart's copies of other files, its values, and the plain manifests.

use crate::harness::kubernetes::{CHART, Rendered, chart_tool, kubernetes_installed, render_chart};
use crate::harness::{generated_file, generated_part, markdown_table, project};
use serde_json::{Value, json};
use std::fs;

const SCHEMA: &str = "deploy/helm/sessiongate/values.schema.json";

/// The schema of the configuration as the schema of one value. Its references begin at its own `$id`.
fn embedded_schema() -> String {
    let schema = fs::read_to_string(project().join("config/schema.json")).unwrap();
    let inner = schema.trim_end().strip_prefix("{\n").unwrap();
    let lines: Vec<String> = inner.lines().map(|line| format!("    {line}\n")).collect();
    format!("    \"config\": {{\n      \"$id\": \"urn:sessiongate:config\",\n{}", lines.concat().trim_end())
}

#[test]
fn schema_of_values_contains_the_schema_of_the_configuration() {
    let text = fs::read_to_string(project().join(SCHEMA)).unwrap();
    let (before, rest) = text.split_once("    \"config\": {").unwrap();
    let after = rest.split_once("\n    },\n").unwrap().1;
    generated_file(SCHEMA, &format!("{before}{},\n{after}", embedded_schema()));
    let schema: Value = serde_json::from_str(&fs::read_to_string(project().join(SCHEMA)).unwrap()).unwrap();
    assert!(schema["properties"]["config"]["properties"]["upstreams"].is_object());
}

#[test]
fn chart_has_copies_of_rules_and_dashboard() {
    for (source, copy) in
        [("deploy/prometheus/rules.yaml", "rules.yaml"), ("deploy/grafana/sessiongate.json", "dashboard.json")]
    {
        let text = fs::read_to_string(project().join(source)).unwrap();
        generated_file(&format!("{CHART}/files/{copy}"), &text);
    }
}

#[test]
fn versions_of_the_chart_are_those_of_the_program() {
    let text = fs::read_to_string(project().join(CHART).join("Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.contains(&format!("\nversion: {version}\n")), "{text}");
    assert!(text.contains(&format!("\nappVersion: \"{version}\"\n")), "{text}");
}

#[test]
fn values_and_their_reference_come_from_the_schema() {
    if !kubernetes_installed() {
        return;
    }
    let values = chart_tool(&json!({"values": SCHEMA}))["values"].clone();
    generated_file(&format!("{CHART}/values.yaml"), values["file"].as_str().unwrap());
    let cell = |cell: &Value| cell.as_str().unwrap().to_owned();
    let rows = values["rows"].as_array().unwrap();
    let rows = rows.iter().map(|row| [cell(&row[0]), cell(&row[1]), cell(&row[2])]);
    let table = markdown_table(["Value", "Meaning", "Default"], rows);
    generated_part("docs/guides/kubernetes.md", "values of the chart", &table);
}

/// Labels that only Helm uses.
const OF_HELM: [&str; 2] = ["helm.sh/chart: ", "app.kubernetes.io/managed-by: "];

/// The text of these templates as one file. `head` is its comment.
fn manifest(rendered: &Rendered, head: &str, templates: &[&str]) -> String {
    let of_helm = |line: &&str| !OF_HELM.iter().any(|label| line.trim_start().starts_with(label));
    let document = |template: &&str| {
        let text = rendered.texts[&format!("{template}.yaml")].trim();
        let lines: Vec<&str> = text.lines().filter(of_helm).map(str::trim_end).collect();
        lines.join("\n") + "\n"
    };
    let head: String = head.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    head + &templates.iter().map(document).collect::<Vec<_>>().join("---\n")
}

const SHARED: &str = "\
Two replicas of sessiongate as a shared gateway. Rendered from deploy/helm/sessiongate with ci/shared-gateway.yaml by
`tests/run --write`. docs/quickstarts/kubernetes.md describes what to change (image, upstream) and what else is needed:
the Secrets, and redis.yaml for the session cache.";

const REDIS: &str = "\
The store of shared-gateway.yaml: one Valkey server, which keeps nothing on disk. Rendered from deploy/helm/sessiongate
with ci/shared-gateway.yaml by `tests/run --write`.";

const MONITORING: &str = "\
Scraping, alerts and the dashboard of shared-gateway.yaml, for the Prometheus Operator and Grafana's chart. Rendered
from deploy/helm/sessiongate with ci/shared-gateway.yaml by `tests/run --write`.";

const SIDECAR: &str = "\
An application with sessiongate as a native sidecar, and a Unix socket between them. Rendered from
deploy/helm/sessiongate with ci/sidecar.yaml by `tests/run --write`. docs/quickstarts/sidecar.md describes what to
change (images, upstream) and how to add the sidecar to a Deployment that exists.";

#[test]
fn plain_manifests_are_the_rendered_chart() {
    if !kubernetes_installed() {
        return;
    }
    let rendered =
        |name: &str, release: &str| render_chart(CHART, release, &json!(format!("{CHART}/ci/{name}.yaml"))).unwrap();
    let shared = rendered("shared-gateway", "sessiongate");
    let sidecar = rendered("sidecar", "application");
    let files = [
        (
            "shared-gateway",
            &shared,
            SHARED,
            &["configmap", "service-account", "deployment", "service", "pod-disruption-budget", "network-policy"][..],
        ),
        (
            "redis",
            &shared,
            REDIS,
            &["redis-service-account", "redis-config", "redis-deployment", "redis-service", "redis-network-policy"],
        ),
        ("monitoring", &shared, MONITORING, &["pod-monitor", "prometheus-rule", "dashboard"]),
        ("sidecar", &sidecar, SIDECAR, &["configmap", "service-account", "sidecar-deployment"]),
    ];
    for (name, rendered, head, templates) in files {
        generated_file(&format!("deploy/kubernetes/{name}.yaml"), &manifest(rendered, head, templates));
    }
    let mut names: Vec<String> = fs::read_dir(project().join("deploy/kubernetes"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["monitoring.yaml", "redis.yaml", "shared-gateway.yaml", "sidecar.yaml"]);
}
