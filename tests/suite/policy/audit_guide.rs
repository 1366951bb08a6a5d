//! docs/guides/audit-mode.md, step by step: the policy in audit mode, the commands on its log, then the same policy
//! enforced.

use crate::harness::documented::{blocks_in, page, shown_json};
use crate::harness::{Gateway, Request, Tenant, check_queries, prometheus_installed, skipped, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = "docs/guides/audit-mode.md";

/// Sends the request of a block, and compares status and body with the block's.
fn send(gateway: &Gateway, tenant: &Tenant, block: &str) {
    let (request, expected) = block.split_once("\nHTTP/1.1 ").unwrap();
    let body = request.split_once("\n\n").unwrap().1.trim();
    let sent = Request::new("PATCH", &tenant.session_path()).bearer(&tenant.token()).json(body);
    let response = sent.send(&gateway.url());
    assert_eq!(response.status.to_string(), expected[..3], "{}", response.text());
    if let Some((_, shown)) = expected.split_once("\n\n") {
        assert_eq!(response.json(), shown_json(shown));
    }
}

/// Runs a command of the page beside the log.
fn run(command: &str, folder: &Path) -> Vec<String> {
    let done = Command::new("sh").arg("-c").arg(command).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    let lines = String::from_utf8(done.stdout).unwrap();
    lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn audit_guide_works_as_written() {
    let page = page(PAGE);
    let tenant = Tenant::start();
    let [yaml] = blocks_in(&page, "yaml").try_into().unwrap();
    let yaml = yaml.replace("https://acme.eu.auth0.com", &tenant.url());
    let gateway = Gateway::start(&format!("reload: {{ watch: false }}\n{yaml}"));
    gateway.ready();
    let [forwarded, rejected] = blocks_in(&page, "http").try_into().unwrap();
    send(&gateway, &tenant, &forwarded);
    let edited = json!({ "session_metadata": { "tier": " pro " } }).to_string();
    let edited = Request::new("PATCH", &tenant.session_path()).bearer(&tenant.token()).json(&edited);
    assert_eq!(edited.send(&gateway.url()).status, 200);
    gateway.wait_for_log(|line| line.contains("value_normalized"));

    let [shown] = blocks_in(&page, "json").try_into().unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let line = gateway.wait_for_log(|line| line.contains("\"would_reject\":true"));
    let line: Value = serde_json::from_str(&line).unwrap();
    for (name, value) in shown.as_object().unwrap() {
        assert_eq!(&line[name], value, "{name} in {line}");
    }

    gateway.rewrite(&format!("reload: {{ watch: false }}\n{}", yaml.replace("mode: audit", "mode: enforce")));
    gateway.signal("HUP");
    gateway.wait_for_log(|line| line.contains("configuration applied"));
    send(&gateway, &tenant, &rejected);
    gateway.wait_for_log(|line| line.contains("\"reason\":\"policy\""));

    let commands: Vec<String> = blocks_in(&page, "sh").into_iter().filter(|command| command.contains("jq ")).collect();
    if Command::new("jq").arg("--version").output().is_err() {
        return skipped("the log queries of docs/guides/audit-mode.md (jq is not installed)");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sessiongate.log"), gateway.log().join("\n")).unwrap();
    let client = line["caller.client_id"].as_str().unwrap();
    let violations = ["one_of:session_metadata.tier", "allowed:session_metadata.campaign"];
    let counted: Vec<String> = violations.iter().map(|violation| format!("1 sessions {client} {violation}")).collect();
    let found: Vec<Vec<String>> = commands.iter().map(|command| run(command, folder.path())).collect();
    let expected = [counted.clone(), vec!["1 value_normalized:session_metadata.tier".to_owned()], counted];
    assert_eq!(found, expected);
    wait_for("the metrics", || gateway.metrics().contains("mode=\"audit\",rule=\"one_of\"").then_some(()));
}

#[test]
fn queries_of_the_audit_guide_use_existing_metrics_and_labels() {
    if !prometheus_installed() {
        return;
    }
    let page = page(PAGE);
    let queries: Vec<Value> =
        blocks_in(&page, "promql").iter().map(|expr| json!({ "where": PAGE, "expr": expr })).collect();
    assert_eq!(queries.len(), 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.json");
    fs::write(&path, json!(queries).to_string()).unwrap();
    let errors = check_queries(&[&path]);
    assert!(errors.is_empty(), "{errors:#?}");
}
