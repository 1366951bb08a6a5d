//! What a release is made of: the changelog, and the script that builds the files.

use crate::harness::{finish, project};
use regex::Regex;
use std::fs;
use std::process::Command;

const SCRIPT: &str = "deploy/release";

/// Keep a Changelog 1.1.0.
#[test]
fn changelog_has_the_form_that_releases_need() {
    let text = fs::read_to_string(project().join("CHANGELOG.md")).unwrap();
    let version = Regex::new(r"^## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d$").unwrap();
    let mut versions = text.lines().filter(|line| line.starts_with("## "));
    assert_eq!(versions.next(), Some("## [Unreleased]"));
    assert!(versions.all(|line| version.is_match(line)), "a version without a date");
    let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(!found.is_empty() && found.iter().all(|kind| kinds.contains(kind)), "{found:?}");
}

fn script(args: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.current_dir(project()).args(args);
    command
}

#[test]
fn release_script_explains_itself_and_rejects_what_it_does_not_know() {
    let parsed = finish(script(&["-n", SCRIPT]));
    assert_eq!((parsed.code, parsed.stderr.as_str()), (Some(0), ""));
    let help = finish(script(&[SCRIPT, "--help"]));
    let options = Regex::new(r"(?m)^ +(--[a-z]+)\)").unwrap();
    let text = fs::read_to_string(project().join(SCRIPT)).unwrap();
    let mut count = 0;
    for option in options.captures_iter(&text) {
        count += 1;
        assert!(help.stdout.contains(&option[1]), "{} is not in the help", &option[1]);
    }
    assert!(count >= 3, "{text}");
    let unknown = finish(script(&[SCRIPT, "--fast"]));
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""));
    assert!(unknown.stderr.contains("unknown option --fast"), "{unknown:?}");
}
