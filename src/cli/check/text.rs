//! Findings as text: a line for each on standard error. The checks of `--online` are on standard output.

use super::online::{Check, Outcome};
use super::report::{Finding, Report};
use crate::cli::output::print_to;
use std::fmt::Write;
use std::io;

/// Prints a report. With `deploy` warnings are errors.
pub(super) fn print(report: &Report, deploy: bool) {
    let Report { file, findings, checks, .. } = report;
    // Failed checks have their own lines.
    let of_text = findings.iter().filter(|finding| !is_online(finding));
    let lines: Vec<String> = of_text.map(line).collect();
    if !lines.is_empty() {
        print_to(io::stderr(), &lines.join("\n"));
    }
    if report.omitted() > 0 {
        print_to(io::stderr(), &format!("sessiongate: {file}: {} more findings", report.omitted()));
    }
    if let Some(checks) = checks.as_ref().filter(|checks| !checks.is_empty()) {
        let lines: Vec<String> = checks.iter().map(check).collect();
        print_to(io::stdout(), &lines.join("\n"));
    }
    if deploy && findings.iter().any(|finding| finding.error.id.is_warning()) {
        print_to(io::stderr(), &format!("sessiongate: {file}: warnings are errors with --deploy"));
    }
    let failed = findings.iter().filter(|finding| is_online(finding)).count();
    if failed > 0 {
        let all = checks.as_ref().map_or(0, Vec::len);
        print_to(io::stderr(), &format!("sessiongate: {file}: {failed} of {all} online checks failed"));
    }
    if report.errors == 0 {
        print_to(io::stdout(), &format!("{file}: OK"));
    }
}

fn is_online(finding: &Finding) -> bool {
    finding.error.id.is_online()
}

/// A finding. A warning is marked as such with `--deploy` too.
fn line(Finding { error, .. }: &Finding) -> String {
    let mark = if error.id.is_warning() { "warning: " } else { "" };
    format!("{mark}{error}")
}

/// A check, with its hint below it.
fn check(check: &Check) -> String {
    let word = match check.outcome {
        Outcome::Ok => "ok",
        Outcome::Failed { .. } => "FAILED",
        Outcome::Skipped => "skipped",
    };
    let took = check.took.map(|took| format!("{:.1} ms", took.as_secs_f64() * 1000.0)).unwrap_or_default();
    let mut line = format!("{word:<7} {took:>10}  {}: {}", check.name, check.message);
    if let Outcome::Failed { hint } = &check.outcome {
        let _ = write!(line, "\n{:20}hint: {hint}", "");
    }
    line
}
