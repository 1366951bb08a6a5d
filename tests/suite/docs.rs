//! The documentation names only what exists: files, headings and metrics.

use crate::harness::project;
use regex::Regex;
use sessiongate::metrics::{METRICS, Metric};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The Markdown files of a folder, and of those in it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let found = paths.map(|path| match path.is_dir() {
        true => below(&path),
        false if path.extension().is_some_and(|extension| extension == "md") => vec![path],
        false => Vec::new(),
    });
    found.flatten().collect()
}

/// Every Markdown file that the project has written.
fn pages() -> Vec<PathBuf> {
    let files = fs::read_dir(project()).unwrap().map(|file| file.unwrap().path());
    let top = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    top.chain(["docs", "deploy"].iter().flat_map(|folder| below(&project().join(folder)))).collect()
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

/// Pages that others name already.
const COMING: [&str; 11] = [
    "concepts/policy.md",
    "concepts/request-flow.md",
    "concepts/trust.md",
    "guides/behind-proxies.md",
    "guides/egress-proxy.md",
    "guides/kubernetes.md",
    "guides/redis.md",
    "guides/sdks.md",
    "quickstarts/kubernetes.md",
    "quickstarts/sidecar.md",
    "docs/releases.md",
];

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
            if !path.exists() && COMING.iter().any(|one| path.ends_with(one)) {
                continue;
            }
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
    // What rules record has colons: the queries are checked with a parser (`runbooks`).
    let name = Regex::new(r":?\bsessiongate_[a-z_]+\b:?").unwrap();
    for page in pages().iter().filter(|page| !page.ends_with("CHANGELOG.md")) {
        let text = fs::read_to_string(page).unwrap();
        for found in name.find_iter(&text).filter(|found| !found.as_str().contains(':')) {
            let base = found.as_str().trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
            assert!(metrics.contains_key(base), "{}: {}", page.display(), found.as_str());
        }
    }
}
