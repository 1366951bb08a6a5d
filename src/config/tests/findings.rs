//! The IDs and places of errors and warnings.

use super::*;
use crate::telemetry::Label;
use std::collections::BTreeSet;
use strum::VariantArray;

/// The errors of a text, or else its warnings.
fn findings(text: &str) -> (bool, Vec<ConfigError>) {
    match compile("c", text, &Sample, [7; 32]) {
        Ok(compiled) => (false, compiled.warnings),
        Err(faults) => (true, faults),
    }
}

/// Kinds that no case of the files can have: the memory of the machine decides, or other machines.
const ELSEWHERE: [FindingId; 8] = [
    FindingId::StoreExceedsMemory,
    FindingId::OnlineDns,
    FindingId::OnlineConnect,
    FindingId::OnlineProvider,
    FindingId::OnlineIssuer,
    FindingId::OnlineKeys,
    FindingId::OnlineIntrospection,
    FindingId::OnlineStore,
];

#[test]
fn each_id_is_an_error_or_a_warning_and_some_case_has_it() {
    let mut seen = BTreeSet::from(ELSEWHERE);
    for (file, whole) in wholes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests").join(file);
        for case in std::fs::read_to_string(path).unwrap().split("\n\n") {
            let input = case.lines().take_while(|line| !["=>", "~>", "=="].iter().any(|mark| line.starts_with(mark)));
            let (are_errors, found) = findings(&whole(&input.skip(1).collect::<Vec<_>>().join("\n")));
            for finding in found {
                seen.insert(finding.id);
                assert_eq!(finding.id.is_warning(), !are_errors, "{}: {finding}", finding.id.name());
            }
        }
    }
    let missing: Vec<_> = FindingId::VARIANTS.iter().filter(|id| !seen.contains(id)).collect();
    assert!(missing.is_empty(), "no case has {missing:?}");
}

#[test]
fn kinds_of_errors_have_their_own_ids() {
    let upstream = |more: &str| LEAST.replace("none}", &format!("none, {more}}}"));
    let policy = |policy: &str| format!("policies: {{p: {policy}}}\n{}", upstream("policy: p"));
    for (text, id) in [
        ("upstreams: [".to_owned(), "syntax"),
        (format!("{LEAST}\n---\n"), "syntax"),
        (format!("log: {{level: info, level: info}}\n{LEAST}"), "duplicate-key"),
        (format!("lisen: x\n{LEAST}"), "unknown-option"),
        ("listen: 127.0.0.1:1".to_owned(), "missing-option"),
        ("upstreams: {}".to_owned(), "missing-option"),
        (format!("log: off\n{LEAST}"), "wrong-type"),
        (format!("listen:\n{LEAST}"), "wrong-type"),
        (format!("listen: x\n{LEAST}"), "invalid-value"),
        (format!("threads: 0\n{LEAST}"), "out-of-range"),
        (upstream("timeouts: {connect: 1h}"), "out-of-range"),
        (upstream("timeouts: {connect: 1}"), "invalid-value"),
        (format!("listen: ${{ABSENT}}\n{LEAST}"), "variable"),
        (format!("hash_key: {{env: ABSENT}}\n{LEAST}"), "variable"),
        (upstream("policy: absent"), "undeclared-name"),
        (upstream("match: {listener: absent}"), "undeclared-name"),
        (format!("listen: 127.0.0.1:1\nlisteners: {{a: {{address: 127.0.0.1:2}}}}\n{LEAST}"), "conflict"),
        (upstream("tls: {ca_file: absent}"), "file"),
        (upstream("tls: {ca_file: damaged.pem}"), "file"),
        (format!("hash_key: plain-text-secret-0\n{LEAST}"), "secret"),
        (format!("hash_key: {{file: short}}\n{LEAST}"), "secret"),
        (policy("{keys: {allowed: [a], required: [b]}}"), "policy-conflict"),
    ] {
        let (are_errors, found) = findings(&text);
        assert!(are_errors && found[0].id.name() == id, "{text}\n{found:?}");
    }
}

/// What a finding is about: its text from `column` to `end_column`.
#[test]
fn findings_end_where_their_value_or_key_ends() {
    // The value of `interval` has several lines.
    let text = "listen: 'x'\nadmin: y # why\nlisen: {}\nthreads:\ndns: {servers: [ä, \"é\" ]}\n\"log\": 1\n\
        reload: { interval: >-\n   x\n  }\nshutdown: {grace: &a z }\nupstreams: {a: {dialect: auth0, url: 'ä' , auth: none}}\n";
    let (_, found) = findings(text);
    let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let marked = |one: &ConfigError| -> Option<String> {
        Some(lines[one.line - 1][one.column - 1..one.end_column? - 1].iter().collect())
    };
    let marked: Vec<(&str, Option<String>)> = found.iter().map(|one| (one.path.as_str(), marked(one))).collect();
    let expected = [
        ("listen", Some("'x'")),
        ("admin", Some("y")),
        ("lisen", Some("lisen")),
        ("threads", Some("threads")),
        ("dns.servers[0]", Some("ä")),
        ("dns.servers[1]", Some("\"é\"")),
        ("log", Some("1")),
        ("reload.interval", None),
        ("shutdown.grace", Some("&a z")),
        ("upstreams.a.url", Some("'ä'")),
    ];
    assert_eq!(marked, expected.map(|(path, text)| (path, text.map(str::to_owned))));
}
