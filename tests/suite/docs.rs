//! The documentation names only what exists: files, headings, metrics, labels, values and rejections.

use crate::harness::{project, series};
use regex::Regex;
use sessiongate::gateway::Outcome;
use sessiongate::memory::MemoryReading;
use sessiongate::metrics::{IssuerReading, Meters, Metrics, MetricsSnapshot, StoreMetrics};
use sessiongate::model::{Rejection, Rule};
use sessiongate::telemetry::{DisconnectReason, Label, ReloadResult, StoreFailure, StoreObserver, StoreOperation};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Every Markdown file of the project.
fn pages() -> Vec<PathBuf> {
    let directories = [project().to_owned(), project().join("docs")];
    let files = directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The text of a page, without fenced blocks.
fn prose(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("```").step_by(2).collect()
}

fn page(name: &str) -> String {
    prose(&project().join("docs").join(name))
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(path: &Path) -> BTreeSet<String> {
    let text = prose(path);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// The cells of each row of the table whose first line begins so.
fn table(text: &str, begin: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(begin));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let rows = rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
    let rows: Vec<_> = rows.collect();
    assert!(!rows.is_empty(), "no table {begin}");
    rows
}

/// The words in backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    let quoted = Regex::new("`([^`]+)`").unwrap();
    quoted.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

fn first_column(text: &str, begin: &str) -> BTreeSet<String> {
    table(text, begin).iter().flat_map(|row| quoted(&row[0])).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_link_has_a_target() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut links = 0;
    for page in pages() {
        for found in link.captures_iter(&prose(&page)) {
            let target = &found[1];
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(path.exists(), "{}: {target} does not exist", page.display());
            assert!(anchor.is_empty() || anchors(&path).contains(anchor), "{}: no heading {target}", page.display());
        }
    }
    assert!(links > 50, "{links}");
}

/// Every metric, with its labels, as it is after each kind of event.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let store = StoreMetrics::new().unwrap();
    metrics.register_store(&store).unwrap();
    store.step(StoreOperation::Acquire, Duration::ZERO, Some(StoreFailure::Timeout));
    metrics.disconnected(DisconnectReason::Pings);
    metrics.activate("hash", &[]);
    let meters = Meters::new(metrics.clone(), ["idp"].into_iter());
    let outcome = Outcome { rejection: Some("path"), rules: vec![Rule::Type], ..Outcome::default() };
    meters.request(&outcome, 400, Duration::ZERO);
    meters.fetch(0, None);
    meters.purge(0, true);
    meters.upstream_connection(0, true);
    let reading = MetricsSnapshot {
        cache_events: vec![("fenced", 1)],
        slots: vec![("idp".into(), (1, 1))],
        issuers: vec![("idp".into(), IssuerReading::default())],
        memory: MemoryReading { reserved: vec![("requests", 1)], shed: vec![("request", 1)], ..Default::default() },
        ..MetricsSnapshot::default()
    };
    let text = String::from_utf8(metrics.text(&reading).unwrap()).unwrap();
    let mut metrics = BTreeMap::new();
    for one in series(&text).into_iter().filter(|one| !one.name.starts_with("process_")) {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| one.name.strip_suffix(part));
        let labels = one.labels.into_keys().filter(|label| label != "le").collect();
        metrics.insert(histogram.unwrap_or(&one.name).to_owned(), labels);
    }
    metrics
}

/// The rows of the tables of metrics, each with its name and its labels.
fn documented_metrics() -> Vec<(String, BTreeSet<String>)> {
    let rows = ["operations.md", "cache.md"].into_iter().flat_map(|name| table(&page(name), "| metric "));
    let named = rows.filter(|row| row[0].contains("sessiongate_"));
    named.flat_map(|row| quoted(&row[0]).into_iter().map(move |name| (name, quoted(&row[1])))).collect()
}

#[test]
fn every_metric_is_documented_with_its_labels() {
    let metrics = metrics();
    let declared = Regex::new(r#""(sessiongate_\w+)""#).unwrap();
    for file in fs::read_dir(project().join("src/metrics")).unwrap() {
        let source = fs::read_to_string(file.unwrap().path()).unwrap();
        for name in declared.captures_iter(&source) {
            assert!(metrics.contains_key(&name[1]), "{} has no series in this test", &name[1]);
        }
    }
    let documented = documented_metrics();
    for (name, labels) in &metrics {
        let rows: Vec<_> = documented.iter().filter(|(documented, _)| documented == name).collect();
        let agree = rows.iter().all(|(_, documented)| documented == labels);
        assert!(agree && !rows.is_empty(), "{name} {labels:?}: {rows:?}");
    }
}

#[test]
fn documentation_names_only_existing_metrics() {
    let metrics = metrics();
    let name = Regex::new(r"\bsessiongate_[a-z_]+\b").unwrap();
    for page in pages().iter().filter(|page| !page.ends_with("CHANGELOG.md")) {
        let text = fs::read_to_string(page).unwrap();
        for found in name.find_iter(&text) {
            let base = found.as_str().trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
            assert!(metrics.contains_key(base), "{}: {}", page.display(), found.as_str());
        }
    }
}

#[test]
fn alerts_use_existing_metrics_and_labels() {
    let metrics = metrics();
    let text = fs::read_to_string(project().join("docs/operations.md")).unwrap();
    let rules = text.split("```yaml\ngroups:").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let selector = Regex::new(r#"(sessiongate_\w+)(?:\{(\w+)=~?"([a-z_|]+)"\})?"#).unwrap();
    let grouped = Regex::new(r"by \(([a-z, ]+)\) \(\w+\((sessiongate_\w+)").unwrap();
    let mut values: BTreeMap<&str, Vec<&str>> = Metrics::closed_labels().into_iter().collect();
    values.insert("reason", Rejection::names().to_vec());
    for found in selector.captures_iter(rules) {
        let labels = metrics.get(&found[1]).unwrap_or_else(|| panic!("no metric {}", &found[1]));
        let (Some(label), Some(named)) = (found.get(2), found.get(3)) else {
            continue;
        };
        assert!(labels.contains(label.as_str()), "{}", &found[0]);
        assert!(named.as_str().split('|').all(|value| values[label.as_str()].contains(&value)), "{}", &found[0]);
    }
    for found in grouped.captures_iter(rules) {
        assert!(found[1].split(", ").all(|label| metrics[&found[2]].contains(label)), "{}", &found[0]);
    }
    assert_eq!((rules.matches("- alert: ").count(), rules.matches("expr: ").count()), (6, 6));
    assert_eq!(rules.matches('{').count(), 3, "selectors that this test does not parse");
}

#[test]
fn every_value_of_a_closed_label_is_documented() {
    let (operations, cache) = (page("operations.md"), page("cache.md"));
    let labels = table(&operations, "| label ");
    let metrics = table(&cache, "| metric ");
    let meaning = |metric: &str| quoted(&metrics.iter().find(|row| row[0].contains(metric)).unwrap()[2]);
    for (label, values) in Metrics::closed_labels() {
        let documented = match label {
            "cut" => first_column(&operations, "| `reason` | what happened"),
            "kind" | "shed" => first_column(&operations, &format!("| `{label}` ")),
            "event" => first_column(&cache, "| event "),
            "step" => meaning("sessiongate_store_duration_seconds"),
            label => {
                let row = labels.iter().find(|row| row[0] == format!("`{label}`"));
                quoted(&row.unwrap_or_else(|| panic!("no row for {label}"))[1])
            }
        };
        assert_eq!(documented, set(&values), "{label}");
    }
    assert_eq!(meaning("sessiongate_store_errors_total"), set(&StoreFailure::names()));
    let rows = table(&operations, "| metric ");
    let reloads = rows.iter().find(|row| row[0].contains("sessiongate_config_reloads_total")).unwrap();
    assert_eq!(quoted(&reloads[2]), set(&ReloadResult::names()));
}
