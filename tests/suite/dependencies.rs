//! The dependencies: no crate has a known vulnerability, and each has an allowed licence.
//!
//! `tests/corpora/advisories.json` is a snapshot of [RustSec](https://rustsec.org)'s advisories;
//! `SESSIONGATE_ADVISORIES` names a newer file. Each advisory has `id`, `package`, `kind` or `informational` (null for a
//! vulnerability, else `unmaintained`, `unsound`, …), and the version requirements `patched` and `unaffected`. A locked
//! version that matches none of these is affected.

use crate::harness::{project, skipped};
use semver::{Version, VersionReq};
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;

/// The allowed licences, as SPDX expressions.
const ALLOWED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// An advisory that concerns a locked crate.
#[derive(Debug, PartialEq, Eq)]
struct Hit {
    /// The crate, its version and the advisory's id.
    text: String,
    /// Its kind; `None` for a vulnerability.
    kind: Option<String>,
}

/// The crates of a lock file, with their versions. Those without a source are the project's own.
fn locked(lock: &str) -> Vec<(String, Version)> {
    let value = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{name} = \""))?.strip_suffix('"'));
        line.map(str::to_owned)
    };
    let blocks = lock.split("[[package]]").skip(1).filter(|block| value(block, "source").is_some());
    blocks.map(|block| (value(block, "name").unwrap(), value(block, "version").unwrap().parse().unwrap())).collect()
}

/// Whether any of these requirements holds. A pre-release matches next to none, as is Cargo's rule: it counts as
/// affected.
fn is_any(requirements: &Value, version: &Version) -> bool {
    let all = requirements.as_array().unwrap();
    all.iter().any(|one| {
        let text = one.as_str().unwrap();
        VersionReq::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(version)
    })
}

/// The advisories that concern these crates.
fn hits(advisories: &Value, crates: &[(String, Version)]) -> Vec<Hit> {
    let all = advisories["advisories"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut hits = Vec::new();
    for advisory in all {
        let (id, package) = (text(&advisory["id"]), text(&advisory["package"]));
        for (_, version) in crates.iter().filter(|(name, _)| *name == package) {
            if !is_any(&advisory["patched"], version) && !is_any(&advisory["unaffected"], version) {
                let kind = advisory.get("kind").or(advisory.get("informational")).and_then(Value::as_str);
                hits.push(Hit { text: format!("{package} {version}: {id}"), kind: kind.map(str::to_owned) });
            }
        }
    }
    hits
}

/// Whether crates may be used under this SPDX expression: under all parts of an `AND`, and under any of an `OR`, which
/// older crates write as `/`. A bracket stands for what is in it.
fn is_allowed(expression: &str) -> bool {
    let text = expression.replace('/', " OR ");
    let parts = |separator: &str| {
        let (mut parts, mut depth) = (vec![String::new()], 0);
        for word in text.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            depth += i32::from(word == "(") - i32::from(word == ")");
            match parts.last_mut() {
                Some(_) if depth == 0 && word == separator => parts.push(String::new()),
                Some(part) => *part = format!("{part} {word}").trim().to_owned(),
                None => unreachable!(),
            }
        }
        parts
    };
    let (any, all) = (parts("OR"), parts("AND"));
    match (any.as_slice(), all.as_slice()) {
        ([_, _, ..], _) => any.iter().any(|part| is_allowed(part)),
        (_, [_, _, ..]) => all.iter().all(|part| is_allowed(part)),
        ([one], _) => match one.strip_prefix("( ").and_then(|inner| inner.strip_suffix(" )")) {
            Some(inner) => is_allowed(inner),
            None => ALLOWED.contains(&one.as_str()),
        },
        ([], _) => false,
    }
}

fn advisories() -> Value {
    let named = std::env::var_os("SESSIONGATE_ADVISORIES").map(PathBuf::from);
    let path = named.unwrap_or_else(|| project().join("tests/corpora/advisories.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn no_crate_has_a_known_vulnerability() {
    let advisories = advisories();
    let mut crates = Vec::new();
    for lock in ["Cargo.lock", "tests/clients/Cargo.lock"] {
        crates.extend(locked(&std::fs::read_to_string(project().join(lock)).unwrap()));
    }
    crates.sort();
    crates.dedup();
    assert!(crates.len() > 300, "{} crates: is the lock file read as it is written?", crates.len());
    let (informational, vulnerable): (Vec<Hit>, Vec<Hit>) =
        hits(&advisories, &crates).into_iter().partition(|hit| hit.kind.is_some());
    for Hit { text, kind } in informational {
        // Past the capture of tests that pass: somebody has to see it.
        let _ = writeln!(io::stderr(), "advisory: {text} ({})", kind.unwrap_or_default());
    }
    assert_eq!(vulnerable, [], "as of {}", advisories["snapshot"]);
}

/// The crates of a manifest that are built for this machine, as Cargo describes them without the network; none where
/// they were never fetched.
fn described(manifest: &str) -> Option<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let version = Command::new(&cargo).arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut command = Command::new(&cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host]);
    let output = command.arg("--manifest-path").arg(project().join(manifest)).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // Cargo reports what it would have fetched, and why it does not.
        assert!(error.contains("offline"), "{manifest}: {error}");
        let how = format!("cargo fetch --locked --manifest-path {manifest}");
        skipped(&format!("licences of the crates of {manifest} (not all are here: run `{how}`)"));
        return None;
    }
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    for manifest in ["Cargo.toml", "tests/clients/Cargo.toml"] {
        let Some(metadata) = described(manifest) else { continue };
        let packages = metadata["packages"].as_array().unwrap();
        assert!(packages.len() > 50, "{manifest}");
        let others: Vec<String> = packages
            .iter()
            .filter(|package| !package["source"].is_null())
            .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
            .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
            .collect();
        assert_eq!(others, [""; 0], "{manifest}");
    }
}

#[test]
fn check_finds_affected_crates_only() {
    let lock = "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"leaky\"\n\
        version = \"1.2.3+build\"\nsource = \"registry+x\"\ndependencies = [\n \"left\",\n]\n\n[[package]]\nname = \"left\"\n\
        version = \"0.4.0-rc.1\"\nsource = \"registry+x\"\n";
    let crates = locked(lock);
    assert_eq!(crates.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["leaky", "left"]);
    let found = |package: &str, kind: &str, patched: &[&str], unaffected: &[&str]| {
        let kind = if kind.is_empty() { Value::Null } else { kind.into() };
        let advisory = json!({
            "id": "RUSTSEC-0", "package": package, "informational": kind, "patched": patched, "unaffected": unaffected,
        });
        hits(&json!({ "advisories": [advisory] }), &crates)
    };
    let hit = |text: &str, kind: Option<&str>| vec![Hit { text: text.to_owned(), kind: kind.map(str::to_owned) }];
    let leaky = || hit("leaky 1.2.3+build: RUSTSEC-0", None);
    assert_eq!(found("leaky", "", &[], &[]), leaky());
    assert_eq!(found("leaky", "", &[">= 1.2.4"], &["< 1.2.0"]), leaky());
    assert_eq!(found("leaky", "", &["^1.1.9, < 1.2.0", ">= 2"], &[]), leaky());
    assert_eq!(found("leaky", "unmaintained", &[], &[]), hit("leaky 1.2.3+build: RUSTSEC-0", Some("unmaintained")));
    for (patched, unaffected) in
        [(&[">= 1.2.3"][..], &[][..]), (&["^1.2.3"], &[]), (&["> 9"], &["< 1.3"]), (&["=1.2.3"], &[])]
    {
        assert_eq!(found("leaky", "", patched, unaffected), [], "{patched:?} {unaffected:?}");
    }
    assert_eq!(found("left", "", &[">= 0.4.0"], &[]), hit("left 0.4.0-rc.1: RUSTSEC-0", None));
    assert_eq!(found("left", "", &[">= 0.4.0-beta"], &[]), []);
    assert_eq!(found("own", "", &[], &[]), [], "the project's own");
    assert_eq!(found("right", "", &[], &[]), [], "not locked");
}

#[test]
fn licences_are_parsed_as_spdx_expressions() {
    for text in [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "Apache-2.0 / MIT",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        "GPL-3.0 OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "(MIT OR GPL-2.0) AND (ISC OR GPL-2.0)",
        "MIT AND BSD-3-Clause OR GPL-3.0",
    ] {
        assert!(is_allowed(text), "{text}");
    }
    for text in [
        "",
        "GPL-3.0",
        "AGPL-3.0-only",
        "MIT AND GPL-3.0",
        "(MIT OR Apache-2.0) AND GPL-3.0",
        "GPL-3.0 OR LGPL-2.1-or-later",
        "MIT WITH something",
        "Apache-2.0 WITH",
        "(MIT",
        "SEE LICENSE",
    ] {
        assert!(!is_allowed(text), "{text}");
    }
}
