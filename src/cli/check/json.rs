//! Findings as JSON: `docs/reference/check.schema.json` describes the document. Members are only ever added.

use super::online::{Check, Outcome};
use super::report::{Finding, Report};
use crate::telemetry::Label;
use serde::Serialize;

/// The version of the document. It changes only if a member is removed or changes its meaning.
const VERSION: u32 = 1;

/// Absent members are left out.
#[derive(Serialize)]
struct Document<'r> {
    version: u32,
    summary: Summary,
    findings: Vec<FindingRow<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<CheckRow<'r>>>,
}

#[derive(Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<usize>,
}

#[derive(Serialize)]
struct FindingRow<'r> {
    id: &'static str,
    level: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'r str,
    file: &'r str,
    line: usize,
    column: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
    message: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'r str>,
}

#[derive(Serialize)]
struct CheckRow<'r> {
    name: &'r str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
    message: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'r str>,
}

/// The document of a report.
pub(super) fn document(report: &Report) -> String {
    let summary = Summary {
        errors: report.errors,
        warnings: report.warnings,
        omitted: Some(report.omitted()).filter(|omitted| *omitted > 0),
    };
    let document = Document {
        version: VERSION,
        summary,
        findings: report.findings.iter().map(finding).collect(),
        checks: report.checks.as_ref().map(|checks| checks.iter().map(check).collect()),
    };
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

fn finding(Finding { level, error }: &Finding) -> FindingRow<'_> {
    FindingRow {
        id: error.id.name(),
        level: level.name(),
        path: &error.path,
        file: &error.file,
        line: error.line,
        column: error.column,
        end_column: error.end_column,
        message: &error.found,
        allowed: error.allowed.as_deref(),
        suggestion: error.suggestion.as_deref(),
    }
}

fn check(check: &Check) -> CheckRow<'_> {
    let (status, hint) = match &check.outcome {
        Outcome::Ok => ("ok", None),
        Outcome::Failed { hint } => ("failed", Some(hint.as_str())),
        Outcome::Skipped => ("skipped", None),
    };
    // Microseconds are enough.
    let duration_ms = check.took.map(|took| (took.as_secs_f64() * 1e6).round() / 1e3);
    CheckRow { name: &check.name, status, duration_ms, message: &check.message, hint }
}
