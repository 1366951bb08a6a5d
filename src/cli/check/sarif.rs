//! Findings as SARIF 2.1.0 (OASIS), which code scanning reads.

use super::report::{Finding, Level, Report, STDIN};
use crate::config::{ConfigError, FindingId};
use crate::telemetry::{Label, LabelValue, label_values};
use crate::wire::hex;
use ring::digest;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;
use strum::VariantArray;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The document of a report.
pub(super) fn document(report: &Report) -> String {
    let mut seen = HashMap::new();
    let results: Vec<Value> = report.findings.iter().map(|finding| result(finding, &mut seen)).collect();
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "sessiongate",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [invocation(report)],
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

fn invocation(report: &Report) -> Value {
    let mut invocation = json!({ "executionSuccessful": true, "exitCode": report.status() });
    if let (omitted @ 1.., Some(invocation)) = (report.omitted(), invocation.as_object_mut()) {
        let text = format!("{omitted} more findings are not in `results`");
        let notification = json!({ "level": "warning", "message": { "text": text } });
        invocation.insert("toolExecutionNotifications".to_owned(), json!([notification]));
    }
    invocation
}

/// Every kind of finding, in the order of [`FindingId`].
fn rules() -> Vec<Value> {
    let ids = FindingId::VARIANTS.iter().zip(label_values::<FindingId>());
    let rule = |(id, value): (&FindingId, LabelValue)| {
        let level = if id.is_warning() { Level::Warning } else { Level::Error };
        let text = value.meaning.trim();
        json!({
            "id": value.name,
            "shortDescription": { "text": text },
            "help": { "text": format!("{text} See docs/reference/check.md.") },
            "defaultConfiguration": { "level": level.name() },
        })
    };
    ids.map(rule).collect()
}

/// A finding. `seen` counts the findings with the same rule and option, so that their fingerprints differ.
fn result(Finding { level, error }: &Finding, seen: &mut HashMap<(FindingId, String), u32>) -> Value {
    let mut region = json!({ "startLine": error.line, "startColumn": error.column });
    if let (Some(end), Some(region)) = (error.end_column, region.as_object_mut()) {
        region.insert("endColumn".to_owned(), end.into());
    }
    let mut location =
        json!({ "physicalLocation": { "artifactLocation": { "uri": uri(&error.file) }, "region": region } });
    if let (false, Some(location)) = (error.path.is_empty(), location.as_object_mut()) {
        location.insert("logicalLocations".to_owned(), json!([{ "fullyQualifiedName": error.path }]));
    }
    let nth = seen.entry((error.id, error.path.clone())).or_default();
    *nth += 1;
    json!({
        "ruleId": error.id.name(),
        "ruleIndex": FindingId::VARIANTS.iter().position(|id| *id == error.id),
        "level": level.name(),
        "message": { "text": error.text() },
        "locations": [location],
        "partialFingerprints": { "sessiongate/v1": fingerprint(error, *nth) },
    })
}

/// What identifies a finding, wherever in the file it moves: its rule and its option.
fn fingerprint(error: &ConfigError, nth: u32) -> String {
    let identity = format!("{}\n{}\n{nth}", error.id.name(), error.path);
    hex::text(digest::digest(&digest::SHA256, identity.as_bytes()).as_ref())
}

/// A file as a URI: relative as it was given, or with a scheme if it is absolute.
fn uri(file: &str) -> String {
    if file == STDIN {
        return "stdin".to_owned();
    }
    let mut path = file;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    let mut uri = String::from(if file.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(byte.into()),
            other => {
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_uris() {
        for (file, expected) in [
            ("gate.yaml", "gate.yaml"),
            ("./a b.yaml", "a%20b.yaml"),
            (".//gate.yaml", "gate.yaml"),
            ("././/./gate.yaml", "gate.yaml"),
            ("../gate.yaml", "../gate.yaml"),
            ("/etc/gate.yaml", "file:///etc/gate.yaml"),
            (STDIN, "stdin"),
        ] {
            assert_eq!(uri(file), expected, "{file}");
        }
    }

    #[test]
    fn omitted_findings_are_notified() {
        let mut report = Report::new("gate.yaml", false);
        assert_eq!(invocation(&report).get("toolExecutionNotifications"), None);
        report.errors = 7;
        let text = invocation(&report)["toolExecutionNotifications"][0]["message"]["text"].clone();
        assert_eq!(text, "7 more findings are not in `results`");
    }
}
