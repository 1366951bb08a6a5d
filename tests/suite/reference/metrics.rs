//! The metrics, their labels and the values of these.

use super::rejections::reasons_table;
use crate::harness::{generated_part, markdown_table};
use sessiongate::metrics::{LabelValues, METRICS, Metric, MetricLabel};
use sessiongate::model::{Reason, Rule};
use sessiongate::telemetry::{
    CacheEvent, DisconnectReason, Label, LabelValue, MemoryKind, Purged, Shed, StoreFailure, StoreOperation,
    StoreRefusal, label_values,
};
use std::ptr;
use strum::{EnumMessage, VariantArray};

const METRICS_PAGE: &str = "docs/reference/metrics.md";
const REASONS_PAGE: &str = "docs/reference/reasons.md";
const LIMITS_PAGE: &str = "docs/reference/limits.md";
const MEMORY_PAGE: &str = "docs/operations/memory.md";

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A closed set.
fn values_table(label: &str, values: &[LabelValue]) -> String {
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
        METRICS_PAGE,
        "metrics",
        &markdown_table(["metric", "type", "labels", "meaning"], METRICS.iter().map(row)),
    );
}

/// A closed set with a table in a section of its own.
struct Section {
    /// The link from the table of labels.
    link: &'static str,
    path: &'static str,
    part: &'static str,
    /// The names of the set.
    names: Vec<&'static str>,
    table: String,
}

fn sections() -> [Section; 9] {
    fn section<L: Label + EnumMessage>(
        place: (&'static str, &'static str, &'static str),
        table: impl FnOnce(&[LabelValue]) -> String,
    ) -> Section {
        let (link, path, part) = place;
        let values = label_values::<L>();
        Section { link, path, part, names: values.iter().map(|value| value.name).collect(), table: table(&values) }
    }
    let own = "[Cache and store](#cache-and-store)";
    let memory = "[Memory](../operations/memory.md)";
    [
        section::<Rule>(("[Rules of policies](#rules-of-policies)", METRICS_PAGE, "rules"), |values| {
            values_table("rule", values)
        }),
        Section {
            link: "[Reasons of rejections](reasons.md)",
            path: REASONS_PAGE,
            part: "reasons",
            names: Reason::VARIANTS.iter().map(|reason| reason.name()).collect(),
            table: reasons_table(),
        },
        section::<DisconnectReason>(
            (
                "[Connections that are cut off](limits.md#connections-that-are-cut-off)",
                LIMITS_PAGE,
                "connections that are cut off",
            ),
            |values| detailed_table("reason", "what the client gets", values),
        ),
        section::<MemoryKind>((memory, MEMORY_PAGE, "memory held"), |values| {
            detailed_table("kind", "counted as", values)
        }),
        section::<Shed>((memory, MEMORY_PAGE, "work shed"), |values| {
            detailed_table("shed", "what the client gets", values)
        }),
        section::<CacheEvent>((own, METRICS_PAGE, "cache events"), |values| values_table("event", values)),
        section::<StoreOperation>((own, METRICS_PAGE, "store operations"), |values| values_table("step", values)),
        section::<StoreFailure>((own, METRICS_PAGE, "store errors"), |values| values_table("reason", values)),
        section::<StoreRefusal>((own, METRICS_PAGE, "store rejections"), |values| values_table("code", values)),
    ]
}

/// The section that has the values of a label. The set decides, because several labels may have the same name.
fn section<'s>(sections: &'s [Section], label: &MetricLabel) -> Option<&'s Section> {
    let LabelValues::Closed(values) = &label.values else { return None };
    let names: Vec<&str> = values().iter().map(|value| value.name).collect();
    sections.iter().find(|section| section.names == names)
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

/// The description of each label, with its values if no section has them.
fn label_parts() -> Vec<String> {
    let (labels, sections) = (labels(), sections());
    let of =
        |metric: &Metric, label: &MetricLabel| match labels.iter().filter(|(_, one)| one.name == label.name).count() {
            1 => String::new(),
            _ => format!(" of `{}`", metric.name),
        };
    let part = |(metric, label): &(&Metric, &MetricLabel)| {
        let line = format!("**`{}`**{}: {}", label.name, of(metric, label), label.meaning);
        match (section(&sections, label), &label.values) {
            (Some(section), _) => format!("{line}\nSee {}.\n", section.link),
            (None, LabelValues::Open) => line + "\n",
            (None, LabelValues::Closed(values)) => format!("{line}\n\n{}", values_table(label.name, &values())),
        }
    };
    labels.iter().map(part).collect()
}

#[test]
fn label_values_of_metrics() {
    let parts = label_parts();
    assert!(parts.iter().flat_map(|part| part.lines()).all(|line| line.starts_with('|') || line.len() <= 120));
    generated_part(METRICS_PAGE, "labels", &parts.join("\n"));
}

#[test]
fn closed_sets_in_sections_of_their_own() {
    for section in sections() {
        generated_part(section.path, section.part, &section.table);
    }
}

/// The head and the first cell of each row of the tables in a text.
fn tables(text: &str) -> Vec<Vec<&str>> {
    let mut tables = vec![Vec::new()];
    for line in text.lines() {
        match line.split('|').nth(1) {
            Some(cell) if cell.starts_with("---") => {}
            Some(cell) => tables.last_mut().unwrap().push(cell.trim().trim_matches('`')),
            None => tables.push(Vec::new()),
        }
    }
    tables
}

#[test]
fn each_closed_set_is_rendered_once() {
    let texts: Vec<String> = label_parts().into_iter().chain(sections().map(|section| section.table)).collect();
    let tables: Vec<Vec<&str>> = texts.iter().flat_map(|text| tables(text)).collect();
    for (metric, label) in labels() {
        if let LabelValues::Closed(values) = &label.values {
            let values = values();
            let own: Vec<&str> = [label.name].into_iter().chain(values.iter().map(|value| value.name)).collect();
            let count = tables.iter().filter(|table| **table == own).count();
            assert_eq!(count, 1, "`{}` of `{}`: {own:?}", label.name, metric.name);
        }
    }
}

#[test]
fn a_label_with_the_name_of_another_has_its_own_values() {
    for name in ["kind", "shed", "event", "step", "rule", "reason"] {
        let label = MetricLabel { name, meaning: "", values: LabelValues::Closed(label_values::<Purged>) };
        assert!(section(&sections(), &label).is_none(), "{name}");
    }
}
