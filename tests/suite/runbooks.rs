//! The runbooks (docs/runbooks): each alert has a page, and what a page names exists: metrics, label values, fields and
//! messages of the log, commands and their options.

use crate::harness::{alerts, project};
use std::collections::BTreeMap;
use std::fs;

const FOLDER: &str = "docs/runbooks";
const HEADINGS: [&str; 6] =
    ["What it means", "Who is affected", "What to look at", "What to do", "What not to do", "When it resolves"];

/// The text of each page, by its name.
fn pages() -> BTreeMap<String, String> {
    let files = fs::read_dir(project().join(FOLDER)).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.file_stem().unwrap().display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let (mut pages, alerts) = (pages(), alerts());
    let index = pages.remove("README").unwrap();
    assert!(pages.keys().eq(alerts.keys()), "pages: {:?}\nalerts: {:?}", pages.keys(), alerts.keys());
    for (name, severities) in &alerts {
        let page = &pages[name];
        assert!(page.starts_with(&format!("# {name}\n\n**")), "{name}: the heading");
        let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, HEADINGS, "{name}");
        let summary = page.split("## ").next().unwrap().to_lowercase();
        for severity in ["page", "ticket"] {
            assert_eq!(summary.contains(&format!("**{severity}")), severities.contains(severity), "{name}: {severity}");
        }
        assert_eq!(index.matches(&format!("[{name}]({name}.md)")).count(), 1, "{name} in the index");
    }
}
