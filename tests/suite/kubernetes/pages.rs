//! The pages on Kubernetes: their values render, their commands work, and they show what the tests use.

use super::configurations::Secrets;
use super::manifests::PARENT;
use crate::harness::kubernetes::{CHART, chart_tool, kubernetes_installed, render_requests};
use crate::harness::{finish, project, skipped};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

const PAGES: [&str; 3] = ["docs/quickstarts/kubernetes.md", "docs/quickstarts/sidecar.md", "docs/guides/kubernetes.md"];

/// A fenced block.
struct Block {
    language: String,
    text: String,
    by_hand: bool,
}

/// The fenced blocks of a page, without the indentation of lists.
fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(project().join(page)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let fences: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].trim_start().starts_with("```")).collect();
    let block = |fence: &[usize]| {
        let (begin, end) = (fence[0], fence[1]);
        let language = lines[begin].trim_start().trim_start_matches('`').to_owned();
        let depth = lines[begin].len() - lines[begin].trim_start().len();
        let inner = lines[begin + 1..end].iter().map(|line| line.get(depth..).unwrap_or("").to_owned() + "\n");
        Block { language, text: inner.collect(), by_hand: lines[begin.saturating_sub(1)].trim() == "<!-- by hand -->" }
    };
    fences.chunks_exact(2).map(block).collect()
}

/// The values that the pages show.
fn shown_values() -> Vec<(&'static str, String)> {
    let of_page = |page: &'static str| {
        let blocks = blocks(page).into_iter().filter(|block| block.text.starts_with("# Helm values\n"));
        blocks.map(move |block| (page, block.text))
    };
    PAGES.into_iter().flat_map(of_page).collect()
}

#[test]
fn values_in_the_pages_render_to_valid_configurations() {
    if !kubernetes_installed() {
        return;
    }
    let shown = shown_values();
    assert!(shown.len() >= 9, "{}", shown.len());
    let folder = tempfile::tempdir().unwrap();
    let secrets = Secrets::new();
    let request = |(index, (_, text)): (usize, &(&str, String))| {
        let path = folder.path().join(format!("{index}.yaml"));
        fs::write(&path, text).unwrap();
        json!({"chart": CHART, "release": "sessiongate", "values": path})
    };
    let requests: Vec<Value> = shown.iter().enumerate().map(request).collect();
    for ((page, text), result) in shown.iter().zip(render_requests(&requests)) {
        let rendered = result.unwrap_or_else(|error| panic!("{page}: {error}:\n{text}"));
        assert_eq!(secrets.check(&rendered.config), "", "{page}:\n{text}");
        assert!(!rendered.pods().is_empty(), "{page}:\n{text}");
    }
}

#[test]
fn template_for_other_charts_is_the_tested_one() {
    let tested = PARENT.iter().find(|(path, _)| *path == "templates/deployment.yaml").unwrap().1;
    let shown = blocks("docs/quickstarts/sidecar.md");
    assert!(shown.iter().any(|block| block.text == tested));
}

#[test]
fn commands_for_secrets_make_what_the_plain_manifests_need() {
    if !kubernetes_installed() {
        return;
    }
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("the commands for secrets in docs/quickstarts/kubernetes.md (there is no openssl)");
    }
    let commands: Vec<Block> =
        PAGES.into_iter().flat_map(blocks).filter(|block| block.language == "sh" && !block.by_hand).collect();
    assert_eq!(commands.len(), 1, "the others are by hand");
    let secrets = Secrets::new();
    let mut shell = Command::new("sh");
    shell.arg("-euc").arg(&commands[0].text).current_dir(secrets.folder().join("sessiongate"));
    let finished = finish(shell);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let made = secrets.folder().join("sessiongate");
    fs::copy(made.join("tls.crt"), secrets.folder().join("redis-tls/ca.crt")).unwrap();
    let manifest = fs::read_to_string(project().join("deploy/kubernetes/shared-gateway.yaml")).unwrap();
    let config = manifest.split("  sessiongate.yaml: |\n").nth(1).unwrap().split("\n---").next().unwrap();
    let config: String =
        config.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    assert_eq!(secrets.check(&config), "");
}

#[test]
fn plain_manifests_have_the_fields_of_their_kinds() {
    if kubernetes_installed() {
        let folder = fs::read_dir(project().join("deploy/kubernetes")).unwrap();
        let files: Vec<Value> = folder.map(|file| json!(file.unwrap().path())).collect();
        let found = chart_tool(&json!({"files": files}))["files"].clone();
        assert_eq!(found, json!([]), "what kubernetes-validate finds in deploy/kubernetes");
    }
}
