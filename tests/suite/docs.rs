//! The documentation names only what exists: files, headings, metrics, labels, values and rejections.

use crate::harness::project;
use regex::Regex;
use sessiongate::metrics::{LabelValues, METRICS, Metric};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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

/// Every metric, by name.
fn metrics() -> BTreeMap<&'static str, &'static Metric> {
    METRICS.iter().map(|metric| (metric.name, *metric)).collect()
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
    for found in selector.captures_iter(rules) {
        let metric = metrics.get(&found[1]).unwrap_or_else(|| panic!("no metric {}", &found[1]));
        let (Some(label), Some(named)) = (found.get(2), found.get(3)) else {
            continue;
        };
        let label = metric.labels.iter().find(|one| one.name == label.as_str());
        let Some(LabelValues::Closed(values)) = label.map(|label| &label.values) else {
            panic!("{}: no such label, or its values are not known", &found[0]);
        };
        let known = values();
        let known = |value| known.iter().any(|one| one.name == value);
        assert!(named.as_str().split('|').all(known), "{}", &found[0]);
    }
    for found in grouped.captures_iter(rules) {
        assert!(found[1].split(", ").all(|label| metrics[&found[2]].label_names().contains(&label)), "{}", &found[0]);
    }
    assert_eq!((rules.matches("- alert: ").count(), rules.matches("expr: ").count()), (6, 6));
    assert_eq!(rules.matches('{').count(), 3, "selectors that this test does not parse");
}
