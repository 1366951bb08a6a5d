//! Names of metrics, options, findings and reasons in the documentation: all of them exist.

use super::{Page, pages, prose};
use crate::harness::project;
use regex::Regex;
use serde_json::Value;
use sessiongate::config::FindingId;
use sessiongate::config::options::{Options, ROOT, Row, SECRET, Shape};
use sessiongate::metrics::{LabelValues, METRICS};
use sessiongate::model::Reason;
use sessiongate::proxy::ACCESS_LOG;
use sessiongate::telemetry::label_values;
use std::collections::BTreeSet;
use std::fs;
use strum::VariantArray;

#[test]
fn documentation_names_only_existing_metrics() {
    let metrics: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    // What rules record has colons: the queries are checked with a parser (`runbooks`).
    let name = Regex::new(r":?\bsessiongate_[a-z_]+\b:?").unwrap();
    for page in pages().iter().filter(|page| page.path != "CHANGELOG.md") {
        for found in name.find_iter(&page.text).filter(|found| !found.as_str().contains(':')) {
            let base = found.as_str().trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
            assert!(metrics.contains(base), "{}: {}", page.path, found.as_str());
        }
    }
}

/// The maps in a value.
fn maps(shape: &Shape) -> Vec<&'static Options> {
    match shape {
        Shape::Map(options) => vec![*options],
        Shape::Named(named) => vec![named.options],
        Shape::AddressOr(options) => vec![*options],
        Shape::Secret(_) => vec![&SECRET],
        Shape::WordsOr(_, inner) | Shape::List(inner, _) | Shape::OneOrSeveral(inner) => maps(inner),
        _ => Vec::new(),
    }
}

/// Every option, as a path without the names of upstreams, listeners and policies: `upstreams.cache.ttl`.
fn options(options: &'static Options, path: &str, all: &mut BTreeSet<String>) {
    for row in options.rows() {
        let Row { key, shape, .. } = row;
        let own = format!("{path}{key}");
        for map in maps(&shape) {
            self::options(map, &format!("{own}."), all);
        }
        all.insert(own);
    }
}

/// Whether a name in a page is that of an option, or of a part of one: `cache.ttl`, `upstreams.NAME.cache.ttl`.
fn is_option(name: &str, options: &BTreeSet<String>) -> bool {
    let mut parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 1 && ["upstreams", "listeners", "policies"].contains(&parts[0]) {
        parts.remove(1);
    }
    let name = parts.join(".");
    options.iter().any(|option| *option == name || option.ends_with(&format!(".{name}")))
}

/// Every value of the Helm chart, as a path, but for those of the configuration.
fn chart_values(schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten().filter(|(key, _)| *key != "config") {
        chart_values(value, &format!("{path}{key}."), all);
        all.insert(format!("{path}{key}"));
    }
}

#[test]
fn documentation_names_only_existing_options() {
    let mut all = BTreeSet::new();
    options(&ROOT, "", &mut all);
    let first: BTreeSet<&str> = all.iter().flat_map(|option| option.split('.')).collect();
    // Fields of the access log and checks of `--online` have dots too.
    let fields = ACCESS_LOG.iter().map(|field| field.name).chain(["store.connect", "store.round_trip"]);
    let others: BTreeSet<&str> = fields.collect();
    let chart = fs::read_to_string(project().join("deploy/helm/sessiongate/values.schema.json")).unwrap();
    let mut values = BTreeSet::new();
    chart_values(&serde_json::from_str(&chart).unwrap(), "", &mut values);
    let name = Regex::new(r"`([a-z][a-z_0-9]*(?:\.[A-Za-z*][A-Za-z_*0-9]*)+)(?:: [^`]*)?`").unwrap();
    let file =
        Regex::new(r"\.(yaml|json|md|rs|mjs|py|proto|crt|key|pem|sh|toml|txt|conf|log|hcl|tf|example)$").unwrap();
    let (mut count, mut faults) = (0, Vec::new());
    for Page { path, text } in pages().iter().filter(|page| page.path != "CHANGELOG.md") {
        for found in name.captures_iter(&prose(text)) {
            let name = &found[1];
            let begin = name.split('.').next().unwrap_or_default();
            if !first.contains(begin) || others.contains(name) || values.contains(name) || file.is_match(name) {
                continue;
            }
            count += 1;
            if !is_option(name, &all) {
                faults.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 100, "{count}");
}

#[test]
fn documentation_names_only_existing_reasons_and_findings() {
    let reasons: BTreeSet<&str> = Reason::VARIANTS.iter().map(|reason| reason.name()).collect();
    let findings: BTreeSet<&str> = label_values::<FindingId>().iter().map(|value| value.name).collect();
    let reason = Regex::new(r"\b[Rr]easons? `([a-z_]+)`").unwrap();
    let finding = Regex::new(r"\b[Ff]indings? `([a-z-]+)`").unwrap();
    // Other metrics and lines of the log have a `reason` too.
    let labels = METRICS.iter().flat_map(|metric| metric.labels);
    let values = labels.filter_map(|label| match label.values {
        LabelValues::Closed(values) => Some(values()),
        LabelValues::Open => None,
    });
    let others: BTreeSet<&str> = values.flatten().map(|value| value.name).collect();
    for page in pages().iter().filter(|page| page.path != "CHANGELOG.md") {
        for found in reason.captures_iter(&page.text) {
            assert!(reasons.contains(&found[1]) || others.contains(&found[1]), "{}: {}", page.path, &found[0]);
        }
        for found in finding.captures_iter(&page.text) {
            assert!(findings.contains(&found[1]), "{}: {}", page.path, &found[0]);
        }
    }
}
