//! The metrics, their labels and the values of these.

use crate::harness::{generated_part, markdown_table};
use sessiongate::metrics::{LabelValues, METRICS, Metric, MetricLabel};
use sessiongate::telemetry::{
    CacheEvent, DisconnectReason, LabelValue, MemoryKind, Shed, StoreFailure, StoreOperation, label_values,
};
use std::ptr;

const OPERATIONS: &str = "docs/operations.md";
const CACHE: &str = "docs/cache.md";

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A closed set.
pub fn values_table(label: &str, values: &[LabelValue]) -> String {
    assert!(values.iter().all(|value| !value.meaning.is_empty()), "a value of {label} has no meaning");
    let rows = values.iter().map(|value| [code(value.name), value.meaning.to_owned()]);
    markdown_table([&code(label), "meaning"], rows)
}

/// A closed set of which more is said than the meanings.
fn detailed_table(label: &str, detail: &str, values: &[LabelValue]) -> String {
    assert!(values.iter().all(|value| !value.meaning.is_empty() && !value.detail.is_empty()), "{values:?}");
    let rows = values.iter().map(|value| [code(value.name), value.meaning.to_owned(), value.detail.to_owned()]);
    markdown_table([&code(label), "meaning", detail], rows)
}

#[test]
fn metrics() {
    let row = |metric: &&Metric| {
        let labels: Vec<_> = metric.label_names().into_iter().map(code).collect();
        let meaning = format!("{} {}", metric.help, metric.note);
        [code(metric.name), metric.kind.name().to_owned(), labels.join(" "), meaning]
    };
    generated_part(
        OPERATIONS,
        "metrics",
        &markdown_table(["metric", "type", "labels", "meaning"], METRICS.iter().map(row)),
    );
}

/// The section with the values of a label, if it is not that of the labels.
fn section(metric: &str, label: &str) -> Option<&'static str> {
    match (metric, label) {
        ("sessiongate_rejections_total", "reason") => Some("[Reasons of rejections](#reasons-of-rejections)"),
        ("sessiongate_connections_cut_total", "reason") => {
            Some("[Connections that are cut off](#connections-that-are-cut-off)")
        }
        (_, "rule") => Some("[Rules of policies](#rules-of-policies)"),
        (_, "kind" | "shed") => Some("[Memory](#memory)"),
        ("sessiongate_store_errors_total", "reason") | (_, "event" | "step") => Some("[cache.md](cache.md#metrics)"),
        _ => None,
    }
}

/// Every label once, with the first metric that has it.
fn labels() -> Vec<(&'static Metric, &'static MetricLabel)> {
    let mut labels: Vec<(&Metric, &MetricLabel)> = Vec::new();
    for (metric, label) in METRICS.iter().flat_map(|metric| metric.labels.iter().map(move |label| (*metric, *label))) {
        if labels.iter().all(|(_, listed)| !ptr::eq(*listed, label)) {
            labels.push((metric, label));
        }
    }
    labels
}

#[test]
fn label_values_of_metrics() {
    let labels = labels();
    let of =
        |metric: &Metric, label: &MetricLabel| match labels.iter().filter(|(_, one)| one.name == label.name).count() {
            1 => String::new(),
            _ => format!(" of `{}`", metric.name),
        };
    let part = |(metric, label): &(&Metric, &MetricLabel)| {
        let line = format!("**`{}`**{}: {}", label.name, of(metric, label), label.meaning);
        match (section(metric.name, label.name), &label.values) {
            (Some(section), _) => format!("{line}\nSee {section}.\n"),
            (None, LabelValues::Open) => line + "\n",
            (None, LabelValues::Closed(values)) => format!("{line}\n\n{}", values_table(label.name, &values())),
        }
    };
    let parts: Vec<String> = labels.iter().map(part).collect();
    assert!(parts.iter().flat_map(|part| part.lines()).all(|line| line.starts_with('|') || line.len() <= 120));
    generated_part(OPERATIONS, "labels", &parts.join("\n"));
}

#[test]
fn connections_that_are_cut_off() {
    let table = detailed_table("reason", "what the client gets", &label_values::<DisconnectReason>());
    generated_part(OPERATIONS, "connections that are cut off", &table);
}

#[test]
fn memory() {
    let held = detailed_table("kind", "counted as", &label_values::<MemoryKind>());
    generated_part(OPERATIONS, "memory held", &held);
    let shed = detailed_table("shed", "what the client gets", &label_values::<Shed>());
    generated_part(OPERATIONS, "work shed", &shed);
}

#[test]
fn cache_and_store() {
    generated_part(CACHE, "cache events", &values_table("event", &label_values::<CacheEvent>()));
    generated_part(CACHE, "store operations", &values_table("step", &label_values::<StoreOperation>()));
    generated_part(CACHE, "store errors", &values_table("reason", &label_values::<StoreFailure>()));
}
