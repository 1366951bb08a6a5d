//! `docs/guides/egress-proxy.md` says what is so.

use crate::harness::{finish, project, sessiongate};
use regex::Regex;
use std::fs;

fn page() -> String {
    fs::read_to_string(project().join("docs/guides/egress-proxy.md")).unwrap()
}

#[test]
fn configurations_of_the_guide_are_valid() {
    let page = page();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.yaml"), block).unwrap();
        let mut command = sessiongate(&["check", "-c", "gateway.yaml", "--deploy"]);
        command.current_dir(folder.path()).env("PROXY_PASSWORD", "s3cret");
        command.env("HTTPS_PROXY", "http://gate:s3cret@proxy.example:3128").env("NO_PROXY", ".svc, 10.0.0.0/8");
        let finished = finish(command);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
}

/// The parts of each message stand in the source.
#[test]
fn messages_of_the_guide_are_those_of_the_source() {
    let source: String = ["src/client/tunnel_error.rs", "src/client/connector.rs", "src/proxy/upstream_error.rs"]
        .map(|file| fs::read_to_string(project().join(file)).unwrap())
        .concat();
    let page = page();
    let (_, table) = page.split_once("## If it does not work").unwrap();
    let messages = Regex::new(r"(?m)^\| `([^`]*egress proxy[^`]*)`").unwrap();
    let mut seen = 0;
    for found in messages.captures_iter(table) {
        let parts = found[1].split('…').map(|part| part.trim_matches([' ', ':']));
        for part in parts.filter(|part| !part.is_empty() && *part != "ms") {
            let known = ["Connection refused"].contains(&part) || source.contains(part);
            let status =
                part.strip_prefix("responded with ").is_some_and(|_| source.contains("responded with {status}"));
            assert!(known || status, "{part}");
        }
        seen += 1;
    }
    assert_eq!(seen, 11);
}
