//! The Grafana dashboard (deploy/grafana/sessiongate.json): its form, and that it queries only what is exported. That
//! each query has data is shown by `on_call`.

use crate::harness::{check_queries, project, prometheus_installed};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const DASHBOARD: &str = "deploy/grafana/sessiongate.json";

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(project().join(DASHBOARD)).unwrap()).unwrap()
}

#[test]
fn panels_are_complete_and_do_not_overlap() {
    let dashboard = dashboard();
    let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: id");
        assert!(titles.insert(title), "{title} twice");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{title}: too wide");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title}: overlaps");
        }
        if panel["type"] == "row" {
            continue;
        }
        let sentence = |text: &Value| text.as_str().is_some_and(|text| text.ends_with('.'));
        assert!(sentence(&panel["description"]), "{title}: description");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()),
            "{title}: unit"
        );
        let targets = panel["targets"].as_array().unwrap();
        let names: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && names.len() == targets.len(), "{title}: {names:?}");
        for target in targets {
            let query = target["expr"].as_str().unwrap();
            assert!(query.contains(r#"job=~"$job", instance=~"$instance""#), "{title}: {query}");
            assert!(!query.contains('@') && !query.contains("[5m]"), "{title}: {query}");
        }
    }
    assert!(ids.len() > 50, "{ids:?}");
}

#[test]
fn only_declared_variables_are_used() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: BTreeSet<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["DS_PROMETHEUS", "instance", "job", "upstream"]));
    let used = regex::Regex::new(r"\$\{?(\w+)").unwrap();
    let text = dashboard.to_string();
    for found in used.captures_iter(&text) {
        assert!(names.contains(&found[1]) || ["__rate_interval", "__all"].contains(&&found[1]), "{}", &found[0]);
    }
}

#[test]
fn queries_name_only_what_is_exported() {
    if prometheus_installed() {
        let errors = check_queries(&[Path::new("deploy/prometheus/rules.yaml"), Path::new(DASHBOARD)]);
        let own: Vec<&String> = errors.iter().filter(|error| error.starts_with(DASHBOARD)).collect();
        assert!(own.is_empty(), "{own:#?}");
    }
}
