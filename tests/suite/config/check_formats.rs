//! `check`: where it reads the configuration, and the formats of its findings.

use crate::harness::{Finished, finish, project, sessiongate};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

const GOOD: &str = "upstreams: {a: {dialect: auth0, url: https://a.example, auth: none}}\n";
/// Two errors, of which one has a suggestion; the first key is not ASCII.
const BAD: &str = "\
upstreams:
  a:
    dialect: auth0
    url: https://a.example
    auth: none
    cache: { \"ttä\": 5s, tll: 5s }
threads: 0
";
/// One warning.
const WARNED: &str = "upstreams: {a: {dialect: auth0, url: http://a.example, auth: none}}\n";

/// A folder with the configuration in `gateway.yaml`.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gateway.yaml"), text).unwrap();
    folder
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = sessiongate(&[&["check"], args].concat());
    command.current_dir(folder);
    command
}

/// Checks a configuration in a file of the current directory.
fn check(text: &str, args: &[&str]) -> Finished {
    let folder = folder(text);
    finish(command(folder.path(), &[&["-c", "gateway.yaml"], args].concat()))
}

/// Checks a configuration on standard input.
fn check_stdin(text: &str, args: &[&str]) -> Finished {
    let folder = folder(text);
    fs::write(folder.path().join("key"), "0123456789abcdef").unwrap();
    let mut command = command(folder.path(), &[&["-c", "-"], args].concat());
    command.stdin(File::open(folder.path().join("gateway.yaml")).unwrap());
    finish(command)
}

fn json_of(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// The schema of the JSON document, with all maps closed: a member that it lacks is not documented.
fn schema() -> Validator {
    fn close(schema: &mut Value) {
        if let Some(map) = schema.as_object_mut() {
            if map.contains_key("properties") {
                map.insert("additionalProperties".into(), false.into());
            }
            map.values_mut().for_each(close);
        }
    }
    let text = fs::read_to_string(project().join("docs/reference/check.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    close(&mut schema);
    jsonschema::draft202012::new(&schema).unwrap()
}

fn sarif_schema() -> Validator {
    let text = fs::read_to_string(project().join("tests/schemas/sarif-2.1.0-rtm.5.json")).unwrap();
    jsonschema::draft4::new(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// Asserts that a document is valid, and says why not.
pub fn valid(schema: &Validator, document: &Value) {
    let faults: Vec<String> =
        schema.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}\n{document:#}");
}

/// Asserts that a document of JSON is valid.
pub fn valid_json(document: &Value) {
    valid(&schema(), document);
}

#[test]
fn configuration_is_read_from_standard_input() {
    let good = check_stdin(&format!("hash_key: {{ file: key }}\n{GOOD}"), &[]);
    assert_eq!((good.code, good.stdout.as_str(), good.stderr.as_str()), (Some(0), "<stdin>: OK\n", ""));
    let (file, stdin) = (check(BAD, &[]), check_stdin(BAD, &[]));
    assert_eq!((stdin.code, stdin.stdout.as_str()), (Some(1), ""));
    assert_eq!(stdin.stderr, file.stderr.replace("gateway.yaml:", "<stdin>:"));
    let nothing = check_stdin("", &[]);
    assert!(nothing.stderr.starts_with("<stdin>:1:1: the file is empty"), "{nothing:?}");
}

#[test]
fn run_rejects_standard_input() {
    let finished = finish(sessiongate(&["run", "-c", "-"]));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    assert!(finished.stderr.contains("a reload could not read it again"), "{finished:?}");
}

#[test]
fn unreadable_configuration_has_status_2_and_no_document() {
    let folder = folder("listen: \u{e9}");
    fs::write(folder.path().join("latin1.yaml"), b"listen: \xe9").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    for (file, why) in
        [("absent", "file not found"), ("folder", "cannot read the file"), ("latin1.yaml", "is not valid UTF-8")]
    {
        for format in ["text", "json", "sarif"] {
            let finished = finish(command(folder.path(), &["-c", file, "--format", format]));
            assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{file}");
            assert!(finished.stderr.starts_with(&format!("sessiongate: {file}: ")), "{finished:?}");
            assert!(finished.stderr.contains(why) && finished.stderr.lines().count() == 1, "{finished:?}");
        }
    }
}

#[test]
fn json_has_every_finding_with_its_place() {
    let finished = check(BAD, &["--format", "json"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""));
    let found = json_of(&finished);
    valid_json(&found);
    let allowed = found["findings"][0]["allowed"].as_str().unwrap();
    assert!(allowed.starts_with("allowed: `ttl`, "), "{allowed}");
    let unknown = |path: &str, column: usize, end: usize| {
        json!({
            "id": "unknown-option", "level": "error", "path": path, "file": "gateway.yaml", "line": 6,
            "column": column, "end_column": end, "message": "unknown key", "allowed": allowed, "suggestion": "ttl",
        })
    };
    let threads = json!({
        "id": "out-of-range", "level": "error", "path": "threads", "file": "gateway.yaml", "line": 7, "column": 10,
        "end_column": 11, "message": "`0` is too small", "allowed": found["findings"][2]["allowed"],
    });
    let findings = json!([unknown("upstreams.a.cache.ttä", 14, 19), unknown("upstreams.a.cache.tll", 25, 28), threads]);
    assert_eq!(found, json!({"version": 1, "summary": {"errors": 3, "warnings": 0}, "findings": findings}));
}

#[test]
fn json_of_a_good_configuration_and_of_warnings() {
    for (text, args, code, expected) in [
        (GOOD, &["--format", "json"][..], 0, (0, 0)),
        (WARNED, &["--format", "json"], 0, (0, 1)),
        (WARNED, &["--format", "json", "--deploy"], 1, (1, 0)),
        ("", &["--format", "json"], 1, (1, 0)),
    ] {
        let finished = check(text, args);
        let found = json_of(&finished);
        valid_json(&found);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(code), ""), "{text} {args:?}");
        let (errors, warnings) = expected;
        assert_eq!(found["summary"], json!({"errors": errors, "warnings": warnings}), "{text} {args:?}");
        let levels: Vec<&Value> = found["findings"].as_array().unwrap().iter().map(|one| &one["level"]).collect();
        assert_eq!(levels, [vec!["error"; errors], vec!["warning"; warnings]].concat());
    }
}

#[test]
fn text_marks_warnings_and_fails_with_deploy() {
    let line = "warning: gateway.yaml:1:38: upstreams.a.url: tokens and sessions go over the network in cleartext; \
                use `https://`, or set `allow_http: true` if the network is encrypted\n";
    let finished = check(WARNED, &[]);
    assert_eq!(finished.code, Some(0));
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("gateway.yaml: OK\n", line));
    let finished = check(WARNED, &["--deploy"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    assert_eq!(finished.stderr, format!("{line}sessiongate: gateway.yaml: warnings are errors with --deploy\n"));
}

#[test]
fn sarif_is_valid_and_names_rules_and_places() {
    let schema = sarif_schema();
    for (text, args, code, levels) in [
        (GOOD, &[][..], 0, &[][..]),
        (BAD, &[], 1, &["error"; 3][..]),
        (WARNED, &[], 0, &["warning"]),
        (WARNED, &["--deploy"], 1, &["error"]),
        ("upstreams: [", &[], 1, &["error"]),
    ] {
        let finished = check(text, &[&["--format", "sarif"], args].concat());
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(code), ""), "{text}");
        let document = json_of(&finished);
        valid(&schema, &document);
        let run = &document["runs"][0];
        assert_eq!(run["invocations"], json!([{"executionSuccessful": true, "exitCode": code}]));
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.iter().map(|result| result["level"].as_str().unwrap()).collect::<Vec<_>>(), levels);
        for result in results {
            let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], result["ruleId"]);
        }
    }
    let broken =
        json!({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"level": "warn"}]}]});
    assert!(!schema.is_valid(&broken), "the schema rejects what is wrong");
}

#[test]
fn sarif_result_is_complete() {
    let document = json_of(&check(BAD, &["--format", "sarif"]));
    let mut result = document["runs"][0]["results"][1].clone();
    assert!(result["message"]["text"].as_str().unwrap().ends_with("; did you mean `ttl`?"), "{result}");
    result
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !["message", "partialFingerprints", "ruleIndex"].contains(&&**name));
    let expected = json!({
        "ruleId": "unknown-option",
        "level": "error",
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": "gateway.yaml"},
                "region": {"startLine": 6, "startColumn": 25, "endColumn": 28},
            },
            "logicalLocations": [{"fullyQualifiedName": "upstreams.a.cache.tll"}],
        }],
    });
    assert_eq!(result, expected);
}

#[test]
fn fingerprints_survive_edits_and_differ_from_each_other() {
    let prints = |text: &str| -> Vec<String> {
        let document = json_of(&check(text, &["--format", "sarif"]));
        let results = document["runs"][0]["results"].as_array().unwrap();
        results.iter().map(|result| result["partialFingerprints"]["sessiongate/v1"].to_string()).collect()
    };
    let before = prints(BAD);
    assert_eq!(prints(&format!("# moved\n\n{BAD}")), before);
    let twice = prints("listen: ${A} ${B}\n");
    let mut all = [before, twice].concat();
    all.sort();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn sarif_names_files_by_uri() {
    let folder = folder("");
    let absolute = folder.path().join("gateway.yaml");
    fs::write(folder.path().join("gäte way.yaml"), "").unwrap();
    for (file, uri) in [
        ("./gateway.yaml", "gateway.yaml".to_owned()),
        ("gäte way.yaml", "g%C3%A4te%20way.yaml".to_owned()),
        (absolute.to_str().unwrap(), format!("file://{}", absolute.display())),
        ("-", "stdin".to_owned()),
    ] {
        let finished = finish(command(folder.path(), &["--format", "sarif", "-c", file]));
        let document = json_of(&finished);
        valid(&sarif_schema(), &document);
        let location = &document["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], uri);
    }
}

#[test]
fn output_is_bounded() {
    let text: String = (0..3000).map(|n| format!("k{n}: 1\n")).collect();
    let found = json_of(&check(&text, &["--format", "json"]));
    valid_json(&found);
    assert_eq!(found["summary"], json!({"errors": 3001, "warnings": 0, "omitted": 2001}));
    let finished = check(&text, &[]);
    assert_eq!(finished.stderr.lines().count(), 1001);
    assert!(finished.stderr.ends_with("sessiongate: gateway.yaml: 2001 more findings\n"), "{}", finished.stderr);
    // A value that aliases repeat, each time in a message.
    let long = format!("upstreams: &a {}\nclients: {{trusted_peers: [{}]}}\n", "x".repeat(100_000), "*a, ".repeat(900));
    let finished = check(&long, &["--format", "json"]);
    assert!(json_of(&finished)["findings"].as_array().unwrap().len() > 900 && finished.stdout.len() < 3_000_000);
}

#[test]
fn secrets_are_in_no_format() {
    for format in ["text", "json", "sarif"] {
        let finished = check(&format!("hash_key: correct-horse-battery\n{GOOD}"), &["--format", format]);
        assert_eq!(finished.code, Some(1));
        let said = [finished.stdout, finished.stderr].concat();
        assert!(said.contains("hash_key") && !said.contains("horse"), "{said}");
    }
}

#[test]
fn reader_that_leaves_early_causes_no_panic() {
    let text: String = (0..3000).map(|n| format!("k{n}: 1\n")).collect();
    let folder = folder(&text);
    for format in ["text", "json", "sarif"] {
        let mut command = command(folder.path(), &["-c", "gateway.yaml", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // More than a pipe holds is written, to a pipe that nobody reads.
        let (kept, closed) = match format {
            "text" => (child.stdout.take().map(Stdio::from), child.stderr.take().map(Stdio::from)),
            _ => (child.stderr.take().map(Stdio::from), child.stdout.take().map(Stdio::from)),
        };
        drop(closed);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{format}");
        drop(kept);
    }
}

#[test]
fn documented_json_is_valid() {
    let page = fs::read_to_string(project().join("docs/reference/check.md")).unwrap();
    let example = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    valid_json(&serde_json::from_str(example).unwrap());
}
