//! Metrics, read from the text that Prometheus scrapes.

use regex::Regex;
use std::collections::BTreeMap;

/// One line of the text.
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

pub fn series(text: &str) -> Vec<Series> {
    let line = Regex::new(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$").unwrap();
    let label = Regex::new(r#"([a-z_]+)="((?:[^"\\]|\\.)*)""#).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|text| {
            let found = line.captures(text).unwrap_or_else(|| panic!("no metric: {text}"));
            let labels = found.get(2).map_or("", |labels| labels.as_str());
            let labels = label.captures_iter(labels);
            Series {
                name: found[1].to_owned(),
                labels: labels.map(|found| (found[1].to_owned(), found[2].to_owned())).collect(),
                value: found[3].parse().unwrap(),
            }
        })
        .collect()
}
